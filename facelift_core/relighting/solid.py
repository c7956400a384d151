"""The head as a solid: where its surface faces, and which light it keeps from reaching its own points.

Everything is computed on the grid of :mod:`facelift_core.mesh.occupancy`, so it needs no mesh.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from ..gaussians.arrays import SH_C0, SplatArrays
from ..gaussians.transforms import basis
from ..mesh.head_mesh import placed
from ..mesh.occupancy import LEVEL, Volume, occupancy, optical_depth
from .harmonics import ORDER, directions

STEP = 0.016
"""Distance of grid points in the world of docs/model.md, 5."""
SMOOTH = 2.5
"""Sigma in voxels by which the distance to the surface is smoothed before its slope gives normals."""
LIFT = 2.5
"""Voxels outside the surface at which the light of a point is measured, so that the surface does not shade itself."""
DENSITY = 1.5
"""Optical depth of a voxel inside."""
BOUNCE = 0.2
"""Share of the mean light that comes from directions in which the head hides its surroundings: it reflects some."""
DIRECTIONS, COARSE = 96, 2
"""Directions in which the surroundings are seen, and grid points left out for that."""


@dataclass(frozen=True)
class Solid:
    """A head as a solid, in a world of its own; methods take and return the world of the Gaussians.

    Attributes:
        volume: occupancy, from 0 outside to 1 inside.
        distance: distance from the surface in voxels, negative inside, smoothed.
        middle, scale: a point p of the Gaussians' world is at scale · (p − middle).
    """

    volume: Volume
    distance: Volume
    middle: np.ndarray
    scale: float

    @classmethod
    def of(cls, splats: SplatArrays, checkpoint: Callable[[float], None] = lambda share: None) -> Solid:
        """Make the solid of a head.

        Raises:
            FaceLiftError: the Gaussians do not enclose anything.
        """
        moved, middle, scale = placed(splats)
        volume = occupancy(moved, STEP, checkpoint)
        return cls(volume, Volume(_distance(volume.values), volume.origin, volume.step), middle, scale)

    def normals(self, points: np.ndarray) -> np.ndarray:
        """(N, 3) float32 unit normals of the surface nearest to (N, 3) points, outward."""
        slope = self.distance.gradient(self._within(points))
        return (slope / np.linalg.norm(slope, axis=1, keepdims=True).clip(1e-9)).astype(np.float32)

    def visibility(self, points: np.ndarray, toward: np.ndarray) -> np.ndarray:
        """(N,) share in [0, 1] of the distant light from the unit vector `toward` that reaches (N, 3) points."""
        depth = optical_depth(self._absorbing(self.volume.values), np.asarray(toward, np.float64))
        seen = Volume(depth, self.volume.origin, self.volume.step).sample(self._lifted(points))
        return np.exp(-seen)

    def transfer(
        self, points: np.ndarray, normals: np.ndarray, checkpoint: Callable[[float], None] = lambda share: None
    ) -> np.ndarray:
        """How each harmonic of the light around lights (N, 3) points with (N, 3) normals: (N, 9) float32.

        The product with (9, 3) harmonics of radiance is the irradiance divided by π, which times the albedo is the
        reflected color.
        """
        coarse = self.volume.values[::COARSE, ::COARSE, ::COARSE]
        absorbing = self._absorbing(coarse) * COARSE
        lifted, total = self._lifted(points), np.zeros((len(points), (ORDER + 1) ** 2), np.float32)
        around = directions(DIRECTIONS)
        for number, (toward, values) in enumerate(zip(around, basis(around, ORDER), strict=True)):
            checkpoint(number / DIRECTIONS)
            cosine = (normals @ toward.astype(np.float32)).clip(0)
            depth = optical_depth(absorbing, toward)
            seen = Volume(depth, self.volume.origin, COARSE * self.volume.step).sample(lifted)
            total += (cosine * np.exp(-seen))[:, None] * values.astype(np.float32)
        total *= np.float32(4 / DIRECTIONS)
        total[:, 0] += BOUNCE * (SH_C0 - total[:, 0])
        return total

    @staticmethod
    def _absorbing(values: np.ndarray) -> np.ndarray:
        """Optical depth of voxels: nothing of the soft edge outside, all of it inside."""
        return (DENSITY * ((values - LEVEL) / (1 - LEVEL)).clip(0, 1)).astype(np.float32)

    def _within(self, points: np.ndarray) -> np.ndarray:
        return self.scale * (points - self.middle)

    def _lifted(self, points: np.ndarray) -> np.ndarray:
        """The points in the solid's world, moved along the surface's normals to :data:`LIFT` voxels outside."""
        inner = self._within(points)
        lift = (LIFT - self.distance.sample(inner)).clip(0, 4 * LIFT) * self.volume.step
        return inner + lift[:, None] * self.normals(points)


def _distance(values: np.ndarray) -> np.ndarray:
    """Distance from the surface of an occupancy grid in voxels, negative inside, smoothed, float32.

    The voxels nearest to the surface know where between them it lies; the others add their distance to these.
    """
    inside = values > LEVEL
    shell = inside & ~ndimage.binary_erosion(inside)
    slope = np.linalg.norm(np.stack(np.gradient(values)), axis=0)
    offset = ((LEVEL - values) / slope.clip(1e-3)).clip(-1, 0)
    apart, nearest = ndimage.distance_transform_edt(~shell, return_indices=True)
    return ndimage.gaussian_filter(
        (np.where(inside, -apart, apart) + offset[tuple(nearest)]).astype(np.float32), SMOOTH
    )

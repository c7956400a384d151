"""Where a head is solid: the Gaussians' density on a grid, and how much of it lies between a point and the outside.

A ray that leaves a point towards a camera passes through Gaussians. Where, from the directions in which most light
gets through, half of it is absorbed, there is the surface that the cameras see. What no direction sees is solid, so
gaps between Gaussians and the hollow of the head close by themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from ..errors import FaceLiftError
from ..gaussians.arrays import SplatArrays
from ..gaussians.transforms import rotation_matrices

LEVEL = 0.5
"""Occupancy at the surface."""
DIRECTIONS, STEEPEST = 40, 0.35
"""Directions from which the head is seen, evenly over all azimuths and up to this sine of the elevation. The six views
are level: steeper rays would enter through the crown, where no view has left Gaussians."""
BEST = 4
"""Directions whose mean counts, so that one ray through a gap between Gaussians does not open the head."""
SMOOTH = 0.7
"""Sigma in voxels over which the occupancy is smoothed."""
MARGIN = 4
"""Empty voxels around the Gaussians."""
MIN_OPACITY = 0.02
STRAYS = 0.002
"""Share of the Gaussians that may lie outside the grid on each side."""
FOOT = 0.03
"""Share of the Gaussians below the flat cut at the bottom: the lower edge of the photo leaves a ragged one."""
MAX_VOXELS = 30_000_000
_AT_ONCE = 500_000
_SAMPLES = ((0.5, 1), (1.0, 4), (2.5, 16), (6.0, 64), (np.inf, 256))
"""Points per Gaussian whose largest standard deviation is below so many voxels."""


@dataclass(frozen=True)
class Volume:
    """Values at the points of a regular grid.

    Attributes:
        values: (X, Y, Z) float32.
        origin: (3,) position of the first point in world units.
        step: distance between points in world units.
    """

    values: np.ndarray
    origin: np.ndarray
    step: float

    def sample(self, points: np.ndarray) -> np.ndarray:
        """(N,) values at (N, 3) points in world units, interpolated; the border's value goes on outside."""
        return ndimage.map_coordinates(
            self.values, ((points - self.origin) / self.step).T, order=1, mode="nearest", output=np.float32
        )

    def gradient(self, points: np.ndarray) -> np.ndarray:
        """(N, 3) gradient at (N, 3) points, per world unit, from differences over one step."""
        half = 0.5 * self.step * np.eye(3)
        return np.stack([(self.sample(points + d) - self.sample(points - d)) / self.step for d in half], axis=1)


def occupancy(splats: SplatArrays, step: float, checkpoint: Callable[[float], None] = lambda share: None) -> Volume:
    """How solid the head is, from 0 outside to 1 inside; :data:`LEVEL` at the surface, cut flat at the bottom.

    Args:
        step: distance between grid points in world units; made larger if the grid would not fit into memory.
        checkpoint: called with the share that is done; may raise to stop.

    Raises:
        FaceLiftError: the Gaussians enclose nothing.
    """
    density = _density(splats, step)
    best = np.zeros((BEST, *density.values.shape), np.float32)
    for number, direction in enumerate(_directions()):
        if number % 4 == 0:
            checkpoint(number / DIRECTIONS)
        light = np.exp(-optical_depth(density.values, direction))
        for kept in best:
            lower = np.minimum(kept, light)
            np.maximum(kept, light, out=kept)
            light = lower
    values = ndimage.gaussian_filter(1.0 - best.mean(axis=0), SMOOTH)
    for axis in range(3):  # open to the outside on all sides, and cut flat at the bottom
        border = np.moveaxis(values, axis, 0)
        border[: MARGIN if axis == 2 else 1] = border[-1:] = 0.0
    return Volume(_one_solid(values), density.origin, density.step)


def _density(splats: SplatArrays, step: float) -> Volume:
    """Optical depth of one voxel's width at each grid point, from points spread over every Gaussian."""
    opacity = 1.0 / (1.0 + np.exp(-splats.opacity_logits.astype(np.float64)))
    splats, opacity = splats[opacity > MIN_OPACITY], opacity[opacity > MIN_OPACITY]
    if len(splats) < 100:
        raise FaceLiftError("There are too few visible Gaussians for a mesh.")
    low, high = (np.quantile(splats.positions, q, axis=0) for q in (STRAYS, 1 - STRAYS))
    low[2] = np.quantile(splats.positions[:, 2], FOOT)
    size = np.maximum(high - low, 1e-6)
    step = max(step, float((np.prod(size) / MAX_VOXELS) ** (1 / 3)), float(size.max() / 1024))
    origin = low - MARGIN * step
    shape = np.ceil(size / step).astype(int) + 2 * MARGIN + 1

    sigmas = np.exp(splats.log_scales)
    middle, largest = np.sort(sigmas, axis=1).T[1:]
    # A ray through the middle of a thin disc is attenuated by its opacity; its mass spreads over its area.
    mass = -np.log1p(-np.minimum(opacity, 0.99)) * 2 * np.pi * middle * largest / step**2
    total = np.zeros(int(np.prod(shape)), np.float32)
    random, least = np.random.default_rng(0), 0.0
    for most, count in _SAMPLES:
        rows = np.flatnonzero((largest / step >= least) & (largest / step < most))
        offsets = random.standard_normal((count, 3)).astype(np.float32) if count > 1 else np.zeros((1, 3), np.float32)
        for part in np.array_split(rows, max(1, len(rows) * count // _AT_ONCE)):
            axes = rotation_matrices(splats.rotations[part]) * sigmas[part][:, None, :]
            points = splats.positions[part][:, None] + np.einsum("nij,kj->nki", axes, offsets)
            weights = np.repeat(mass[part] / count, count)
            _deposit(total, shape, (points.reshape(-1, 3) - origin) / step, weights)
        least = most
    return Volume(total.reshape(shape), origin, step)


def _deposit(total: np.ndarray, shape: np.ndarray, places: np.ndarray, weights: np.ndarray) -> None:
    """Add weights at (N, 3) places in units of voxels to their eight neighbors."""
    inside = ((places >= 0) & (places < shape - 1)).all(axis=1)
    places, weights = places[inside], weights[inside]
    whole = places.astype(int)
    upper = places - whole
    for corner in np.ndindex(2, 2, 2):
        share = np.where(corner, upper, 1 - upper).prod(axis=1)
        index = np.ravel_multi_index((whole + corner).T, shape)
        total += np.bincount(index, weights * share, len(total)).astype(np.float32)


def _directions() -> np.ndarray:
    """(DIRECTIONS, 3) unit vectors."""
    number = np.arange(DIRECTIONS)
    z = STEEPEST * (2.0 * (number + 0.5) / DIRECTIONS - 1.0)
    turn, ring = number * np.pi * (3.0 - 5.0**0.5), np.sqrt(1.0 - z * z)
    return np.stack([ring * np.cos(turn), ring * np.sin(turn), z], axis=1)


def optical_depth(density: np.ndarray, direction: np.ndarray) -> np.ndarray:
    """Optical depth from every grid point outwards along `direction`, to the middle of the point's own voxel."""
    axis = int(np.abs(direction).argmax())
    slices = np.moveaxis(density, axis, 0)
    slices = slices[::-1] if direction[axis] > 0 else slices
    across = np.delete(direction, axis) / abs(direction[axis])
    length = np.float32(1.0 / abs(direction[axis]))
    result = np.empty_like(slices)
    above = np.zeros(slices.shape[1:], np.float32)
    for layer, depth in zip(slices, result, strict=True):
        own = length * layer
        above = _shifted(above, across)
        np.add(above, 0.5 * own, out=depth)
        above += own
    result = result[::-1] if direction[axis] > 0 else result
    return np.moveaxis(result, 0, axis)


def _shifted(picture: np.ndarray, by: np.ndarray) -> np.ndarray:
    """The picture's values `by` pixels further along both axes, |by| ≤ 1, interpolated; 0 outside."""
    for axis, amount in enumerate(by):
        share = np.float32(abs(amount))
        moved = np.zeros_like(picture)
        here, there = (slice(None, -1), slice(1, None)) if amount > 0 else (slice(1, None), slice(None, -1))
        before = (slice(None),) * axis
        moved[(*before, here)] = picture[(*before, there)]
        picture = (1 - share) * picture + share * moved
    return picture


def _one_solid(values: np.ndarray) -> np.ndarray:
    """Only the largest solid part, with its enclosed hollows filled.

    Raises:
        FaceLiftError: nothing is solid.
    """
    parts, count = ndimage.label(values > LEVEL)
    if count == 0:
        raise FaceLiftError("These Gaussians do not enclose anything; a mesh needs a closed head.")
    largest = parts == 1 + np.bincount(parts.ravel())[1:].argmax()
    filled = ndimage.binary_fill_holes(largest)
    return np.where(filled & ~largest, 1.0, np.where(largest | (values <= LEVEL), values, 0.0)).astype(np.float32)

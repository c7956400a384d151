"""Flat Gaussians on points of a face mesh."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from ..gaussians.arrays import SH_C0, SplatArrays
from ..gaussians.transforms import quaternions
from .rig import Binding
from .samples import Samples

IN_PLANE, ACROSS = 0.55, 0.15
"""Standard deviations in the surface and across it, in distances between the points."""
LOGIT = 4.0
"""Opacity of .98, before the sigmoid."""


@dataclass(frozen=True)
class Layer:
    """Gaussians and the vertices that they follow."""

    gaussians: SplatArrays
    binding: Binding

    def of(self, chosen: np.ndarray) -> Layer:
        """Those of N Gaussians that `chosen`, (N,) bool or indices, chooses."""
        return Layer(*(type(part)(**{name: array[chosen] for name, array in vars(part).items()})
                       for part in (self.gaussians, self.binding)))  # fmt: skip

    @staticmethod
    def joined(layers: Sequence[Layer]) -> Layer:
        """All of the layers as one."""
        gaussians = {
            field.name: np.concatenate([getattr(layer.gaussians, field.name) for layer in layers])
            for field in fields(SplatArrays)
        }
        binding = {
            field.name: np.concatenate([getattr(layer.binding, field.name) for layer in layers])
            for field in fields(Binding)
        }
        return Layer(SplatArrays(**gaussians), Binding(**binding))


def layer(samples: Samples, colors: np.ndarray, below: float = 0.0, behind: float = 0.0, spread: float = 1.0) -> Layer:
    """One opaque disc on each of N points, in the surface.

    Args:
        colors: (N, 3) sRGB in [0, 1].
        below: how far the discs lie inside the surface, in world units.
        behind: how far they lie behind it, seen from the front.
        spread: factor for their size in the surface, where it will stretch.
    """
    axes = np.stack([samples.along, np.cross(samples.normals, samples.along), samples.normals], -1)
    thin = ACROSS * samples.size.min(1, keepdims=True)
    scales = np.concatenate([spread * IN_PLANE * samples.size, thin], 1)
    positions = samples.points - below * samples.normals + np.array([0, behind, 0])
    gaussians = SplatArrays(
        positions.astype(np.float32),
        ((np.clip(colors, 0, 1) - 0.5) / SH_C0)[:, None].astype(np.float32),
        np.log(np.maximum(scales, 1e-5)).astype(np.float32),
        quaternions(axes).astype(np.float32),
        np.full(len(samples), LOGIT, np.float32),
    )
    return Layer(gaussians, Binding(samples.corners.astype(np.int32), samples.shares.astype(np.float32)))

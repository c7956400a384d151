"""The normal of each Gaussian: the flat side of a disc, as far as it agrees with the surface of the head."""

from __future__ import annotations

import numpy as np

from ..gaussians.arrays import SplatArrays
from ..gaussians.transforms import rotation_matrices

ROUND, FLAT = 0.9, 0.5
"""Ratios of the smallest to the middle standard deviation between which the Gaussian's own axis fades in."""
DISAGREES, AGREES = 0.5, 0.9
"""Cosines with the surface's normal between which it fades in: hair and stray Gaussians get the surface's."""
OWN = 0.5
"""Weight of the Gaussian's own axis at most."""


def blended(splats: SplatArrays, surface: np.ndarray) -> np.ndarray:
    """(N, 3) float32 unit normals from the Gaussians' smallest axes and the `surface`'s normals (N, 3) there."""
    sizes = np.exp(splats.log_scales)
    smallest = sizes.argmin(axis=1)
    axis = np.take_along_axis(rotation_matrices(splats.rotations), smallest[:, None, None], axis=2)[..., 0]
    cosine = (axis * surface).sum(axis=1)
    axis *= np.where(cosine < 0, -1.0, 1.0)[:, None]
    least, middle, _ = np.sort(sizes, axis=1).T
    flat = ((ROUND - least / middle) / (ROUND - FLAT)).clip(0, 1)
    agrees = ((np.abs(cosine) - DISAGREES) / (AGREES - DISAGREES)).clip(0, 1)
    mixed = surface + (OWN * flat * agrees)[:, None] * (axis - surface)
    return (mixed / np.linalg.norm(mixed, axis=1, keepdims=True).clip(1e-9)).astype(np.float32)

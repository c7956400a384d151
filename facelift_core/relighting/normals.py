"""The normal of each Gaussian: the flat side of a disc, as far as it agrees with the surface of the head."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from ..gaussians.arrays import SplatArrays
from ..gaussians.transforms import rotation_matrices

ROUND, FLAT = 0.9, 0.5
"""Ratios of the smallest to the middle standard deviation between which the Gaussian's own axis fades in."""
DISAGREES, AGREES = 0.2, 0.6
"""Cosines with the surface's normal between which it fades in: hair and stray Gaussians get the surface's."""
OWN = 0.8
"""Weight of the Gaussian's own axis at most."""
CONTRADICTS = 0.4, 0.9
"""Cosines with the mean normal around a Gaussian; up to the first it gets that normal, from the second on its own."""
SPREAD = 5.0
"""Sigma of the mean in steps."""
STRAYS = 0.002
"""Share of the Gaussians that may lie outside the grid on each side."""


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


def agreeing(points: np.ndarray, normals: np.ndarray, step: float) -> np.ndarray:
    """(N, 3) unit normals; those that contradict the ones around them give way to these.

    Where hair is a thin sheet, what lies behind it faces the other side, and would be lit from there in its gaps.

    Args:
        points: (N, 3) positions.
        normals: (N, 3) unit normals.
        step: distance of grid points in the units of `points`; normals are averaged over a few.
    """
    low = np.quantile(points, STRAYS, axis=0)
    shape = np.ceil((np.quantile(points, 1 - STRAYS, axis=0) - low) / step).astype(int) + 1
    places = ((points - low) / step).clip(0, shape - 1)
    cell = np.ravel_multi_index(np.round(places).astype(int).T, shape)
    mean = np.empty_like(normals)
    for axis in range(3):
        total = np.bincount(cell, normals[:, axis], shape.prod()).reshape(shape)
        smooth = ndimage.gaussian_filter(total.astype(np.float32), SPREAD, mode="constant")
        mean[:, axis] = ndimage.map_coordinates(smooth, places.T, order=1)
    mean /= np.linalg.norm(mean, axis=1, keepdims=True).clip(1e-9)
    contradicts = ((CONTRADICTS[1] - (normals * mean).sum(axis=1)) / (CONTRADICTS[1] - CONTRADICTS[0])).clip(0, 1)
    mixed = normals + contradicts[:, None] * (mean - normals)
    return (mixed / np.linalg.norm(mixed, axis=1, keepdims=True).clip(1e-9)).astype(np.float32)

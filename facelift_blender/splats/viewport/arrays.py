"""Packs Gaussians into texels and sorts them back to front. Does not use ``bpy``."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from facelift_core.gaussians.arrays import SH_C0
from facelift_core.gaussians.files import SplatArrays
from facelift_core.gaussians.transforms import rotation_matrices

TEXELS = 4
"""Texels per Gaussian: position and opacity; covariance xx xy xz yy; covariance yz zz; display color."""


@dataclass(frozen=True)
class PackedCloud:
    """A point cloud in object space, packed for the shader."""

    positions: np.ndarray
    """(N, 3) float32."""
    texels: np.ndarray
    """(N, TEXELS, 4) float32."""
    features: np.ndarray
    """(N, K − 1, 3) float32 spherical harmonics without the constant term; K = 1, 4, 9 or 16."""


def packed(splats: SplatArrays) -> PackedCloud:
    """Pack N Gaussians for the shader."""
    count = len(splats)
    with np.errstate(over="ignore", under="ignore"):
        arms = rotation_matrices(splats.rotations).astype(np.float32) * np.exp(splats.log_scales)[:, None, :]
        opacity = 1.0 / (1.0 + np.exp(-splats.opacity_logits))
    covariance = arms @ arms.transpose(0, 2, 1)
    texels = np.zeros((count, TEXELS, 4), np.float32)
    texels[:, 0, :3] = splats.positions
    texels[:, 0, 3] = opacity
    texels[:, 1, :3] = covariance[:, 0]
    texels[:, 1, 3] = covariance[:, 1, 1]
    texels[:, 2, :2] = covariance[:, 2, 1:]
    texels[:, 3, :3] = splats.sh[:, 0] * SH_C0 + 0.5
    return PackedCloud(np.ascontiguousarray(splats.positions), texels, np.ascontiguousarray(splats.sh[:, 1:]))


def far_to_near(depths: np.ndarray) -> np.ndarray:
    """Indices that sort (N,) float32 view-space z (negative in front) from farthest to nearest.

    Sorts in two passes of 16 bits each, for which NumPy uses radix sort.
    """
    bits = depths.view(np.uint32)
    # Map floats to unsigned integers of the same order; negative floats need all bits flipped.
    keys = np.where(bits >> 31, ~bits, bits | np.uint32(0x80000000))
    first = np.argsort(keys.astype(np.uint16), kind="stable")
    second = np.argsort((keys >> 16).astype(np.uint16)[first], kind="stable")
    return first[second]

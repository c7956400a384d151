"""Gaussians as texels, and their order far to near. No ``bpy`` in here."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from facelift_core.gaussians.arrays import SH_C0
from facelift_core.gaussians.files import SplatArrays

from ..transforms import rotation_matrices

TEXELS = 4
"""Per Gaussian: position and opacity; covariance xx xy xz yy; covariance yz zz; displayed colour."""


@dataclass(frozen=True)
class PackedCloud:
    """One point cloud, in object space."""

    positions: np.ndarray
    """(N, 3) float32."""
    texels: np.ndarray
    """(N, TEXELS, 4) float32."""
    features: np.ndarray
    """(N, K − 1, 3) float32 spherical harmonics beyond the constant; K = 1, 4, 9 or 16."""


def packed(splats: SplatArrays) -> PackedCloud:
    """What the shader reads of N Gaussians."""
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
    """Indices that sort (N,) float32 view-space z, negative in front, so that what is farthest comes first.

    Two passes over 16 bits each, which every NumPy sorts by counting.
    """
    bits = depths.view(np.uint32)
    # Floats as integers of the same order: negative ones run backwards.
    keys = np.where(bits >> 31, ~bits, bits | np.uint32(0x80000000))
    first = np.argsort(keys.astype(np.uint16), kind="stable")
    second = np.argsort((keys >> 16).astype(np.uint16)[first], kind="stable")
    return first[second]

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
    sizes: np.ndarray
    """(N,) float32 radius times opacity: how much a Gaussian counts where not all can be drawn."""
    chances: np.ndarray
    """(N,) float32 in [0, 1), one number per Gaussian that decides whether it is among those drawn."""


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
    sizes = np.sqrt(np.trace(covariance, axis1=1, axis2=2)) * opacity
    chances = np.random.default_rng(0).random(count, np.float32)
    features = np.ascontiguousarray(splats.sh[:, 1:])
    return PackedCloud(np.ascontiguousarray(splats.positions), texels, features, sizes, chances)


def in_view(centers: np.ndarray, projection: np.ndarray, margin: float = 0.1) -> np.ndarray:
    """Which of (N, 3) centers in view space are on the picture, or near its edge: (N,) bool.

    Args:
        centers: y up, z backward.
        projection: (4, 4) from view to clip space.
        margin: how far outside they may be, in picture sizes.
    """
    x, y, w = (centers @ projection[row, :3].astype(np.float32) + np.float32(projection[row, 3]) for row in (0, 1, 3))
    limit = (1.0 + 2.0 * margin) * w
    return (w > 0) & (np.abs(x) <= limit) & (np.abs(y) <= limit)


def level_of_detail(sizes: np.ndarray, chances: np.ndarray, budget: int) -> tuple[np.ndarray, np.ndarray]:
    """Choose about `budget` Gaussians to draw, the larger on the picture the more likely.

    A Gaussian that is drawn with a share p of its kind stands for 1/p of them and is to be drawn with 1/p of its area.

    Args:
        sizes: (N,) on the picture, in any unit.
        chances: (N,) in [0, 1), the same for every view, so that few change when the view moves.
        budget: number to draw at most, on average.

    Returns:
        (M,) indices in ascending order, and (M,) float32 shares p in (0, 1].
    """
    if len(sizes) <= budget:
        return np.arange(len(sizes)), np.ones(len(sizes), np.float32)
    sample = sizes[:: max(1, len(sizes) // 100_000)]
    wanted = budget / len(sizes)
    low, high = 0.0, 1.0 / max(float(sample.max()), 1e-30)
    while np.minimum(1.0, high * sample).mean() < wanted and high < 1e30:
        low, high = high, 2.0 * high
    for _ in range(20):
        factor = 0.5 * (low + high)
        low, high = (factor, high) if np.minimum(1.0, factor * sample).mean() < wanted else (low, factor)
    shares = np.minimum(np.float32(1.0), np.float32(low) * sizes)
    kept = np.flatnonzero(chances < shares)
    return kept, shares[kept]


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

"""Heads in the model's frame (docs/model.md, 5): recognized there, and put where they stand life-size on the floor."""

from __future__ import annotations

import numpy as np

from .objects import bounds
from .placement import SHARE

PLACING = "facelift_placing"
"""Custom property of heads: how much larger and how much higher their Gaussians are than in the model's world."""
REACH = 1.1
"""Heads lie in a cube from −1 to 1, with a margin for the few that reach out of it."""
LEAST_HEIGHT = 1.0
USUAL_HEIGHT = 1.7
LOWEST = -0.85
"""Below it is the lowest part of a head as the model makes it, whose shoulders are cut off at −1."""
NEAREST, FARTHEST = 1.0, 1.45
"""Limits of the distance from the origin within which :data:`MOST` of a head are; usually 1.06 to 1.24."""
MOST = 0.98


def fits(low: np.ndarray, high: np.ndarray) -> bool:
    """Whether a box, (3,) its minimum and maximum corner, is where and about as large as the model's heads."""
    inside = low.min() > -REACH and high.max() < REACH
    return bool(inside and high[2] - low[2] > LEAST_HEIGHT)


def is_head(positions: np.ndarray) -> bool:
    """Whether Gaussians with (N ≥ 1, 3) positions, upright, are a head as FaceLift makes it, not moved since.

    Their box fits, their shoulders are cut off where the model does it, and they reach as far from the origin as heads
    do, unlike most scans that were made to fit a cube or a ball.
    """
    low, high = bounds(positions, SHARE)
    if not fits(low, high) or low[2] > LOWEST:
        return False
    with np.errstate(over="ignore"):  # a few may lie anywhere
        extent = float(np.quantile(np.linalg.norm(positions, axis=1), MOST))
    return NEAREST < extent < FARTHEST


def by_size(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """(4, 4) matrix from the model's world to a head anywhere, of any size, that has this box."""
    scale = max(float(high[2] - low[2]), 1e-6) / USUAL_HEIGHT
    middle = 0.5 * (low + high)
    return scaled(scale, np.array([middle[0], middle[1], low[2] + scale]))  # the lowest are at −1


def scaled(scale: float, shift: np.ndarray) -> np.ndarray:
    """(4, 4) matrix that scales by a factor and then moves by (3,) `shift`."""
    matrix = np.diag([scale, scale, scale, 1.0])
    matrix[:3, 3] = shift
    return matrix


def standing(positions: np.ndarray, scale: float) -> tuple[np.ndarray, float]:
    """How a head in the model's world, with (N, 3) positions, stands on its origin and is `scale` times as large.

    Returns:
        A (4, 4) matrix, and by how much it raises the head: `scale` and this are its :data:`PLACING`.
    """
    low, _ = bounds(positions, SHARE)
    lift = -scale * float(low[2])
    return scaled(scale, np.array([0.0, 0.0, lift])), lift

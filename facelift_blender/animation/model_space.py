"""The way from the world of the model (docs/model.md, 5), in which faces are found, to the space of a head's object."""

from __future__ import annotations

import bpy
import numpy as np

from ..reconstruct.insert_head import PLACING
from ..splats import objects

SHARE = 0.99
REACH = 1.1
"""Heads lie in a cube from −1 to 1, with a margin for the few that reach out of it."""
LEAST_HEIGHT = 1.0
USUAL_HEIGHT = 1.7


def from_model(head: bpy.types.Object, scene: bpy.types.Scene, positions: np.ndarray) -> np.ndarray:
    """(4, 4) matrix from the model's world to the space of `head`.

    As the head was inserted, if it still lies where that left it; else as an import leaves it; else by its size.

    Args:
        positions: (N, 3) of its Gaussians.
    """
    low, high = objects.bounds(positions, SHARE)
    inserted = [tuple(head[PLACING])] if PLACING in head else []
    for scale, lift in (*inserted, (1.0, 0.0), (objects.head_scale(scene), 0.0)):
        shift = np.array([0.0, 0.0, lift])
        if _fits((low - shift) / scale, (high - shift) / scale):
            return _matrix(scale, shift)
    scale = max(float(high[2] - low[2]), 1e-6) / USUAL_HEIGHT
    middle = 0.5 * (low + high)
    return _matrix(scale, np.array([middle[0], middle[1], low[2] + scale]))  # the lowest are at −1


def _fits(low: np.ndarray, high: np.ndarray) -> bool:
    inside = low.min() > -REACH and high.max() < REACH
    return bool(inside and high[2] - low[2] > LEAST_HEIGHT)


def _matrix(scale: float, shift: np.ndarray) -> np.ndarray:
    matrix = np.diag([scale, scale, scale, 1.0])
    matrix[:3, 3] = shift
    return matrix

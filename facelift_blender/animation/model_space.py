"""The way from the world of the model (docs/model.md, 5), in which faces are found, to the space of a head's object."""

from __future__ import annotations

import bpy
import numpy as np

from ..splats import heads, objects, placement


def from_model(head: bpy.types.Object, scene: bpy.types.Scene, positions: np.ndarray) -> np.ndarray:
    """(4, 4) matrix from the model's world to the space of `head`.

    As the head was inserted, if it still lies where that left it; else as an import leaves it; else by its size.

    Args:
        positions: (N, 3) of its Gaussians.
    """
    low, high = objects.bounds(positions, placement.SHARE)
    inserted = [tuple(head[heads.PLACING])] if heads.PLACING in head else []
    for scale, lift in (*inserted, (1.0, 0.0), (objects.head_scale(scene), 0.0)):
        shift = np.array([0.0, 0.0, lift])
        if heads.fits((low - shift) / scale, (high - shift) / scale):
            return heads.scaled(scale, shift)
    return heads.by_size(low, high)

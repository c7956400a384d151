"""Where a head ends below, as the attribute ``neck`` of its point cloud."""

from __future__ import annotations

import bpy
import numpy as np

from ..splats import attributes, objects

NECK = "neck"
"""FLOAT: 1 at the lower cut, 0 from HEIGHT upward, and smooth between."""
HEIGHT = 0.2
"""Of the falloff, in heights of the head."""


def mark_neck(head: bpy.types.Object) -> None:
    """Store the attribute. The head's own Z axis points up."""
    falloff = neck_of(attributes.get_values(head.data, attributes.POSITION, 3))
    attributes.write_values(head.data, {NECK: ("FLOAT", falloff)})


def neck_of(positions: np.ndarray) -> np.ndarray:
    """(N,) float32 falloff of points (N, 3)."""
    low, high = (corner[2] for corner in objects.bounds(positions, share=0.99))
    share = ((low + HEIGHT * (high - low) - positions[:, 2]) / max(HEIGHT * (high - low), 1e-9)).clip(0, 1)
    return (share * share * (3 - 2 * share)).astype(np.float32)

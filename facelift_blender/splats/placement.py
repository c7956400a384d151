"""Boxes of objects in the world, and free places beside them."""

from __future__ import annotations

from collections.abc import Iterator

import bpy
import numpy as np
from mathutils import Vector

from . import attributes, objects

SHARE = 0.99
"""Of the Gaussians that a box encloses along each axis; a few always lie far off."""
_GAP = 0.2
"""Between neighbors, in widths of the newcomer."""
_SURROUNDINGS = 10.0
"""What is longer than this many times the newcomer is a floor or a room: one stands on it or in it, not beside it."""
_SOLID = {"MESH", "CURVE", "SURFACE", "META", "FONT", "CURVES", "POINTCLOUD", "VOLUME"}


def box(item: bpy.types.Object) -> tuple[np.ndarray, np.ndarray]:
    """Minimum and maximum corner, in the world, of what `item` shows; the view layer has to be up to date."""
    if objects.is_splat_object(item):
        low, high = objects.bounds(attributes.get_values(item.data, attributes.POSITION, 3), SHARE)
        corners = [(x, y, z) for x in (low[0], high[0]) for y in (low[1], high[1]) for z in (low[2], high[2])]
    else:
        corners = item.bound_box
    corners = np.array([item.matrix_world @ Vector(corner) for corner in corners])
    return corners.min(axis=0), corners.max(axis=0)


def free_place(scene: bpy.types.Scene, low: np.ndarray, high: np.ndarray) -> Vector:
    """Where the origin of a new object belongs whose box reaches from `low` to `high`: at the 3D cursor, or else at the
    next free place along X.

    If the cursor was moved, that is the place, even inside other objects; only splats do not stand in each other.
    """
    place = np.array(scene.cursor.location)
    taken = list(_taken(scene, float((high - low).max()), splats_only=bool(np.abs(place).max() > 1e-6)))
    gap = _GAP * (high[0] - low[0])
    while blocking := [box_ for box_ in taken if _overlap(place + low, place + high, *box_)]:
        place[0] = max(other_high[0] for _, other_high in blocking) + gap - low[0]
    return Vector(place)


def _taken(scene: bpy.types.Scene, size: float, splats_only: bool) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    layer = scene.view_layers[0]
    layer.update()
    for item in layer.objects:
        if item.type not in _SOLID or item.display_type in ("BOUNDS", "WIRE") or not item.visible_get(view_layer=layer):
            continue
        if objects.is_splat_object(item):
            yield box(item)
        elif not splats_only:
            low, high = box(item)
            if (high - low).max() < _SURROUNDINGS * size:
                yield low, high


def _overlap(low: np.ndarray, high: np.ndarray, other_low: np.ndarray, other_high: np.ndarray) -> bool:
    """Whether two boxes have more in common than their faces, as things have that stand on each other."""
    common = np.minimum(high, other_high) - np.maximum(low, other_low)
    return bool((common > 0.01 * (high - low).max()).all())

"""The ready-made expressions with pictures, to choose from in the panel.

The property of the window manager belongs to no head: reading it finds what the active head shows, setting it runs the
operator, so that undo and *Adjust Last Operation* work.
"""

from __future__ import annotations

from collections.abc import Mapping

import bpy
import bpy.utils.previews
import numpy as np
from facelift_core import FaceLiftError
from facelift_core.animation.rig import NEUTRAL, SHAPES

from . import names, posing
from .poses import PHOTO, POSES, picture_of

PROPERTY = "facelift_expression"
ALIKE = 0.97
"""Smallest cosine between the sliders of a face and those of an expression that it shows."""
LEAST = 0.02
"""Length of the sliders of a face below which it is as in the photo."""
_OWN = len(POSES)
"""Number of what is not among the expressions."""

_collection: bpy.utils.previews.ImagePreviewCollection | None = None
_items: list[tuple[str, str, str, int, int]] = []
"""Kept, since Blender does not copy the strings of items."""


def attach() -> None:
    """Add the property. Pictures are loaded when they are first drawn."""
    choice = bpy.props.EnumProperty(
        name="Expression", description="Ready-made expressions", items=_all_items, get=_shown, set=_show
    )
    setattr(bpy.types.WindowManager, PROPERTY, choice)


def detach() -> None:
    """Remove the property and the pictures."""
    global _collection
    delattr(bpy.types.WindowManager, PROPERTY)
    _items.clear()
    if _collection is not None:
        bpy.utils.previews.remove(_collection)
        _collection = None


def closest(weights: Mapping[str, float], share: Mapping[str, float] | None = None) -> str | None:
    """The expression of :data:`POSES` that a face with these strengths of shapes shows, weaker or as it is, or None.

    `share`: by name, what is left of each shape to add to the photo, as of :func:`posing.still_to_add`; all, if None.
    """
    own = np.array(list(weights.values()))
    length = np.linalg.norm(own)
    if length < LEAST:
        return PHOTO
    alike = {}
    for name, pose in POSES.items():
        strengths = np.array([pose.strength(shape) * (share or {}).get(shape, 1.0) for shape in weights])
        if strengths.any():
            alike[name] = float(own @ strengths / (length * np.linalg.norm(strengths)))
    best = max(alike, key=alike.get)
    return best if alike[best] >= ALIKE else None


def _all_items(_, context) -> list[tuple[str, str, str, int, int]]:
    global _collection
    if not _items and not bpy.app.background:
        _collection = bpy.utils.previews.new()
    for number, (name, pose) in enumerate(POSES.items() if not _items else ()):
        icon = _collection.load(name, str(picture_of(name)), "IMAGE").icon_id if _collection is not None else 0
        _items.append((name, pose.label, pose.tip, icon, number))
    return _items


def _shown(_) -> int:
    try:
        head = names.head_of(bpy.context.object)
        keys = posing.sliders(head)
    except FaceLiftError:
        return _OWN
    values = {name: key.value for name, key in keys.items() if name in SHAPES}
    found = closest(values, posing.still_to_add(head, keys))
    if found == PHOTO and NEUTRAL in keys and keys[NEUTRAL].value > LEAST:
        return _OWN
    return list(POSES).index(found) if found is not None else _OWN


def _show(_, number: int) -> None:
    bpy.ops.facelift.pose_face("EXEC_DEFAULT", True, expression=list(POSES)[number])

"""Poses of a face, and keyframes of its sliders. Each function takes the head."""

from __future__ import annotations

import bpy
import numpy as np
from facelift_core import FaceLiftError
from facelift_core.animation.rig import NEUTRAL, SHAPES, left_to_add

from . import names
from .poses import POSES

BLINKS = ("eyeBlinkLeft", "eyeBlinkRight")
BLINK_SECONDS = 0.25
PAUSE_SECONDS = 2.0, 6.0
"""Shortest and longest, between two blinks."""


def sliders(head: bpy.types.Object | None) -> dict[str, bpy.types.ShapeKey]:
    """The shape keys of the face, by name.

    Raises:
        FaceLiftError: the head has no face.
    """
    face = names.face_of(head)
    keys = face.data.shape_keys if face is not None else None
    if keys is None:
        raise FaceLiftError("This head has no face that moves; click Rig Face first.")
    found = {name: keys.key_blocks.get(name) for name in (NEUTRAL, *SHAPES)}
    return {name: key for name, key in found.items() if key is not None}


def pose(scene: bpy.types.Scene, head: bpy.types.Object, name: str, strength: float = 1.0) -> None:
    """Show an expression of :data:`POSES`; keep how neutral the face is otherwise.

    What the photo has of a shape already is not added again.

    Raises:
        FaceLiftError: the head has no face.
    """
    keys = sliders(head)
    share = still_to_add(head, keys)
    for shape, key in keys.items():
        if shape != NEUTRAL:
            key.value = strength * POSES[name].strength(shape) * share[shape]
    _auto_key(scene, head)


def still_to_add(head: bpy.types.Object, keys: dict[str, bpy.types.ShapeKey]) -> dict[str, float]:
    """By name, the share of each shape that is left to add to the expression of the photo."""
    photo = names.face_of(head).data.get(names.EXPRESSION)  # faces of earlier versions have none
    neutral = keys[NEUTRAL].value if NEUTRAL in keys else 1.0
    share = left_to_add(np.zeros(len(SHAPES)) if photo is None else np.array(photo), neutral)
    return dict(zip(SHAPES, share.tolist(), strict=True))


def reset(scene: bpy.types.Scene, head: bpy.types.Object) -> None:
    """Show the expression of the photo, with the head and the eyes straight.

    Raises:
        FaceLiftError: the head has no face.
    """
    for key in sliders(head).values():
        key.value = 0.0
    if (rig := names.rig_of(head)) is not None:
        for bone in rig.pose.bones:
            bone.matrix_basis.identity()
            bone.location, bone.scale = (0, 0, 0), (1, 1, 1)
            bone.rotation_euler, bone.rotation_quaternion = (0, 0, 0), (1, 0, 0, 0)
    _auto_key(scene, head)


def key_all(scene: bpy.types.Scene, head: bpy.types.Object) -> int:
    """Insert keyframes of all sliders at the current frame; returns their number.

    Raises:
        FaceLiftError: the head has no face.
    """
    keys = sliders(head)
    for key in keys.values():
        key.keyframe_insert("value", frame=scene.frame_current)
    return len(keys)


def _auto_key(scene: bpy.types.Scene, head: bpy.types.Object) -> None:
    if scene.tool_settings.use_keyframe_insert_auto:
        key_all(scene, head)


def blink(scene: bpy.types.Scene, head: bpy.types.Object, repeat: bool = False, seed: int = 0) -> int:
    """Insert keyframes that close and open the eyes, from the current frame on; returns the number of blinks.

    Args:
        repeat: again every few seconds, until the end of the scene.
        seed: of the random pauses.

    Raises:
        FaceLiftError: the head has no face.
    """
    keys = sliders(head)
    rate = scene.render.fps / scene.render.fps_base
    random = np.random.default_rng(seed)
    length = max(2, round(BLINK_SECONDS * rate))
    share, first, count = still_to_add(head, keys), scene.frame_current, 0
    while count == 0 or (repeat and first + length <= scene.frame_end):
        for name in BLINKS:
            if (key := keys.get(name)) is not None:
                _close_and_open(key, share[name], first, length)
        count += 1
        first += round(random.uniform(*PAUSE_SECONDS) * rate)
    return count


def _close_and_open(key: bpy.types.ShapeKey, closed: float, first: int, length: int) -> None:
    open_ = key.value
    for frame, value in ((first, open_), (first + length // 2, closed), (first + length, open_)):
        key.value = value
        key.keyframe_insert("value", frame=frame)
    key.value = open_

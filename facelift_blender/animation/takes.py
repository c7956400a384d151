"""Face captures as animation: F-curves of the shape keys, and of the bone of the head."""

from __future__ import annotations

from collections.abc import Iterator

import bpy
import numpy as np
from facelift_core.animation.capture import Take, resample
from facelift_core.animation.rig import NEUTRAL, SHAPES
from mathutils import Matrix

from . import names, posing

HEAD_BONE = "head"
LEAST = 1e-4
"""Shapes that never get stronger have no curve."""
_LINEAR = 1
"""Interpolation of keyframes, as a number for ``foreach_set``."""


def insert(
    scene: bpy.types.Scene,
    head: bpy.types.Object,
    take: Take,
    name: str,
    turn_head: bool = True,
    first: int | None = None,
) -> int:
    """Animate the face of `head` with a take; returns the number of frames.

    The shape keys get a new action; what animated them before stays in the file. The face starts from neutral.

    Args:
        take: at any rate; the animation has a keyframe for each frame of the scene.
        name: of the actions.
        turn_head: whether the head turns, too.
        first: frame at which it begins; None for the current one.

    Raises:
        FaceLiftError: the head has no face, or the take is too long for the scene's frame rate.
    """
    keys = posing.sliders(head)
    take = resample(take, scene.render.fps / scene.render.fps_base)
    frames = (scene.frame_current if first is None else first) + np.arange(len(take))
    _new_action(names.face_of(head).data.shape_keys, name)
    for shape, key in keys.items():
        key.value = float(shape == NEUTRAL)
    if NEUTRAL in keys:
        _write(keys[NEUTRAL], "value", frames[:1], np.ones((1, 1)))
    for shape, weights in zip(SHAPES, take.weights.T, strict=True):
        if shape in keys and weights.max() > LEAST:
            _write(keys[shape], "value", frames, weights[None])
    rig = names.rig_of(head)
    bone = rig.pose.bones.get(HEAD_BONE) if rig is not None else None
    if bone is not None and turn_head and np.abs(take.head).max() > LEAST:
        _new_action(rig, f"{name} head")
        bone.rotation_mode = "XYZ"
        _write(bone, "rotation_euler", frames, _angles(bone.bone, take.rotations))
    return len(take)


def _angles(bone: bpy.types.Bone, rotations: np.ndarray) -> np.ndarray:
    """(3, T) Euler angles of the bone for (T, 3, 3) rotations in the space of the armature."""
    axes = np.array(bone.matrix_local.to_3x3())
    angles, last = np.empty((3, len(rotations))), None
    for frame, turned in enumerate(axes.T @ rotations @ axes):
        last = Matrix(turned).to_euler("XYZ", last) if last is not None else Matrix(turned).to_euler("XYZ")
        angles[:, frame] = last
    return angles


def _new_action(block: bpy.types.ID, name: str) -> None:
    """Have the next keyframe of `block` begin an action of that name."""
    data = block.animation_data_create()
    if data.action is not None:
        data.action.use_fake_user = True
    data.action = bpy.data.actions.new(name)


def _write(owner: bpy.types.bpy_struct, path: str, frames: np.ndarray, values: np.ndarray) -> None:
    """Curves of a property with (C, T) values, one keyframe for each frame."""
    owner.keyframe_insert(path, frame=int(frames[0]))
    full = owner.path_from_id(path)
    found = {curve.array_index: curve for curve in curves_of(owner.id_data) if curve.data_path == full}
    for index, row in enumerate(values):
        points = found[index].keyframe_points
        points.add(len(frames) - len(points))
        points.foreach_set("co", np.column_stack([frames, row]).astype(np.float32).ravel())
        points.foreach_set("interpolation", np.full(len(frames), _LINEAR, np.int32))
        found[index].update()


def curves_of(block: bpy.types.ID) -> Iterator[bpy.types.FCurve]:
    """The F-curves that animate `block`."""
    data = block.animation_data
    action = data.action if data is not None else None
    if action is None:
        return
    if hasattr(action, "fcurves"):  # before Blender 5.0
        yield from action.fcurves
        return
    for layer in action.layers:
        for strip in layer.strips:
            if (bag := strip.channelbag(data.action_slot)) is not None:
                yield from bag.fcurves

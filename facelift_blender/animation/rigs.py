"""Rigs inserted into the scene. Call everything from the main thread."""

from __future__ import annotations

from dataclasses import dataclass

import bpy
import numpy as np
from facelift_core.animation.rig import Rig

from ..splats import attributes, objects
from . import binding, face_mesh, gaze, lids, motion_nodes, names


def insert(rig: Rig, head: bpy.types.Object) -> bpy.types.Object:
    """Let `head` move with a face: replace its Gaussians by those of `rig`, and add the mesh and the armature.

    An earlier face of the head is replaced. Modifiers, materials, edits and attributes of the head stay.

    Args:
        rig: in the head's own space; its first Gaussians are those of :func:`own_splats`.

    Returns:
        The object with the face mesh.
    """
    looked_at, moved = gaze.target_of(head), _Animation.of(head)
    active = bpy.context.view_layer.objects.active
    was_part = active is not None and active in (names.face_of(head), names.rig_of(head))
    remove_parts(head)
    _replace_splats(head, rig)
    armature = face_mesh.new_armature(f"{head.name} Rig", rig.mesh)
    face = face_mesh.new_face(f"{head.name} Face", rig.mesh)
    for item, key in ((face, names.FACE), (armature, names.RIG)):
        for collection in head.users_collection:
            collection.objects.link(item)
        item.parent = head  # without an inverse: the same transform
        item[names.HEAD] = head
        head[key] = item
        item.hide_render = True
        item.display_type = "WIRE"
    lids.follow(face, armature)
    modifier = face.modifiers.new("Bones", "ARMATURE")
    modifier.object = armature
    _hide(face, armature)
    motion_nodes.add_modifier(head, face)
    moved.give(head)
    if looked_at is not None:
        gaze.look_at(head, looked_at)
    if was_part:
        bpy.context.view_layer.objects.active = head
        head.select_set(True)
    return face


@dataclass(frozen=True)
class _Animation:
    """What moves the face and the armature of a head: strengths of shapes by name, and the actions with their slots."""

    strengths: dict[str, float]
    actions: tuple[tuple[bpy.types.Action, object] | None, ...]

    @classmethod
    def of(cls, head: bpy.types.Object) -> _Animation:
        keys, rig = _movable(head)
        strengths = {key.name: key.value for key in keys.key_blocks} if keys is not None else {}
        return cls(strengths, tuple(_action(block) for block in (keys, rig)))

    def give(self, head: bpy.types.Object) -> None:
        keys, rig = _movable(head)
        for key in keys.key_blocks[1:]:
            key.value = self.strengths.get(key.name, 0.0)
        for block, found in zip((keys, rig), self.actions, strict=True):
            if found is not None:
                data = block.animation_data_create()
                data.action, slot = found
                if slot is not None:
                    data.action_slot = slot


def _movable(head: bpy.types.Object) -> tuple[bpy.types.Key | None, bpy.types.Object | None]:
    face = names.face_of(head)
    return (face.data.shape_keys if face is not None else None), names.rig_of(head)


def _action(block: bpy.types.ID | None) -> tuple[bpy.types.Action, object] | None:
    data = block.animation_data if block is not None else None
    if data is None or data.action is None:
        return None
    return data.action, getattr(data, "action_slot", None)  # slots are of Blender 4.4


def own_splats(head: bpy.types.Object) -> attributes.SplatArrays:
    """The Gaussians that `head` stores, without those that came with an earlier rig."""
    splats, kept = attributes.read(head.data), ~binding.added(head.data)
    return _rows(splats, kept)


def remove_parts(head: bpy.types.Object) -> None:
    """Delete the face mesh and the armature of `head`, and what only they use; not those of which it is a copy."""
    for item in (names.face_of(head), names.rig_of(head)):
        if item is None or item.get(names.HEAD) != head:
            continue
        data = item.data
        bpy.data.objects.remove(item)
        if data.users == 0:
            bpy.data.batch_remove([data])


def _replace_splats(head: bpy.types.Object, rig: Rig) -> None:
    old = head.data
    own = ~binding.added(old)
    count = int(own.sum())
    new = objects.new_point_cloud(old.name, len(rig.gaussians))
    attributes.write(new, rig.gaussians)
    attributes.copy_others(old, new, own)
    binding.write(new, rig, np.arange(len(rig.gaussians)) >= count)
    for material in old.materials:
        new.materials.append(material)
    head.data = new
    if old.users == 0:
        name = old.name
        bpy.data.pointclouds.remove(old)
        new.name = name


def _rows(splats: attributes.SplatArrays, kept: np.ndarray) -> attributes.SplatArrays:
    return splats if kept.all() else splats[kept]


def _hide(*items: bpy.types.Object) -> None:
    """Hide objects in all viewports, as the eye in the Outliner does."""
    for scene in bpy.data.scenes:
        for layer in scene.view_layers:
            layer.update()
            for item in items:
                if layer.objects.get(item.name) == item:
                    item.hide_set(True, view_layer=layer)

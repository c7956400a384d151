"""Rigs inserted into the scene. Call everything from the main thread."""

from __future__ import annotations

import bpy
import numpy as np
from facelift_core.animation.rig import Rig

from ..splats import attributes, objects
from . import binding, face_mesh, motion_nodes, names


def insert(rig: Rig, head: bpy.types.Object) -> bpy.types.Object:
    """Let `head` move with a face: replace its Gaussians by those of `rig`, and add the mesh and the armature.

    An earlier face of the head is replaced. Modifiers, materials, edits and attributes of the head stay.

    Args:
        rig: in the head's own space; its first Gaussians are those of :func:`own_splats`.

    Returns:
        The object with the face mesh.
    """
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
    modifier = face.modifiers.new("Bones", "ARMATURE")
    modifier.object = armature
    _hide(face, armature)
    motion_nodes.add_modifier(head, face)
    return face


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

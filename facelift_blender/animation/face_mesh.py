"""The face mesh with a shape key for each movement, and its armature."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import bpy
import numpy as np
from facelift_core.animation.rig import BODY, BONES, NEUTRAL, PARENTS, SHAPES, FaceMesh

from . import lids
from .names import EXPRESSION, REST

UPRIGHT = "neck", "head"
"""Bones that point up; the others point forward, with the z axis up."""


def new_face(name: str, face: FaceMesh) -> bpy.types.Object:
    """An object with the mesh, in no collection yet: shape keys, UV map, and a group of vertices per bone."""
    mesh = bpy.data.meshes.new(name)
    mesh.from_pydata(face.vertices, [], face.quads.tolist())
    mesh.uv_layers.new(name="UVMap")
    mesh.uv_layers[0].data.foreach_set("uv", np.ascontiguousarray(face.uvs, np.float32).ravel())
    mesh.polygons.foreach_set("use_smooth", np.ones(len(mesh.polygons), bool))
    mesh.attributes.new(REST, "FLOAT_VECTOR", "POINT")
    mesh.attributes[REST].data.foreach_set("vector", np.ascontiguousarray(face.vertices, np.float32).ravel())
    mesh[EXPRESSION] = face.expression.astype(float).tolist()
    mesh.update()
    item = bpy.data.objects.new(name, mesh)
    _add_shape_keys(item, face)
    for bone, weights in ((BODY, 1.0 - face.bone_weights.sum(axis=0)), *zip(BONES, face.bone_weights, strict=True)):
        group = item.vertex_groups.new(name=bone)
        for vertex in np.flatnonzero(weights > 1e-4).tolist():
            group.add([vertex], float(weights[vertex]), "REPLACE")
    return item


def _add_shape_keys(item: bpy.types.Object, face: FaceMesh) -> None:
    item.shape_key_add(name="Basis", from_mix=False)
    named = {NEUTRAL: face.neutral, **dict(zip(SHAPES, face.shapes, strict=True)), **lids.shapes(face)}
    for name, moved in named.items():
        key = item.shape_key_add(name=name, from_mix=False)
        key.slider_min, key.slider_max, key.value = 0.0, 1.0, 0.0
        key.data.foreach_set("co", np.ascontiguousarray(face.vertices + moved, np.float32).ravel())


def new_armature(name: str, face: FaceMesh) -> bpy.types.Object:
    """An object with the bones of the face, in no collection yet."""
    data = bpy.data.armatures.new(name)
    data.display_type = "STICK"
    item = bpy.data.objects.new(name, data)
    low = face.vertices.min(axis=0)
    neck = face.joints[0, 0]
    with _edited(item):
        bones = data.edit_bones
        root = bones.new(BODY)
        root.head, root.tail = (neck[0], neck[1], min(low[2], neck[2] - 0.1 * (neck[2] - low[2]) - 1e-3)), neck
        for number, bone in enumerate(BONES):
            made = bones.new(bone)
            made.head, made.tail = face.joints[number].tolist()
            made.parent = bones[PARENTS[bone]]
            if bone not in UPRIGHT:
                made.align_roll((0.0, 0.0, 1.0))  # without it, two eyes may have other axes
    for bone in item.pose.bones:
        bone.rotation_mode = "XYZ"
    return item


@contextmanager
def _edited(armature: bpy.types.Object) -> Iterator[None]:
    """Edit Mode, without which bones cannot be made; in a scene of its own, so that the user's stays as it is."""
    scene = bpy.data.scenes.new("Bones")
    try:
        scene.collection.objects.link(armature)
        layer = scene.view_layers[0]
        layer.objects.active = armature
        layer.update()
        context = {"scene": scene, "view_layer": layer, "active_object": armature, "object": armature}
        with bpy.context.temp_override(**context):
            bpy.ops.object.mode_set(mode="EDIT")
            try:
                yield
            finally:
                bpy.ops.object.mode_set(mode="OBJECT")
    finally:
        scene.collection.objects.unlink(armature)
        bpy.data.batch_remove([scene])  # not scenes.remove, see splats.objects.new_point_cloud

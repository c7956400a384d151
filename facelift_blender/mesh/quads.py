"""A mesh of quads in place of triangles, by Blender's own voxel remesher. Its colors are those of its vertices."""

from __future__ import annotations

import bpy
import numpy as np
from mathutils.kdtree import KDTree

COLOR = "Color"
ROUNDS = 4
"""Voxels are enlarged until there are few enough faces; two rounds do, as a rule."""


def as_quads(mesh: bpy.types.Mesh, texture: np.ndarray, count: int) -> bpy.types.Mesh:
    """A mesh of at most `count` quads of even size with the surface of `mesh`, and a color for each vertex.

    Args:
        mesh: closed, with texture coordinates.
        texture: (H, W, 3) uint8, the first row on top.
    """
    voxel = (sum(polygon.area for polygon in mesh.polygons) / count) ** 0.5
    for _ in range(ROUNDS):
        made = _remeshed(mesh, voxel)
        if len(made.polygons) <= count:
            break
        voxel *= 1.02 * (len(made.polygons) / count) ** 0.5
        bpy.data.meshes.remove(made)
    made.name = mesh.name
    colors = made.attributes.new(COLOR, "BYTE_COLOR", "POINT")
    nearest = _nearest(_places(mesh), _places(made))
    displayed = np.column_stack([_vertex_colors(mesh, texture), np.ones(len(mesh.vertices), np.float32)])
    colors.data.foreach_set("color_srgb", displayed[nearest].astype(np.float32).ravel())
    made.color_attributes.active_color = made.color_attributes[COLOR]
    made.polygons.foreach_set("use_smooth", np.ones(len(made.polygons), bool))
    made.update()
    return made


def _remeshed(mesh: bpy.types.Mesh, voxel: float) -> bpy.types.Mesh:
    # By the modifier, in a scene of its own: the operator needs a window's context.
    scene = bpy.data.scenes.new("Remesh")
    item = bpy.data.objects.new("Remesh", mesh)
    try:
        scene.collection.objects.link(item)
        modifier = item.modifiers.new("Remesh", "REMESH")
        modifier.mode, modifier.voxel_size, modifier.adaptivity = "VOXEL", voxel, 0.0
        layer = scene.view_layers[0]
        layer.update()
        made = bpy.data.meshes.new_from_object(item.evaluated_get(layer.depsgraph))
    finally:
        bpy.data.objects.remove(item)
        bpy.data.batch_remove([scene])  # scenes.remove crashes without a window up to Blender 4.3
    made.materials.clear()
    return made


def _places(mesh: bpy.types.Mesh) -> np.ndarray:
    found = np.empty(3 * len(mesh.vertices), np.float32)
    mesh.vertices.foreach_get("co", found)
    return found.reshape(-1, 3)


def _nearest(known: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    tree = KDTree(len(known))
    for index, place in enumerate(known):
        tree.insert(place, index)
    tree.balance()
    return np.array([tree.find(place)[1] for place in wanted])


def _vertex_colors(mesh: bpy.types.Mesh, texture: np.ndarray) -> np.ndarray:
    """(V, 3) colors of the vertices in [0, 1], where their first corner lies in the texture."""
    height, width = texture.shape[:2]
    uvs = np.empty(2 * len(mesh.loops), np.float32)
    mesh.uv_layers[0].data.foreach_get("uv", uvs)
    vertices = np.empty(len(mesh.loops), np.int32)
    mesh.loops.foreach_get("vertex_index", vertices)
    u, v = uvs.reshape(-1, 2).T
    rows = ((1 - v) * height).astype(int).clip(0, height - 1)
    colors = np.zeros((len(mesh.vertices), 3), np.float32)
    colors[vertices] = texture[rows, (u * width).astype(int).clip(0, width - 1)] / np.float32(255)
    return colors

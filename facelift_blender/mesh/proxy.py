"""The mesh as an invisible stand-in for its head that casts the head's shadow in Cycles and EEVEE."""

from __future__ import annotations

import bpy

from .making import make_mesh, mesh_of

PROXY = "facelift_proxy"
"""Custom property of a head: the object that casts its shadow."""
MATERIAL = "FaceLift Shadow"
FACES, TEXTURE = 50_000, 1024
"""Of a mesh that is made for shadows only."""


def proxy_of(head: bpy.types.Object) -> bpy.types.Object | None:
    """The object that casts the head's shadow, if it is still in the scene."""
    found = head.get(PROXY)
    return found if isinstance(found, bpy.types.Object) and found.users_scene else None


def cast_shadows(context, head: bpy.types.Object) -> None:
    """Let `head` cast shadows. Without a mesh, submit the job that makes one first, which then stays hidden.

    Raises:
        FaceLiftError: a mesh is needed and cannot be made, see :func:`.making.make_mesh`.
    """
    if mesh_of(head) is not None:
        add_proxy(head)
    else:
        make_mesh(context, head, FACES, TEXTURE, use=_for_shadows_only)


def _for_shadows_only(head: bpy.types.Object, mesh: bpy.types.Object) -> None:
    mesh.hide_render = mesh.hide_viewport = True
    add_proxy(head)


def add_proxy(head: bpy.types.Object) -> bpy.types.Object:
    """Let `head`, which has a mesh, cast shadows; returns the object that does it."""
    mesh = mesh_of(head)
    if (item := proxy_of(head)) is not None:
        item.data = mesh.data
        return item
    item = bpy.data.objects.new(f"{head.name} Shadow", mesh.data)
    for collection in head.users_collection:
        collection.objects.link(item)
    item.parent = head
    item.display_type = "BOUNDS"
    item.hide_select = True
    # On the object: the mesh keeps its own material.
    item.material_slots[0].link = "OBJECT"
    item.material_slots[0].material = shadow_material()
    item.visible_camera = item.visible_diffuse = item.visible_glossy = item.visible_transmission = False
    # Its own quads face the camera, so their shadows would be those of a flat picture.
    head.visible_shadow = False
    head[PROXY] = item
    return item


def remove_proxy(head: bpy.types.Object) -> None:
    """Stop casting shadows; the mesh stays."""
    if PROXY not in head:
        return
    item = proxy_of(head)
    del head[PROXY]  # before the object goes, which empties the property
    head.visible_shadow = True
    if item is not None:
        bpy.data.objects.remove(item)


def shadow_material() -> bpy.types.Material:
    """A material that only shadow rays see, made if this file does not have it."""
    for material in bpy.data.materials:
        if material.name.split(".")[0] == MATERIAL and not material.library:
            return material
    material = bpy.data.materials.new(MATERIAL)
    if material.node_tree is None:  # always there from Blender 5.0
        material.use_nodes = True
    nodes, link = material.node_tree.nodes, material.node_tree.links.new
    nodes.clear()
    ray = nodes.new("ShaderNodeLightPath")
    clear, solid = nodes.new("ShaderNodeBsdfTransparent"), nodes.new("ShaderNodeBsdfDiffuse")
    either, output = nodes.new("ShaderNodeMixShader"), nodes.new("ShaderNodeOutputMaterial")
    link(ray.outputs["Is Shadow Ray"], either.inputs[0])
    link(clear.outputs[0], either.inputs[1])
    link(solid.outputs[0], either.inputs[2])
    link(either.outputs[0], output.inputs[0])
    for place, node in enumerate((ray, clear, solid)):
        node.location = (-200, 150 * (1 - place))
    output.location = (200, 0)
    material.surface_render_method = "DITHERED"
    return material

"""The mesh as an invisible stand-in for its head that casts the head's shadow in Cycles and EEVEE."""

from __future__ import annotations

import bpy

from ..splats import attributes
from .making import make_mesh, mesh_of
from .shadow_material import shadow_material

PROXY = "facelift_proxy"
"""Custom property of a head: the object that casts its shadow."""
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
    if mesh_of(head) is not None or proxy_of(head) is not None:
        add_proxy(head)
    else:
        make_mesh(context, head, FACES, TEXTURE, use=_for_shadows_only)


def _for_shadows_only(head: bpy.types.Object, mesh: bpy.types.Object) -> None:
    mesh.hide_render = mesh.hide_viewport = True
    add_proxy(head)


def add_proxy(head: bpy.types.Object) -> bpy.types.Object:
    """Let `head`, which has a mesh, cast shadows; returns the object for it, made or brought up to date."""
    mesh, item = mesh_of(head), proxy_of(head)
    if item is None:
        item = bpy.data.objects.new(f"{head.name} Shadow", mesh.data)
        for collection in head.users_collection:
            collection.objects.link(item)
        item.parent = head
        head[PROXY] = item
    elif mesh is not None:
        item.data = mesh.data
    item.display_type = "BOUNDS"
    item.hide_select = True
    # On the object: the mesh keeps its own material.
    item.material_slots[0].link = "OBJECT"
    item.material_slots[0].material = shadow_material()
    item.color = _mean_color(head.data)
    item.visible_camera = item.visible_glossy = item.visible_transmission = False
    # Its own quads face the camera, so their shadows would be those of a flat picture.
    head.visible_shadow = False
    share_diffuse_rays(head)
    return item


def share_diffuse_rays(head: bpy.types.Object) -> None:
    """Let diffuse rays meet either the head or what casts its shadow."""
    if (item := proxy_of(head)) is not None:
        item.visible_diffuse = not head.visible_diffuse


def _mean_color(cloud: bpy.types.PointCloud) -> tuple[float, float, float, float]:
    if attributes.COLOR not in cloud.attributes:
        return 0.5, 0.5, 0.5, 1.0
    red, green, blue, _ = attributes.get_values(cloud, attributes.COLOR, 4).clip(0, 1).mean(axis=0).tolist()
    return red, green, blue, 1.0


def remove_proxy(head: bpy.types.Object) -> None:
    """Stop casting shadows; the mesh stays."""
    if PROXY not in head:
        return
    item = proxy_of(head)
    del head[PROXY]  # before the object goes, which empties the property
    head.visible_shadow = True
    if item is not None:
        bpy.data.objects.remove(item)

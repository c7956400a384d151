"""Blender's own Gaussian splats, from 5.3 on: a type of point clouds that the engines draw themselves.

New splats do not use it: the modifier draws them exactly, and Blender's own drawing trades exactness for speed
(docs/rendering.md). An object is *native* when its cloud has that type and the modifier is off; the modifier and its
edits stay, for whoever goes back. The type is found by its name in an enumeration of point clouds, not by version.

Splats may also come out of the nodes of another object, such as *Import SPZ*; see :func:`made_by_nodes`.
"""

from __future__ import annotations

import bpy

from . import attributes, material, nodes

_MAKERS = {"GeometryNodeImportSPZ", "GeometryNodePointsSetType"}
"""Nodes that turn geometry into Blender's own splats."""


def type_property(cloud: bpy.types.PointCloud) -> tuple[str, str, str] | None:
    """Name of the property that makes `cloud` splats, and its values for splats and for points; None before 5.3."""
    for found in cloud.bl_rna.properties:
        if found.type != "ENUM" or found.is_readonly:
            continue
        values = found.enum_items.keys()
        splats = next((value for value in values if "SPLAT" in value), None)
        if splats:
            return found.identifier, splats, next(value for value in values if value != splats)
    return None


def available() -> bool:
    """Whether this Blender has splats of its own."""
    return type_property(bpy.types.PointCloud) is not None


def is_native(item: bpy.types.Object) -> bool:
    """Whether Blender itself draws the splats of `item`."""
    known = type_property(item.data)
    return known is not None and getattr(item.data, known[0]) == known[1]


def set_native(item: bpy.types.Object, on: bool) -> None:
    """Let Blender itself draw the splats of `item`, and of its linked duplicates, or the modifier.

    Turning it off adds the modifier to splats that Blender has imported itself.
    """
    known = type_property(item.data)
    if known is None:
        return
    name, splats, points = known
    attributes.adopt_native_base(item.data)
    setattr(item.data, name, splats if on else points)
    (material.remove_from if on else material.add_to)(item.data)
    for other in bpy.data.objects:
        if other.data != item.data:
            continue
        modifier = nodes.find_modifier(other) or (None if on else nodes.add_modifier(other))
        if modifier is not None:
            modifier.show_viewport = modifier.show_render = not on


def adopt() -> int:
    """Give ``radiance:base`` of files from before Blender 5.2 its new type; returns how many clouds changed."""
    clouds = [cloud for cloud in bpy.data.pointclouds if not cloud.library and attributes.is_splats(cloud)]
    return sum(map(attributes.adopt_native_base, clouds))


def made_by_nodes(item: bpy.types.Object | None) -> bool:
    """Whether a geometry nodes modifier of `item` has a node that makes Blender's own splats. Evaluates nothing."""
    if item is None:
        return False
    waiting = [modifier.node_group for modifier in item.modifiers if modifier.type == "NODES"]
    known: set[bpy.types.NodeTree | None] = {None}
    while waiting:
        group = waiting.pop()
        if group in known or nodes.VERSION_KEY in group:
            continue
        known.add(group)
        if any(node.bl_idname in _MAKERS for node in group.nodes):
            return True
        waiting += [node.node_tree for node in group.nodes if node.type == "GROUP"]
    return False

"""Blender's own Gaussian splats, from 5.3 on: a type of point clouds that the engines draw themselves.

Found by what it is, not by version: an enumeration of point clouds with an item for splats. A splat object is *native*
when its cloud has that type and our modifier is off; the modifier and its edits stay, for whoever goes back.
"""

from __future__ import annotations

import bpy

from . import attributes, nodes


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
    """Let Blender itself draw the splats of `item`, and of its linked duplicates, or our modifier."""
    known = type_property(item.data)
    if known is None:
        return
    name, splats, points = known
    attributes.adopt_native_base(item.data)
    setattr(item.data, name, splats if on else points)
    for other in bpy.data.objects:
        if other.data == item.data and (modifier := nodes.find_modifier(other)):
            modifier.show_viewport = modifier.show_render = not on


def adopt() -> int:
    """For files from before: give ``radiance:base`` its new type, and make native what nobody has edited; how many
    clouds changed."""
    changed = 0
    for cloud in bpy.data.pointclouds:
        if cloud.library or not attributes.is_splats(cloud):
            continue
        changed += attributes.adopt_native_base(cloud)
        if type_property(cloud) is None:
            continue
        shown = [item for item in bpy.data.objects if item.data == cloud]
        if shown and not is_native(shown[0]) and not any(map(_edited, shown)):
            set_native(shown[0], True)
    return changed


def _edited(item: bpy.types.Object) -> bool:
    """Whether our modifier does what Blender's own splats would not show."""
    modifier = nodes.find_modifier(item)
    if modifier is None:
        return False
    if attributes.DELETED in item.data.attributes:
        return True
    for socket in modifier.node_group.interface.items_tree:
        if socket.item_type != "SOCKET" or socket.in_out != "INPUT" or not hasattr(socket, "default_value"):
            continue
        value, default = nodes.get_input(modifier, socket.name), socket.default_value
        if socket.socket_type == "NodeSocketColor":
            value, default = tuple(value), tuple(default)
        if value != default:
            return True
    return False

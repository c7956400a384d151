"""Exports splat objects to files, with all edits and, optionally, the object's transform applied."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import bpy
import numpy as np
from facelift_core import FaceLiftError
from facelift_core.gaussians import files as formats
from facelift_core.gaussians import transforms

from . import attributes, importing, native, nodes, objects
from .attributes import SplatArrays


def export_splats(
    scene: bpy.types.Scene, items: Sequence[bpy.types.Object], path: str | Path, *, apply_transform: bool = True
) -> int:
    """Write the Gaussians of `items` to one file; returns their number.

    Raises:
        FaceLiftError: there are no Gaussians to write, or the file cannot be written.
    """
    path = Path(bpy.path.abspath(str(path)))
    parts = [edited(scene, item, apply_transform=apply_transform) for item in items]
    parts = [part for part in parts if len(part)]
    if not parts:
        raise FaceLiftError("There is nothing to export; select an object with visible splats.")
    splats = importing.joined(parts)
    formats.write(splats, path)
    return len(splats)


def chosen(context: bpy.types.Context) -> list[bpy.types.Object]:
    """The selected objects with splats, of their own or made by geometry nodes; without any, the active one."""
    active = objects.active_splats(context) or context.object
    for items in (context.selected_objects, [active]):
        if found := [item for item in items if objects.is_splat_object(item) or native.made_by_nodes(item)]:
            return found
    return []


def edited(scene: bpy.types.Scene, item: bpy.types.Object, *, apply_transform: bool = True) -> SplatArrays:
    """The Gaussians of `item` as rendered at the current frame, with all modifiers, edits and its transform applied.

    Raises:
        FaceLiftError: the modifiers do not output a point cloud.
    """
    # Evaluates a copy in a separate scene, so that the user's data is neither changed nor evaluated again.
    other = bpy.data.scenes.new("Export")
    copy = item.copy()
    try:
        other.frame_current = scene.frame_current
        other.collection.objects.link(copy)
        if modifier := nodes.find_modifier(copy):
            modifier.show_viewport = modifier.show_render
            nodes.set_input(modifier, "Viewport As", nodes.POINTS)
            nodes.set_input(modifier, "Viewport Amount", nodes.get_input(modifier, "Render Amount"))
        layer = other.view_layers[0]
        layer.update()
        evaluated = copy.evaluated_get(layer.depsgraph)
        cloud, matrix = evaluated.data, np.array(evaluated.matrix_world)
        if not isinstance(cloud, bpy.types.PointCloud) and native.made_by_nodes(copy):
            geometry = evaluated.evaluated_geometry()  # owns the point cloud
            cloud = geometry.pointcloud
        if not isinstance(cloud, bpy.types.PointCloud):
            raise FaceLiftError(f"The modifiers of “{item.name}” leave no splats to export.")
        if len(cloud.points) == 0:
            return attributes.nothing()
        splats = attributes.read(cloud)
    finally:
        bpy.data.objects.remove(copy)
        bpy.data.scenes.remove(other)
    return transforms.transform(splats, matrix) if apply_transform else splats

"""Editing splats. Edits are non-destructive, except for joining."""

from __future__ import annotations

from collections.abc import Sequence

import bpy
import numpy as np
from facelift_core import FaceLiftError
from facelift_core.gaussians import transforms
from facelift_core.gaussians.arrays import concatenated
from mathutils import Matrix, Vector

from . import attributes, exporting, native, nodes, objects
from .viewport import state

SELECTION = ".selection"
"""Attribute in which Blender stores the selection of a point cloud in Edit Mode."""


def modifier_of(item: bpy.types.Object) -> bpy.types.NodesModifier:
    """The modifier that shows the splats of `item`; added again if it was removed."""
    if not objects.is_splat_object(item):
        raise FaceLiftError("Select a splat object first.")
    if nodes.find_modifier(item) is None and native.is_native(item):  # imported by Blender itself
        native.set_native(item, False)
    return nodes.find_modifier(item) or nodes.add_modifier(item)


def show_as(item: bpy.types.Object, mode: str, *, render: bool, viewport: bool) -> None:
    modifier = modifier_of(item)
    if render:
        nodes.set_input(modifier, "Render As", mode)
    if viewport:
        nodes.set_input(modifier, "Viewport As", mode)
        state.restart_previews()


def add_crop_box(item: bpy.types.Object) -> bpy.types.Object:
    """Add a box around `item` that hides everything outside it; returns the existing box if there is one."""
    modifier = modifier_of(item)
    nodes.set_input(modifier, "Crop", True)
    if box := nodes.get_input(modifier, "Crop Box"):
        return box
    low, high = objects.bounds(attributes.get_values(item.data, attributes.POSITION, 3), share=1.0)
    box = bpy.data.objects.new(f"{item.name} Crop", None)
    box.empty_display_type = "CUBE"
    box.empty_display_size = 1.0
    for collection in item.users_collection:
        collection.objects.link(box)
    # Does not use the parent's matrix_world, which is outdated right after a script has moved it.
    box.parent = item
    box.matrix_parent_inverse = Matrix()
    box.location = Vector((0.5 * (low + high)).tolist())
    box.scale = Vector(np.maximum(0.5 * (high - low) * 1.01, 1e-4).tolist())
    nodes.set_input(modifier, "Crop Box", box)
    return box


def remove_crop_box(item: bpy.types.Object) -> None:
    """Stop cropping, and delete the box if nothing else uses it."""
    modifier = modifier_of(item)
    box = nodes.get_input(modifier, "Crop Box")
    nodes.set_input(modifier, "Crop", False)
    nodes.set_input(modifier, "Crop Box", None)
    others = (nodes.find_modifier(other) for other in bpy.data.objects if other != item)
    used = any(box == nodes.get_input(other, "Crop Box") for other in others if other)
    if box is not None and box.parent == item and not used:
        bpy.data.objects.remove(box)


def delete_selected(item: bpy.types.Object) -> int:
    """Hide the points selected in Edit Mode; returns their number. :func:`restore_deleted` shows them again.

    Raises:
        FaceLiftError: nothing is selected, or this Blender version cannot select points.
    """
    modifier_of(item)
    cloud = item.data
    if SELECTION not in cloud.attributes:
        raise FaceLiftError("Select points in Edit Mode first. Without Edit Mode in this Blender, use a crop box.")
    selected = attributes.get_values(cloud, SELECTION, 1)
    if not selected.any():
        raise FaceLiftError("No points are selected.")
    if attributes.DELETED not in cloud.attributes:
        cloud.attributes.new(attributes.DELETED, "BOOLEAN", "POINT")
    before = attributes.get_values(cloud, attributes.DELETED, 1)
    attributes.set_values(cloud, attributes.DELETED, before | selected)
    attributes.set_values(cloud, SELECTION, np.zeros_like(selected))
    cloud.update_tag()
    return int((selected & ~before).sum())


def restore_deleted(item: bpy.types.Object) -> int:
    """Show all points again that :func:`delete_selected` has hidden; returns their number."""
    cloud = item.data
    if attributes.DELETED not in cloud.attributes:
        return 0
    count = int(attributes.get_values(cloud, attributes.DELETED, 1).sum())
    cloud.attributes.remove(cloud.attributes[attributes.DELETED])
    cloud.update_tag()
    return count


def duplicate_as_instance(item: bpy.types.Object) -> bpy.types.Object:
    """Create an object that shares the Gaussians of `item` in memory but has its own transform and modifier."""
    modifier_of(item)
    copy = item.copy()
    for collection in item.users_collection:
        collection.objects.link(copy)
    return copy


def join(context: bpy.types.Context, item: bpy.types.Object, others: Sequence[bpy.types.Object]) -> None:
    """Join `others` into `item`, applying all edits and transforms, and delete `others`.

    EEVEE only sorts splats within one object. Blender's own Join keeps the edits of `item` only.

    Raises:
        FaceLiftError: there are no others, no Gaussians remain, or an object is scaled to zero.
    """
    if not others:
        raise FaceLiftError("Select at least two splat objects.")
    parts = (item, *others)
    splats = concatenated([exporting.edited(context.scene, part) for part in parts])
    known = any(attributes.NORMAL in part.data.attributes for part in parts)
    surfaces = [exporting.edited_surface(context.scene, part) for part in parts] if known else []
    to_item = np.linalg.inv(np.array(item.matrix_world))
    cloud = objects.splat_cloud(item.name, transforms.transform(splats, to_item))
    if known:
        normals, albedo = (np.concatenate(values) for values in zip(*surfaces, strict=True))
        attributes.write_surface(cloud, attributes.turned_normals(normals, to_item[:3, :3]), albedo)
    before = modifier_of(item)
    names = ("Render As", "Viewport As", "Match Viewers", *nodes.LIGHT)
    kept = {name: nodes.get_input(before, name) for name in names if nodes.has_input(before, name)}
    for part in parts:
        remove_crop_box(part)
    for other in others:
        bpy.data.objects.remove(other)
    item.modifiers.clear()
    item.data = cloud
    nodes.add_modifier(item)
    for name, value in kept.items():
        nodes.set_input(modifier_of(item), name, value)


def instancers(scene: bpy.types.Scene, item: bpy.types.Object) -> list[bpy.types.Object]:
    """The objects of `scene` that instance a collection containing `item`.

    Geometry Nodes are evaluated once for all instances, at the original's location, so camera-facing quads face the
    wrong way in an instance.
    """
    contains: dict[bpy.types.Collection | None, bool] = {None: False}
    found = []
    for other in scene.objects:
        collection = objects.instanced_collection(other)
        if collection not in contains:
            contains[collection] = item in objects.instanced([other])
        if contains[collection]:
            found.append(other)
    return found


def make_instances_real(context: bpy.types.Context, item: bpy.types.Object) -> int:
    """Turn collection instances with splats into objects that share their data; returns the number of instances.

    Args:
        item: a collection instance, or a splat object to convert all visible instances of it.

    Raises:
        FaceLiftError: there is no such instance.
    """
    found = [item] if objects.instanced_splats(item) else instancers(context.scene, item)
    found = [other for other in found if other.visible_get()]
    if not found:
        raise FaceLiftError(f"No visible collection instance of this scene contains “{item.name}”.")
    with context.temp_override(
        selected_objects=found, selected_editable_objects=found, object=found[0], active_object=found[0]
    ):
        bpy.ops.object.duplicates_make_real(use_base_parent=False, use_hierarchy=False)
    return len(found)


def match_viewers(item: bpy.types.Object, on: bool) -> None:
    """Blend colors like splat viewers do. If `on`, the scene needs the Raw view transform."""
    nodes.set_input(modifier_of(item), "Match Viewers", on)


def convert_made_by_nodes(context: bpy.types.Context, item: bpy.types.Object) -> bpy.types.Object:
    """Create splats from what the geometry nodes of `item` make at this frame, in its place, and hide `item`.

    Raises:
        FaceLiftError: the nodes make no splats.
    """
    splats = exporting.edited(context.scene, item, apply_transform=False)
    made = objects.create_splat_object(context, splats, item.name, collection=item.users_collection[0])
    made.matrix_world = item.matrix_world
    item.hide_render = True
    item.hide_set(True)
    return made

"""Splat objects: point clouds of Gaussians with a modifier and a material."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import bpy
import numpy as np
from facelift_core import FaceLiftError
from facelift_core.gaussians import transforms

from . import attributes, nodes
from .attributes import SplatArrays

HEAD_HEIGHT = 0.23
"""Height from chin to crown of an average adult, in meters."""
HEAD_HEIGHT_IN_UNITS = 1.32
"""The same in the model's world units: twice the aligned eye-to-chin distance of 0.66."""


def head_scale(scene: bpy.types.Scene) -> float:
    """Factor that makes a reconstructed head life-size in the units of `scene`."""
    return HEAD_HEIGHT / HEAD_HEIGHT_IN_UNITS / scene.unit_settings.scale_length


def create_splat_object(
    context_or_scene: bpy.types.Context | bpy.types.Scene,
    splats: SplatArrays,
    name: str,
    *,
    collection: bpy.types.Collection | None = None,
    location: tuple[float, float, float] = (0.0, 0.0, 0.0),
    scale: float = 1.0,
    metadata: Mapping[str, str | int | float | tuple[float, ...]] | None = None,
) -> bpy.types.Object:
    """Create a point cloud object that shows `splats`, and link it to a collection without selecting it.

    Args:
        context_or_scene: determines the collection if none is given: the active collection of a context, or the
            root collection of a scene.
        splats: N ≥ 1 Gaussians.
        name: name of the object and its point cloud.
        location: location of the object's origin.
        scale: uniform factor for the Gaussians' positions and sizes; the object's own scale stays 1. Use
            :func:`head_scale` for reconstructed heads.
        metadata: custom properties of the object.

    Raises:
        FaceLiftError: there are no Gaussians.
    """
    scene = context_or_scene
    if isinstance(context_or_scene, bpy.types.Context):
        scene = context_or_scene.scene
        collection = collection or context_or_scene.collection
    splats = transforms.transform(splats, np.diag([scale, scale, scale, 1.0]))
    item = bpy.data.objects.new(name, splat_cloud(name, splats))
    item.location = location
    for key, value in (metadata or {}).items():
        item[key] = value
    (collection or scene.collection).objects.link(item)
    nodes.add_modifier(item)
    return item


def splat_cloud(name: str, splats: SplatArrays) -> bpy.types.PointCloud:
    """Create a point cloud with the attributes of `splats`.

    Raises:
        FaceLiftError: there are no Gaussians.
    """
    if len(splats) == 0:
        raise FaceLiftError("There are no splats to create an object from.")
    cloud = new_point_cloud(name, len(splats))
    attributes.write(cloud, splats)
    return cloud


def new_point_cloud(name: str, count: int) -> bpy.types.PointCloud:
    """Create a point cloud of `count` ≥ 1 points."""
    cloud = bpy.data.pointclouds.new(name)
    if hasattr(cloud, "resize"):
        cloud.resize(count)
        cloud.update_tag()
        return cloud
    # Before Blender 5.1, only Geometry Nodes create points. A separate scene avoids evaluating the user's.
    group = bpy.data.node_groups.new("Points", "GeometryNodeTree")
    group.interface.new_socket("Geometry", in_out="OUTPUT", socket_type="NodeSocketGeometry")
    points = group.nodes.new("GeometryNodePoints")
    points.inputs["Count"].default_value = count
    group.links.new(points.outputs[0], group.nodes.new("NodeGroupOutput").inputs[0])
    scene = bpy.data.scenes.new("Points")
    item = bpy.data.objects.new("Points", cloud)
    try:
        scene.collection.objects.link(item)
        item.modifiers.new("Points", "NODES").node_group = group
        layer = scene.view_layers[0]
        layer.update()
        made = item.evaluated_get(layer.depsgraph).data.copy()
    finally:
        bpy.data.objects.remove(item)
        # Not scenes.remove: up to Blender 4.3 it crashes without a window in the context, as after opening a file.
        bpy.data.batch_remove([scene])
        bpy.data.node_groups.remove(group)
        bpy.data.pointclouds.remove(cloud)
    made.name = name
    # Our modifier sets the radius.
    if "radius" in made.attributes:
        made.attributes.remove(made.attributes["radius"])
    return made


def choose(context: bpy.types.Context, item: bpy.types.Object) -> None:
    """Select only `item`, and make it the active object."""
    for other in context.selected_objects:
        other.select_set(False)
    item.select_set(True)
    context.view_layer.objects.active = item


def is_splat_object(item: bpy.types.Object | None) -> bool:
    """Whether `item` is a splat object; linked duplicates count, too."""
    return item is not None and item.type == "POINTCLOUD" and attributes.is_splats(item.data)


def active_splats(context: bpy.types.Context) -> bpy.types.Object | None:
    """The active splat object, or the one that the active object is the crop box of."""
    item = context.object
    if item is not None and item.type == "EMPTY" and not is_splat_object(item):
        item = item.parent
    return item if is_splat_object(item) else None


def splat_objects(objects) -> list[bpy.types.Object]:
    """The splat objects among `objects`."""
    return [item for item in objects if is_splat_object(item)]


def instanced(items: Iterable[bpy.types.Object]) -> set[bpy.types.Object]:
    """All objects in the collections that `items` instance, including nested instances."""
    found: set[bpy.types.Object] = set()
    collections: set[bpy.types.Collection] = set()
    waiting = list(items)
    while waiting:
        collection = instanced_collection(waiting.pop())
        if collection is not None and collection not in collections:
            collections.add(collection)
            waiting += set(collection.all_objects) - found
            found.update(collection.all_objects)
    return found


def instanced_collection(item: bpy.types.Object) -> bpy.types.Collection | None:
    return item.instance_collection if item.instance_type == "COLLECTION" else None


def instanced_splats(item: bpy.types.Object | None) -> list[bpy.types.Object]:
    """Splat objects in the collection that `item` instances."""
    return splat_objects(instanced([item])) if item is not None else []


def bounds(positions: np.ndarray, share: float) -> tuple[np.ndarray, np.ndarray]:
    """Minimum and maximum corner of the box that contains the central `share` of (N, 3) positions along each axis."""
    edge = 0.5 * (1.0 - share)
    low, high = np.quantile(positions, [edge, 1.0 - edge], axis=0)
    return low, high

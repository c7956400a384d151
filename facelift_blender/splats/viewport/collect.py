"""Visible splats: evaluated point clouds, read once per change, and their transforms."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import bpy
import numpy as np

from .. import attributes
from . import arrays


@dataclass(frozen=True)
class Placed:
    """A point cloud placed in the scene, as an object or as an instance."""

    key: int
    """Key of the point cloud."""
    matrix: np.ndarray
    """(4, 4) float64 from object to world."""
    owner: bpy.types.Object
    """The object whose visibility counts: the object itself, or the instancer."""


class Reader:
    """Reads evaluated point clouds from the dependency graph, and caches them until :meth:`forget`."""

    def __init__(self) -> None:
        self._clouds: dict[int, arrays.PackedCloud] = {}
        self._placed: dict[tuple[str, str], list[Placed]] = {}

    def forget(self, geometry: bool = True) -> None:
        """Clear the cache; unless `geometry`, only transforms and visibility.

        May be called from a thread other than the drawing thread, which finishes with the data it has.
        """
        self._placed = {}
        if geometry:
            self._clouds = {}

    def visible(self, context: bpy.types.Context) -> tuple[dict[int, arrays.PackedCloud], list[Placed]]:
        """The point clouds, by key, and the placements that the viewport of `context` shows."""
        clouds, placed = self._clouds, self._placed
        key = (context.scene.name, context.view_layer.name)
        if key not in placed:
            placed[key] = list(_read(context.evaluated_depsgraph_get(), clouds))
        # Local view and the viewport's own visibility; the view layer's is already in the dependency graph.
        return clouds, [place for place in placed[key] if place.owner.visible_in_viewport_get(context.space_data)]


def _read(depsgraph: bpy.types.Depsgraph, clouds: dict[int, arrays.PackedCloud]) -> Iterator[Placed]:
    """All placements of splats; adds point clouds that are not in `clouds` yet."""
    for instance in depsgraph.object_instances:
        cloud = instance.object.data
        if not instance.show_self or not isinstance(cloud, bpy.types.PointCloud):
            continue
        if attributes.DRAWN not in cloud.attributes or len(cloud.points) == 0:
            continue
        key = cloud.as_pointer()
        if key not in clouds:
            clouds[key] = arrays.packed(attributes.read(cloud))
        owner = instance.parent if instance.is_instance else instance.object
        yield Placed(key, np.array(instance.matrix_world, np.float64), owner.original)

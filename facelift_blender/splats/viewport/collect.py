"""What is visible: evaluated point clouds, read once per change, and where they stand in the scene."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import bpy
import numpy as np

from .. import attributes
from . import arrays


@dataclass(frozen=True)
class Placed:
    """A point cloud at one place: an object of its own, or an instance."""

    key: int
    """Of its cloud."""
    matrix: np.ndarray
    """(4, 4) float64 from object to world."""
    owner: bpy.types.Object
    """The object that has to be visible: its own, or the one that makes the instance."""


class Reader:
    """Reads what the dependency graph has evaluated, and keeps it until :meth:`forget`."""

    def __init__(self) -> None:
        self._clouds: dict[int, arrays.PackedCloud] = {}
        self._placed: dict[tuple[str, str], list[Placed]] = {}

    def forget(self, geometry: bool = True) -> None:
        """Something has changed; if not `geometry`, only places and visibility.

        May be called by another thread than the one that draws, which goes on with what it has.
        """
        self._placed = {}
        if geometry:
            self._clouds = {}

    def visible(self, context: bpy.types.Context) -> tuple[dict[int, arrays.PackedCloud], list[Placed]]:
        """What `context`'s viewport shows: clouds by their keys, and where they are."""
        clouds, placed = self._clouds, self._placed
        key = (context.scene.name, context.view_layer.name)
        if key not in placed:
            placed[key] = list(_read(context.evaluated_depsgraph_get(), clouds))
        # Restrictions of this viewport alone; those of the view layer are in the dependency graph.
        return clouds, [place for place in placed[key] if place.owner.visible_in_viewport_get(context.space_data)]


def _read(depsgraph: bpy.types.Depsgraph, clouds: dict[int, arrays.PackedCloud]) -> Iterator[Placed]:
    """Where there is something to draw; what is not in `clouds` yet is added."""
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

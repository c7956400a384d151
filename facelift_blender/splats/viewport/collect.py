"""What is visible: evaluated point clouds, read once per change, and where they stand in the scene."""

from __future__ import annotations

from dataclasses import dataclass

import bpy
import numpy as np

from .. import attributes
from . import arrays


@dataclass(frozen=True)
class Placed:
    """A point cloud at one place: an object of its own, or an instance."""

    key: int
    """Of its cloud in :attr:`Collection.clouds`."""
    matrix: np.ndarray
    """(4, 4) float64 from object to world."""
    owner: bpy.types.Object
    """The object that has to be visible: its own, or the one that makes the instance."""


class Collection:
    """Reads what the dependency graph has evaluated, and keeps it until :meth:`forget`."""

    def __init__(self) -> None:
        self.clouds: dict[int, arrays.PackedCloud] = {}
        self._placed: dict[tuple[str, str], list[Placed]] = {}

    def forget(self, geometry: bool = True) -> None:
        """Something has changed; if not `geometry`, only places and visibility."""
        self._placed.clear()
        if geometry:
            self.clouds.clear()

    def visible(self, context: bpy.types.Context) -> list[Placed]:
        """What `context`'s viewport shows."""
        space = context.space_data
        # Restrictions of this viewport alone; those of the view layer are in the dependency graph.
        return [place for place in self._all(context) if place.owner.visible_in_viewport_get(space)]

    def _all(self, context: bpy.types.Context) -> list[Placed]:
        key = (context.scene.name, context.view_layer.name)
        if key not in self._placed:
            self._placed[key] = list(self._read(context.evaluated_depsgraph_get()))
        return self._placed[key]

    def _read(self, depsgraph: bpy.types.Depsgraph):
        for instance in depsgraph.object_instances:
            cloud = instance.object.data
            if not instance.show_self or not isinstance(cloud, bpy.types.PointCloud):
                continue
            if attributes.DRAWN not in cloud.attributes or len(cloud.points) == 0:
                continue
            key = cloud.as_pointer()
            if key not in self.clouds:
                self.clouds[key] = arrays.packed(attributes.read(cloud))
            owner = instance.parent if instance.is_instance else instance.object
            yield Placed(key, np.array(instance.matrix_world, np.float64), owner.original)

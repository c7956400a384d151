"""Views that show heads: by a button, and by itself as long as nobody has moved the view."""

from __future__ import annotations

import math
from collections.abc import Sequence

import bpy
import numpy as np
from bpy.app.handlers import persistent
from mathutils import Quaternion, Vector

from .. import placement

_AZIMUTH, _ELEVATION = math.radians(20.0), math.radians(6.0)
_MARGIN = 1.25
_SENSOR = 36.0
"""Half of what the longer side of a viewport shows, in millimeters at the focal length."""
_FACTORY_DISTANCES = (17.98656, 18.38805)
"""Of the view in Blender's factory settings, up to Blender 5.1 and from 5.2."""

_known: dict[int, tuple[float, ...]] = {}
"""Views as Blender or FaceLift set them, by the pointer of their space."""


def frame(space: bpy.types.SpaceView3D, size: tuple[int, int], items: Sequence[bpy.types.Object]) -> None:
    """Look at the faces of `items` from the front, slightly from the side, so that all of them are in view.

    Args:
        size: of the region, in pixels.
        items: objects whose faces look along their −Y axes; the first one decides the direction.
    """
    boxes = [placement.box(item) for item in items]
    low, high = np.min([box[0] for box in boxes], axis=0), np.max([box[1] for box in boxes], axis=0)
    view = space.region_3d
    heading = items[0].matrix_world.to_3x3() @ Vector((0.0, 1.0, 0.0))
    if heading.xy.length > 0.1 * heading.length:
        turn = Quaternion((0.0, 0.0, 1.0), math.atan2(-heading.x, heading.y) + _AZIMUTH)
        view.view_rotation = turn @ Quaternion((1.0, 0.0, 0.0), math.pi / 2 - _ELEVATION)
    if view.view_perspective == "CAMERA":
        view.view_perspective = "PERSP"
    right, up, back = (view.view_rotation @ axis for axis in map(Vector, ((1, 0, 0), (0, 1, 0), (0, 0, 1))))
    halves = [sum(abs(axis[k]) * 0.5 * (high[k] - low[k]) for k in range(3)) for axis in (right, up, back)]
    longer = max(*size, 1)
    needed = max(half * longer / max(side, 1) for half, side in zip(halves, size, strict=False))
    view.view_location = Vector((0.5 * (low + high)).tolist())
    view.view_distance = _MARGIN * needed * space.lens / _SENSOR + halves[2]
    _known[space.as_pointer()] = _state(space)


def frame_untouched(scene: bpy.types.Scene, items: Sequence[bpy.types.Object]) -> int:
    """Frame `items` in the viewports of `scene` that nobody has moved; returns the number of viewports."""
    found = [(space, region) for shown, space, region in _viewports() if shown == scene and untouched(space)]
    for space, region in found:
        frame(space, (region.width, region.height), items)
    return len(found)


def untouched(space: bpy.types.SpaceView3D) -> bool:
    """Whether the view is as Blender's startup file, or FaceLift, has left it."""
    state = _state(space)
    if space.region_3d.view_perspective == "CAMERA" or space.region_quadviews:
        return False
    known = _known.get(space.as_pointer())
    return _close(known, state) if known is not None else any(abs(state[0] - d) < 1e-3 for d in _FACTORY_DISTANCES)


def remember() -> None:
    """Take all views as untouched. For files that were not saved by a person."""
    _known.clear()
    _known.update((space.as_pointer(), _state(space)) for _, space, _ in _viewports())


def _close(known: tuple[float, ...], state: tuple[float, ...]) -> bool:
    return max(abs(a - b) for a, b in zip(known, state, strict=True)) < 1e-4


def _state(space: bpy.types.SpaceView3D) -> tuple[float, ...]:
    view = space.region_3d
    return (view.view_distance, *view.view_location, *view.view_rotation)


def _viewports():
    """Scene, space and region of every 3D viewport on the screen."""
    for manager in bpy.data.window_managers:
        for window in manager.windows:
            for area in window.screen.areas:
                if area.type == "VIEW_3D":
                    region = next(region for region in area.regions if region.type == "WINDOW")
                    yield window.scene, area.spaces.active, region


@persistent
def _file_loaded(*_) -> None:
    if bpy.data.filepath:
        _known.clear()
        _known.update((space.as_pointer(), (math.inf,) * 8) for _, space, _ in _viewports())
    else:
        remember()


def attach() -> None:
    bpy.app.handlers.load_post.append(_file_loaded)


def detach() -> None:
    if _file_loaded in bpy.app.handlers.load_post:
        bpy.app.handlers.load_post.remove(_file_loaded)
    _known.clear()

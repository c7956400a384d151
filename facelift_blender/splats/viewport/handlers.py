"""Draw handler, and application handlers for changes and loaded files."""

from __future__ import annotations

import bpy
import numpy as np
from bpy.app.handlers import persistent
from mathutils import Matrix

from . import collect, outline, state
from .drawing import Painter, Store, depth_without_lines

_reader = collect.Reader()
_store: Store | None = None
_painters: dict[int, Painter] = {}
"""Painters by region pointer."""
_outliners: dict[int, outline.Outliner] = {}
"""The same for outlines."""
_handle = None


def attach() -> None:
    global _handle
    if bpy.app.background:
        return
    _handle = bpy.types.SpaceView3D.draw_handler_add(_draw, (), "WINDOW", "POST_VIEW")
    for name, function in _HANDLERS:
        getattr(bpy.app.handlers, name).append(function)


def detach() -> None:
    global _handle
    if _handle is not None:
        bpy.types.SpaceView3D.draw_handler_remove(_handle, "WINDOW")
        _handle = None
        for name, function in _HANDLERS:
            getattr(bpy.app.handlers, name).remove(function)
        if bpy.app.timers.is_registered(_refresh):
            bpy.app.timers.unregister(_refresh)
    _forget_everything()


def _draw() -> None:
    context = bpy.context
    if state.outdated() and not bpy.app.timers.is_registered(_refresh):
        bpy.app.timers.register(_refresh, first_interval=0.0)
    if not state.drawn(context.scene) or context.space_data.shading.type == "WIREFRAME":
        return
    try:
        _draw_splats(context)
    except Exception as error:  # GPU driver errors: fall back to the engine, and show the reason in the panel
        state.give_up(f"{type(error).__name__}: {error}")


def _draw_splats(context: bpy.types.Context) -> None:
    region, view = context.region, context.region_data
    has_lines = _lines_have_depth(context.space_data)
    matrices, size = (view.view_matrix, view.window_matrix), (region.width, region.height)
    paint(context, *matrices, size, has_lines)
    _paint_outlines(context, *matrices, size)


def shows_splats(context: bpy.types.Context) -> bool:
    """Whether the viewport of `context` shows splats that we draw."""
    return bool(_reader.visible(context)[1])


def paint(
    context: bpy.types.Context, view: Matrix, projection: Matrix, size: tuple[int, int], has_lines: bool = False
) -> None:
    """Blend the splats of the viewport of `context` over the bound framebuffer.

    Args:
        view: from world to view.
        projection: from view to clip space.
        size: width and height of the framebuffer in pixels.
        has_lines: the framebuffer's depth contains overlay lines, which must not occlude splats.
    """
    clouds, places = _reader.visible(context)
    if not places:
        return
    matrices = (np.array(matrix, np.float64) for matrix in (view, projection))
    depth = depth_without_lines() if has_lines else None
    _painter(context.region).draw(clouds, places, *matrices, size, depth=depth)


def _paint_outlines(context: bpy.types.Context, view: Matrix, projection: Matrix, size: tuple[int, int]) -> None:
    clouds, places = _reader.visible(context)
    colors = outline.colors(context, places)
    if not any(colors):
        return
    key = context.region.as_pointer()
    if key not in _outliners:
        _outliners[key] = outline.Outliner()
    matrices = (np.array(matrix, np.float64) for matrix in (view, projection))
    _outliners[key].draw(_painter(context.region), clouds, places, colors, *matrices, size, outline.width(context))


def _lines_have_depth(space: bpy.types.SpaceView3D) -> bool:
    return bpy.app.version >= (4, 4) and space.overlay.show_overlays


def _painter(region: bpy.types.Region) -> Painter:
    global _store
    if _store is None:
        _store = Store()
    return _painters.setdefault(region.as_pointer(), Painter(_store))


def _forget_everything(*_) -> None:
    global _store
    _reader.forget()
    _painters.clear()
    _outliners.clear()
    _store = None


def _refresh() -> None:
    state.refresh()


@persistent
def _updated(scene: bpy.types.Scene, depsgraph: bpy.types.Depsgraph) -> None:
    updates = depsgraph.updates
    if depsgraph.mode == "VIEWPORT" and len(updates):
        _reader.forget(geometry=any(update.is_updated_geometry for update in updates))


@persistent
def _everything_changed(*_) -> None:
    _reader.forget()


@persistent
def _file_loaded(*_) -> None:
    _forget_everything()


_HANDLERS = (
    ("depsgraph_update_post", _updated),
    ("frame_change_post", _updated),
    ("undo_post", _everything_changed),
    ("redo_post", _everything_changed),
    ("load_post", _file_loaded),
)

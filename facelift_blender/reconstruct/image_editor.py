"""Opens an Image Editor for painting a cut-out: an open one, else beside the viewport, else in a new window."""

from __future__ import annotations

import time
from functools import partial

import bpy

from ..window import redraw
from . import edits

ERASE, BRING_BACK = "ERASE_ALPHA", "ADD_ALPHA"
NARROWEST = 700
"""Minimum width of a 3D viewport that can be split, in pixels at UI scale 1."""
ESSENTIAL = "brushes/essentials_brushes-mesh_texture.blend/Brush/Erase Soft"
OWN_BRUSH = "FaceLift Cut-out"
SETTLED, SETTLE_SECONDS = 0.3, 15.0
"""Seconds until a new area has its size, sidebar and brushes: interval between checks, and maximum wait."""
_settle_until = 0.0


def open_editor(context, image: bpy.types.Image) -> None:
    """Show `image` in an Image Editor in Paint mode. Raises RuntimeError if Blender cannot create an area."""
    global _settle_until
    window = context.window or context.window_manager.windows[0]
    area = _open_already(window) or _beside_the_view(context, window)
    if area is None:
        area = _in_a_window(window)
    area.type = "IMAGE_EDITOR"
    area.ui_type = "IMAGE_EDITOR"
    space = area.spaces.active
    space.image, space.mode = image, "PAINT"
    space.display_channels = "COLOR_ALPHA"
    space.show_region_ui = space.show_region_tool_header = True
    _settle_until = time.monotonic() + SETTLE_SECONDS
    if not bpy.app.timers.is_registered(_settle):
        bpy.app.timers.register(_settle, first_interval=SETTLED)
    follow()


def show(context, image: bpy.types.Image) -> None:
    """Show `image` in an Image Editor, to look at. Raises RuntimeError if Blender cannot create an area."""
    window = context.window or context.window_manager.windows[0]
    editors = [area for area in window.screen.areas if area.ui_type == "IMAGE_EDITOR" and area not in areas(window)]
    area = editors[0] if editors else (_beside_the_view(context, window) or _in_a_window(window))
    area.type = "IMAGE_EDITOR"
    area.ui_type = "IMAGE_EDITOR"
    space = area.spaces.active
    space.image, space.mode = image, "VIEW"
    bpy.app.timers.register(partial(_fit, area.as_pointer()), first_interval=SETTLED)


def _fit(pointer: int) -> None:
    """Timer: fit the image to the area, which must have been drawn once."""
    for window in bpy.context.window_manager.windows:
        for area in window.screen.areas:
            if area.as_pointer() == pointer and area.type == "IMAGE_EDITOR":
                region = next(region for region in area.regions if region.type == "WINDOW")
                with bpy.context.temp_override(window=window, area=area, region=region):
                    bpy.ops.image.view_all(fit_view=True)


def areas(window: bpy.types.Window) -> list[bpy.types.Area]:
    """Image Editors in `window` that show a cut-out."""
    shown = [area for area in window.screen.areas if area.type == "IMAGE_EDITOR"]
    return [area for area in shown if edits.is_cutout(area.spaces.active.image)]


def set_brush(context, blend: str) -> None:
    """Set the paint brush to erase or restore; `blend` is ERASE or BRING_BACK."""
    settings = context.tool_settings.image_paint
    if settings.is_property_readonly("brush"):
        if not _cuts(settings.brush):
            bpy.ops.brush.asset_activate(asset_library_type="ESSENTIALS", relative_asset_identifier=ESSENTIAL)
    else:
        own = bpy.data.brushes.get(OWN_BRUSH) or bpy.data.brushes.new(OWN_BRUSH, mode="TEXTURE_PAINT")
        settings.brush = own
        own.blend = blend
    if _cuts(settings.brush):  # not while a brush that paints color is still active
        settings.brush.blend = blend


def follow() -> None:
    """Keep the panel's thumbnail up to date while an Image Editor shows a cut-out."""
    if not bpy.app.background and not bpy.app.timers.is_registered(_look):
        bpy.app.timers.register(_look, first_interval=edits.EVERY)


def detach() -> None:
    for timer in (_look, _settle):
        if bpy.app.timers.is_registered(timer):
            bpy.app.timers.unregister(timer)


def _look() -> float | None:
    if edits.look_again():
        redraw()
    windows = [window for manager in bpy.data.window_managers for window in manager.windows]
    return edits.EVERY if any(map(areas, windows)) else None


def _open_already(window: bpy.types.Window) -> bpy.types.Area | None:
    shown = areas(window)
    if shown:
        return shown[0]
    return next((area for area in window.screen.areas if area.ui_type == "IMAGE_EDITOR"), None)


def _beside_the_view(context, window: bpy.types.Window) -> bpy.types.Area | None:
    views = [area for area in window.screen.areas if area.type == "VIEW_3D"]
    view = max(views, key=lambda area: area.width, default=None)
    if view is None or view.width < NARROWEST * context.preferences.system.ui_scale:
        return None
    before = {area.as_pointer() for area in window.screen.areas}
    region = next(region for region in view.regions if region.type == "WINDOW")
    try:
        with context.temp_override(window=window, area=view, region=region):
            bpy.ops.screen.area_split(direction="VERTICAL", factor=0.5)
    except RuntimeError:  # for example if the area is maximized
        return None
    new = [area for area in window.screen.areas if area.as_pointer() not in before]
    return new[0] if new else None


def _in_a_window(window: bpy.types.Window) -> bpy.types.Area:
    manager = bpy.context.window_manager
    before = {other.as_pointer() for other in manager.windows}
    with bpy.context.temp_override(window=window):
        bpy.ops.wm.window_new()
    new = next(other for other in manager.windows if other.as_pointer() not in before)
    return max(new.screen.areas, key=lambda area: area.width * area.height)


def _settle() -> float | None:
    """Timer: finish setting up the areas, which must have been drawn once; retries until it works or time is up."""
    windows = [window for manager in bpy.data.window_managers for window in manager.windows]
    settled = [_settle_in(window, area) for window in windows for area in areas(window)]
    if not all(settled) and time.monotonic() < _settle_until:
        return SETTLED
    bpy.ops.ed.undo_push(message="Cut-out Brush")  # otherwise, undoing the first stroke would also undo the brush
    return None


def _settle_in(window: bpy.types.Window, area: bpy.types.Area) -> bool:
    """Fit the image to the area, and set the brush and the sidebar tab; returns whether all of it worked."""
    area.spaces.active.show_region_asset_shelf = False
    regions = {region.type: region for region in area.regions}
    with bpy.context.temp_override(window=window, area=area, region=regions["WINDOW"]):
        bpy.ops.image.view_all(fit_view=True)
        try:
            if not _cuts(bpy.context.tool_settings.image_paint.brush):
                set_brush(bpy.context, ERASE)
            regions["UI"].active_panel_category = "FaceLift"
        except (RuntimeError, TypeError):  # brushes not loaded yet, or sidebar not drawn yet
            return False
    return _cuts(bpy.context.tool_settings.image_paint.brush)


def _cuts(brush: bpy.types.Brush | None) -> bool:
    return brush is not None and brush.blend in (ERASE, BRING_BACK)

"""Background mode, and redrawing our panels."""

from __future__ import annotations

import bpy


def background() -> bool:
    """Whether Blender runs without a window (``blender -b`` or the bpy module), where timers never fire."""
    return bpy.app.background


def redraw() -> None:
    """Redraw the preferences and the sidebars of 3D viewports, but not the viewports themselves."""
    for manager in bpy.data.window_managers:
        for window in manager.windows:
            for area in window.screen.areas:
                if area.type in ("VIEW_3D", "PREFERENCES"):
                    for region in area.regions:
                        if region.type == ("UI" if area.type == "VIEW_3D" else "WINDOW"):
                            region.tag_redraw()

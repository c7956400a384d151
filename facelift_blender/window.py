"""Blender's windows: whether there are any, and drawing our parts of them again."""

from __future__ import annotations

import bpy


def background() -> bool:
    """Whether timers never fire here: ``blender -b`` and the bpy module."""
    return bpy.app.background


def redraw() -> None:
    """Draw the sidebars again, not the 3D views beside them, and the preferences."""
    for manager in bpy.data.window_managers:
        for window in manager.windows:
            for area in window.screen.areas:
                if area.type in ("VIEW_3D", "PREFERENCES"):
                    for region in area.regions:
                        if region.type == ("UI" if area.type == "VIEW_3D" else "WINDOW"):
                            region.tag_redraw()

"""Whether the engine or this add-on draws splats in the viewport.

All viewports of a scene share the evaluated geometry, so the decision is the same for all of them: the add-on draws as
soon as one viewport uses Solid or Material Preview shading. The node group reads the decision through a driver from a
scene property that is computed, not stored. Without the add-on, in background mode and in renders it is 0, and the
engine draws.
"""

from __future__ import annotations

import bpy
from bpy.props import BoolProperty, FloatProperty

from .. import nodes

ENABLED = "facelift_draw_splats"
DRAWN = nodes.DRAWN_PROPERTY
DRAWN_SHADINGS = frozenset({"SOLID", "MATERIAL"})

_drawn = False
_problem = ""


def register_properties() -> None:
    global _problem
    _problem = ""
    setattr(
        bpy.types.Scene,
        ENABLED,
        BoolProperty(
            name="Draw Sorted",
            description="In Solid and Material Preview shading, draw sorted splats instead of points",
            default=True,
            update=lambda scene, context: refresh(),
        ),
    )
    # Called from evaluation threads, so it only reads what the main thread has stored.
    setattr(bpy.types.Scene, DRAWN, FloatProperty(get=lambda scene: float(_drawn and getattr(scene, ENABLED))))


def unregister_properties() -> None:
    global _drawn
    _drawn = False
    delattr(bpy.types.Scene, DRAWN)
    delattr(bpy.types.Scene, ENABLED)
    _evaluate_again()


def problem() -> str:
    """Why the add-on cannot draw splats on this machine; empty if it can."""
    return _problem


def give_up(reason: str) -> None:
    """Let the engine draw until the add-on is enabled again."""
    global _problem
    _problem = reason
    print(f"FaceLift cannot draw splats in the viewport: {reason}")


def drawn(scene: bpy.types.Scene) -> bool:
    """Whether the add-on draws the splats of `scene`."""
    return bool(getattr(scene, DRAWN, 0.0))


def outdated() -> bool:
    """Whether viewports have changed in a way that requires :func:`refresh`."""
    return _wanted() != _drawn


def refresh() -> None:
    """Decide again who draws, and re-evaluate splats. Call from the main thread, not while drawing."""
    global _drawn
    _drawn = _wanted()
    _evaluate_again()


def _wanted() -> bool:
    if bpy.app.background or _problem:
        return False
    return any(space.shading.type in DRAWN_SHADINGS for space in _viewports())


def _viewports():
    for window in bpy.context.window_manager.windows:
        for area in window.screen.areas:
            if area.type == "VIEW_3D":
                yield area.spaces.active


def _evaluate_again() -> None:
    for block in (*bpy.data.scenes, *(group for group in bpy.data.node_groups if nodes.VERSION_KEY in group)):
        block.update_tag()
    restart_previews()


def restart_previews() -> None:
    """Restart rendered viewports after the attributes of points have changed.

    As long as the number of points is the same, Cycles in Blender 4.3 keeps the old attributes; the material does not
    find its own, and everything turns black.
    """
    for space in _viewports():
        if space.shading.type == "RENDERED":
            space.shading.type = "SOLID"
            space.shading.type = "RENDERED"

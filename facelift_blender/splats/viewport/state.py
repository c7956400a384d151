"""Who draws splats in the viewport: the engine, or we.

All viewports of a scene share one evaluated geometry, so that the answer is one for all of them: we draw as soon as
one shows Solid shading or a material preview. The node group reads the answer by a driver from a property of the scene
that is computed, never stored: without this add-on, in background mode and in renders it is 0, and the engine draws.
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
            description="In Solid and Material Preview shading, draw splats sorted for each view in place of points",
            default=True,
            update=lambda scene, context: refresh(),
        ),
    )
    # Called from the threads that evaluate the scene: it only reads what the main thread has found.
    setattr(bpy.types.Scene, DRAWN, FloatProperty(get=lambda scene: float(_drawn and getattr(scene, ENABLED))))


def unregister_properties() -> None:
    global _drawn
    _drawn = False
    delattr(bpy.types.Scene, DRAWN)
    delattr(bpy.types.Scene, ENABLED)
    _evaluate_again()


def problem() -> str:
    """Why splats cannot be drawn on this machine; empty if they can."""
    return _problem


def give_up(reason: str) -> None:
    """Leave drawing to the engine until the add-on is enabled again."""
    global _problem
    _problem = reason
    print(f"FaceLift cannot draw splats in the viewport: {reason}")


def drawn(scene: bpy.types.Scene) -> bool:
    """Whether the splats of `scene` are ours to draw."""
    return bool(getattr(scene, DRAWN, 0.0))


def outdated() -> bool:
    """Whether the viewports on screen have changed such that :func:`refresh` is needed."""
    return _wanted() != _drawn


def refresh() -> None:
    """Look at the viewports on screen and evaluate splats again if the answer has changed. On the main thread, not
    while drawing."""
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
    """Begin rendered viewports anew, after the attributes of points have become others.

    While their number stays, Cycles of Blender 4.3 keeps to the attributes with which it began, and the material finds
    none of its own: all would be black.
    """
    for space in _viewports():
        if space.shading.type == "RENDERED":
            space.shading.type = "SOLID"
            space.shading.type = "RENDERED"

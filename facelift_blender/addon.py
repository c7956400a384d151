"""Registration: the classes of each part, then properties, handlers and menus; unregistration in reverse order."""

from __future__ import annotations

import bpy

from . import animation, body, head_jobs, light, mesh, reconstruct, splats
from .jobs import bar, timer
from .setup import preferences, runtime_operators, runtime_state, weights_operators

PARTS = (preferences, bar, runtime_operators, weights_operators, reconstruct, splats, animation, mesh, light, body)


def register() -> None:
    for part in PARTS:
        for cls in part.CLASSES:
            bpy.utils.register_class(cls)
    timer.watch(runtime_state.watch)
    reconstruct.attach()
    head_jobs.attach()
    animation.attach()
    splats.register_menus()


def unregister() -> None:
    splats.unregister_menus()
    timer.detach()
    animation.detach()
    reconstruct.detach()
    for part in reversed(PARTS):
        for cls in reversed(part.CLASSES):
            bpy.utils.unregister_class(cls)

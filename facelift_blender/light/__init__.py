"""Heads in the light of the scene.

reflectance  normals and albedo of a head, found by the worker and stored with it
scene_light  how much of the scene's light a head shows
operators    buttons; each only calls a function
panel        how it looks
"""

from __future__ import annotations


def __getattr__(name: str):
    if name == "CLASSES":
        from . import operators, panel

        return (*operators.CLASSES, *panel.CLASSES)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

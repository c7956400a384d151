"""Meshes of heads: made by the worker, inserted into the scene beside the head.

making     submits the job, and inserts what it made
mesh_data  a Blender mesh with its texture from the worker's file
quads      the same mesh of quads
proxy      the mesh as an invisible caster of shadows
operators  buttons; each only calls a function
panel      how it looks
"""

from __future__ import annotations


def __getattr__(name: str):
    if name == "CLASSES":
        from . import operators, panel

        return (*operators.CLASSES, *panel.CLASSES)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

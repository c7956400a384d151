"""Heads on bodies.

neck       where a head ends below, as an attribute
skin       the color of a head's skin, and of a mesh's material, which is moved to it
operators  buttons; each only calls a function
panel      how it looks
"""

from __future__ import annotations


def __getattr__(name: str):
    if name == "CLASSES":
        from . import operators, panel

        return (*operators.CLASSES, *panel.CLASSES)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

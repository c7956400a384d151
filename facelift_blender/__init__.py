"""FaceLift for Blender: turns a portrait photo into a head of Gaussian splats in the scene.

Importing this package imports nothing else, so modules that do not need ``bpy`` can be used and tested outside Blender.
"""

from __future__ import annotations


def register() -> None:
    from . import addon

    addon.register()


def unregister() -> None:
    from . import addon

    addon.unregister()

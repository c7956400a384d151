"""FaceLift for Blender: a portrait photo becomes a head of Gaussian splats in the scene.

Importing this package imports nothing, so that its parts without ``bpy`` work, and are tested, outside Blender.
"""

from __future__ import annotations


def register() -> None:
    from . import addon

    addon.register()


def unregister() -> None:
    from . import addon

    addon.unregister()

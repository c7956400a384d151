"""How much of the scene's light a head shows in place of the photo's."""

from __future__ import annotations

import bpy

from ..mesh import proxy
from ..splats import editing, nodes
from . import reflectance

INPUT = nodes.LIGHT[0]
"""Of the modifier: 0 baked, 1 scene. It may be animated."""
BAKED, MIX, SCENE = 0.0, 0.5, 1.0


def scene_light_of(head: bpy.types.Object) -> float:
    """The amount that `head` shows, without regard to animation."""
    modifier = nodes.find_modifier(head)
    known = modifier is not None and nodes.has_input(modifier, INPUT)
    return float(nodes.get_input(modifier, INPUT)) if known else BAKED


def set_scene_light(context, head: bpy.types.Object, amount: float) -> None:
    """Show that share of the scene's light on `head`, and the rest of the photo's.

    For anything but BAKED, normals and albedo are found first if the head has none, and the mesh that casts its shadows
    is made, both by jobs in the background.

    Raises:
        FaceLiftError: there is no runtime, or a job for that is active.
    """
    if amount > BAKED and not reflectance.has_reflectance(head):
        reflectance.find_reflectance(context, head, lambda head: _show(head, amount))
    else:
        _show(head, amount)
    if amount > BAKED:
        proxy.cast_shadows(context, head)


def _show(head: bpy.types.Object, amount: float) -> None:
    modifier = nodes.current(editing.modifier_of(head))
    if amount > BAKED:
        nodes.add_lit_materials(modifier)
    nodes.set_input(modifier, INPUT, amount)
    # Rays from one quad to the others, which face the camera, would tell nothing of the head's shape; its mesh does.
    head.visible_diffuse = amount == BAKED
    proxy.share_diffuse_rays(head)

"""Scene settings that splats need to render correctly. Changed only by an undoable operator, never silently."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import bpy

from . import nodes, objects

MAX_TRANSPARENT = 1024
"""Maximum number of transparent surfaces that a ray passes through. Blender's default of 8 leaves a dark rim, and 256
leaves dark specks on it, because rays along the rim pass through the most quads and spheres."""
MIN_TRANSPARENT = 1024
"""Number of transparent bounces before Cycles may end a ray early at random, which would cause speckles."""


@dataclass(frozen=True)
class Setting:
    """A setting that should have another value.

    Attributes:
        consequence: what goes wrong as it is, for the user, without a period.
        change: what `apply` sets, for the user.
    """

    consequence: str
    change: str
    apply: Callable[[], None]


def missing_settings(scene: bpy.types.Scene) -> list[Setting]:
    """Settings of `scene` to change, for all engines; empty if all are right or the scene has no splats."""
    in_instances = objects.instanced(scene.objects)
    shown = objects.splat_objects(in_instances.union(scene.objects))
    return list(_missing(scene, shown, in_instances)) if shown else []


def apply(scene: bpy.types.Scene) -> list[Setting]:
    """Change all missing settings; returns them."""
    missing = missing_settings(scene)
    for setting in missing:
        setting.apply()
    if missing:
        # Viewports render an evaluated copy of the scene, which only gets Cycles' settings when the scene is updated.
        scene.update_tag()
    return missing


def _missing(
    scene: bpy.types.Scene, shown: list[bpy.types.Object], in_instances: set[bpy.types.Object]
) -> Iterator[Setting]:
    for item in sorted(in_instances.intersection(shown), key=lambda item: item.name):
        modifier = nodes.find_modifier(item)
        if modifier and nodes.get_input(modifier, "Render As") == nodes.CAMERA_FACING:
            # Camera-facing quads would be right at the original's location only.
            apply = partial(nodes.set_input, modifier, "Render As", nodes.ANY_VIEW)
            yield Setting(f"“{item.name}” will face the wrong way in instances", f"“{item.name}” as Any View", apply)
    # Whatever the engine is now: people switch later, and wonder.
    if cycles := getattr(scene, "cycles", None):
        if cycles.transparent_max_bounces < MAX_TRANSPARENT:
            apply = partial(setattr, cycles, "transparent_max_bounces", MAX_TRANSPARENT)
            yield Setting("Cycles will show dark scales", f"up to {MAX_TRANSPARENT} transparent bounces", apply)
        if cycles.min_transparent_bounces < MIN_TRANSPARENT:
            apply = partial(setattr, cycles, "min_transparent_bounces", MIN_TRANSPARENT)
            yield Setting("Cycles will show speckles", f"at least {MIN_TRANSPARENT} transparent bounces", apply)
    wanted, now = view_transform(shown), scene.view_settings.view_transform
    if wanted and now != wanted:
        apply = partial(setattr, scene.view_settings, "view_transform", wanted)
        yield Setting(f"The view transform {now} will change the colors", f"view transform {wanted}", apply)


def view_transform(shown: list[bpy.types.Object]) -> str | None:
    """The view transform that shows the splats' true colors; None if the objects need different ones, or have no group
    of ours."""
    return {frozenset({True}): "Raw", frozenset({False}): "Standard"}.get(frozenset(_values(shown, "Match Viewers")))


def _values(shown: list[bpy.types.Object], name: str) -> set:
    """The values of one modifier input among these objects."""
    modifiers = (nodes.find_modifier(item) for item in shown)
    return {nodes.get_input(modifier, name) for modifier in modifiers if modifier}

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
    """A setting that should have another value."""

    text: str
    """Description for the user, without a period."""
    apply: Callable[[], None]

    def __str__(self) -> str:
        return self.text


def missing_settings(scene: bpy.types.Scene) -> list[Setting]:
    """Settings of `scene` to change; empty if all are right or the scene has no splats."""
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
            change = partial(nodes.set_input, modifier, "Render As", nodes.ANY_VIEW)
            yield Setting(f"“{item.name}” (in a collection instance) as Any View", change)
    cycles = getattr(scene, "cycles", None)
    if cycles is not None and scene.render.engine == "CYCLES":
        if cycles.transparent_max_bounces < MAX_TRANSPARENT:
            change = partial(setattr, cycles, "transparent_max_bounces", MAX_TRANSPARENT)
            yield Setting(f"a maximum of {MAX_TRANSPARENT} transparent bounces, against dark scales in Cycles", change)
        if cycles.min_transparent_bounces < MIN_TRANSPARENT:
            change = partial(setattr, cycles, "min_transparent_bounces", MIN_TRANSPARENT)
            yield Setting(f"a minimum of {MIN_TRANSPARENT} transparent bounces, against speckles in Cycles", change)
    wanted = view_transform(shown)
    if wanted and scene.view_settings.view_transform != wanted:
        change = partial(setattr, scene.view_settings, "view_transform", wanted)
        yield Setting(f"view transform {wanted}", change)


def view_transform(shown: list[bpy.types.Object]) -> str | None:
    """The view transform that shows the splats' true colors; None if the objects need different ones, or have no group
    of ours."""
    return {frozenset({True}): "Raw", frozenset({False}): "Standard"}.get(frozenset(_values(shown, "Match Viewers")))


def _values(shown: list[bpy.types.Object], name: str) -> set:
    """The values of one modifier input among these objects."""
    modifiers = (nodes.find_modifier(item) for item in shown)
    return {nodes.get_input(modifier, name) for modifier in modifiers if modifier}

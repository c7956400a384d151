"""What a scene needs so that splats render as they should. Told, and set by one undoable button; never silently."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import bpy

from . import nodes, objects

MAX_TRANSPARENT = 1024
"""A ray passes through this many surfaces at most, and cannot through more. The default of 8 leaves a dark rim, and 256
dark specks on it: along the rim a ray meets most quads and spheres, and most of these where they are empty."""
MIN_TRANSPARENT = 1024
"""Below this many, Cycles does not gamble on ending a ray early, which would be speckle."""


@dataclass(frozen=True)
class Setting:
    """Something that should have another value."""

    text: str
    """For people, without a full stop."""
    apply: Callable[[], None]

    def __str__(self) -> str:
        return self.text


def missing_settings(scene: bpy.types.Scene) -> list[Setting]:
    """What `scene` lacks; empty if it is all there, or there are no splats in it."""
    in_instances = objects.instanced(scene.objects)
    shown = objects.splat_objects(in_instances.union(scene.objects))
    return list(_missing(scene, shown, in_instances)) if shown else []


def apply(scene: bpy.types.Scene) -> list[Setting]:
    """Set what is missing; what that was."""
    missing = missing_settings(scene)
    for setting in missing:
        setting.apply()
    if missing:
        # Viewports render an evaluated copy of the scene, to which Cycles' settings come only with an update of it.
        scene.update_tag()
    return missing


def _missing(
    scene: bpy.types.Scene, shown: list[bpy.types.Object], in_instances: set[bpy.types.Object]
) -> Iterator[Setting]:
    for item in sorted(in_instances.intersection(shown), key=lambda item: item.name):
        modifier = nodes.find_modifier(item)
        if modifier and nodes.get_input(modifier, "Render As") == nodes.CAMERA_FACING:
            # Its quads would face the camera from the place of the original only.
            change = partial(nodes.set_input, modifier, "Render As", nodes.ANY_VIEW)
            yield Setting(f"“{item.name}”, which is in a collection instance, as any view", change)
    cycles = getattr(scene, "cycles", None)
    if cycles is not None and scene.render.engine == "CYCLES":
        if cycles.transparent_max_bounces < MAX_TRANSPARENT:
            change = partial(setattr, cycles, "transparent_max_bounces", MAX_TRANSPARENT)
            yield Setting(f"{MAX_TRANSPARENT} transparent bounces at most", change)
        if cycles.min_transparent_bounces < MIN_TRANSPARENT:
            change = partial(setattr, cycles, "min_transparent_bounces", MIN_TRANSPARENT)
            yield Setting(f"{MIN_TRANSPARENT} transparent bounces at least", change)
    wanted = view_transform(shown)
    if wanted and scene.view_settings.view_transform != wanted:
        change = partial(setattr, scene.view_settings, "view_transform", wanted)
        yield Setting(f"view transform {wanted}", change)


def view_transform(shown: list[bpy.types.Object]) -> str | None:
    """The one that shows the colours of these splats as they are; None if they disagree or another group draws them."""
    return {frozenset({True}): "Raw", frozenset({False}): "Standard"}.get(frozenset(_values(shown, "Match Viewers")))


def _values(shown: list[bpy.types.Object], name: str) -> set:
    """What the modifiers of these objects have for one input."""
    modifiers = (nodes.find_modifier(item) for item in shown)
    return {nodes.get_input(modifier, name) for modifier in modifiers if modifier}

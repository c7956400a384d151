"""What a scene needs so that splats render as they should. Told, and set by one undoable button; never silently."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import bpy

from . import nodes, objects

MAX_TRANSPARENT = {nodes.CAMERA_FACING: 256, nodes.ANY_VIEW: 512}
"""A ray passes through this many surfaces at most; the default of 8 leaves a dark rim. Spheres have two each."""
MIN_TRANSPARENT = 1024
"""Below this many, Cycles does not gamble on ending a ray early, which would be speckle."""


@dataclass(frozen=True)
class Setting:
    """One property of `owner` (such as ``scene.cycles``) that should have another value."""

    owner: bpy.types.bpy_struct
    name: str
    value: object
    text: str
    """For people, without a full stop."""

    def __str__(self) -> str:
        return self.text

    def apply(self) -> None:
        setattr(self.owner, self.name, self.value)


def missing_settings(scene: bpy.types.Scene) -> list[Setting]:
    """What `scene` lacks; empty if it is all there, or there are no splats in it."""
    shown = objects.splat_objects(scene.objects)
    return list(_missing(scene, shown)) if shown else []


def apply(scene: bpy.types.Scene) -> list[Setting]:
    """Set what is missing; what that was."""
    missing = missing_settings(scene)
    for setting in missing:
        setting.apply()
    return missing


def _missing(scene: bpy.types.Scene, shown: list[bpy.types.Object]) -> Iterator[Setting]:
    cycles = getattr(scene, "cycles", None)
    if cycles is not None and scene.render.engine == "CYCLES":
        most = max(MAX_TRANSPARENT.get(mode, 0) for mode in _values(shown, "Render As") | {nodes.CAMERA_FACING})
        if cycles.transparent_max_bounces < most:
            yield Setting(cycles, "transparent_max_bounces", most, f"{most} transparent bounces at most")
        if cycles.min_transparent_bounces < MIN_TRANSPARENT:
            yield Setting(
                cycles, "min_transparent_bounces", MIN_TRANSPARENT, f"{MIN_TRANSPARENT} transparent bounces at least"
            )
    wanted = view_transform(shown)
    if wanted and scene.view_settings.view_transform != wanted:
        yield Setting(scene.view_settings, "view_transform", wanted, f"view transform {wanted}")


def view_transform(shown: list[bpy.types.Object]) -> str | None:
    """The one that shows the colours of these splats as they are; None if they disagree or another group draws them."""
    return {frozenset({True}): "Raw", frozenset({False}): "Standard"}.get(frozenset(_values(shown, "Match Viewers")))


def _values(shown: list[bpy.types.Object], name: str) -> set:
    """What the modifiers of these objects have for one input."""
    modifiers = (nodes.find_modifier(item) for item in shown)
    return {nodes.get_input(modifier, name) for modifier in modifiers if modifier}

"""Eyes that look at an object."""

from __future__ import annotations

import math

import bpy
import numpy as np
from facelift_core import FaceLiftError
from mathutils import Vector

from . import names

EYES = ("eye.L", "eye.R")
CONSTRAINT = "Look At"
LIMIT = "Look At Limit"
MADE = "facelift_look_at"
"""Custom property of an empty that was made to be looked at."""
SIDEWAYS, UP, DOWN = math.radians(30.0), math.radians(20.0), math.radians(20.0)
"""Angles by which an eye turns at most: as people look before they turn the head, and so that the lids do not cover the
iris. Alike to both sides, so that the eyes never diverge."""
LIMITS = {"x": (-DOWN, UP), "y": (0.0, 0.0), "z": (-SIDEWAYS, SIDEWAYS)}
"""Of a bone of the eye, which points where the eye looks: its x axis to the person's right, its z axis up."""
AWAY = 15.0
"""Distance of a new target, in distances between the eyes."""


def target_of(head: bpy.types.Object) -> bpy.types.Object | None:
    """The object that the eyes look at, or None."""
    constraints = [bone.constraints.get(CONSTRAINT) for bone in _eyes(head)]
    return next((constraint.target for constraint in constraints if constraint is not None), None)


def look_at(head: bpy.types.Object, target: bpy.types.Object | None = None) -> bpy.types.Object:
    """Let the eyes follow `target`, or a new empty straight ahead that moves with the head; returns it.

    Raises:
        FaceLiftError: the head has no eyes that move.
    """
    eyes = _eyes(head)
    if not eyes:
        raise FaceLiftError("This head has no eyes that move; click Rig Face first.")
    if target != target_of(head):
        stop(head)
    _remove_constraints(head)
    target = target or _straight_ahead(head, eyes)
    for bone in eyes:
        track = bone.constraints.new("DAMPED_TRACK")
        track.name, track.target, track.track_axis = CONSTRAINT, target, "TRACK_Y"
        limit = bone.constraints.new("LIMIT_ROTATION")
        limit.name, limit.owner_space = LIMIT, "LOCAL"
        for axis, (least, most) in LIMITS.items():
            setattr(limit, f"use_limit_{axis}", True)
            setattr(limit, f"min_{axis}", least)
            setattr(limit, f"max_{axis}", most)
    return target


def stop(head: bpy.types.Object) -> None:
    """Let the eyes look straight ahead again, and delete an empty that was made for them, unless it is animated."""
    target = target_of(head)
    _remove_constraints(head)
    if target is not None and target.get(MADE) == head and target.animation_data is None:
        bpy.data.objects.remove(target)


def _remove_constraints(head: bpy.types.Object) -> None:
    for bone in _eyes(head):
        for name in (CONSTRAINT, LIMIT):
            if (constraint := bone.constraints.get(name)) is not None:
                bone.constraints.remove(constraint)


def _eyes(head: bpy.types.Object) -> list[bpy.types.PoseBone]:
    rig = names.rig_of(head)
    found = [rig.pose.bones.get(name) for name in EYES] if rig is not None else []
    return [bone for bone in found if bone is not None]


def _straight_ahead(head: bpy.types.Object, eyes: list[bpy.types.PoseBone]) -> bpy.types.Object:
    places = [np.array(bone.bone.head_local) for bone in eyes]
    ahead = Vector(sum(np.array(bone.bone.tail_local) - place for bone, place in zip(eyes, places, strict=True)))
    apart = float(np.linalg.norm(places[0] - places[-1]))
    item = bpy.data.objects.new(f"{head.name} Look At", None)
    item[MADE] = head
    item.empty_display_type, item.empty_display_size = "SPHERE", 0.2 * apart
    for collection in head.users_collection:
        collection.objects.link(item)
    item.parent = head  # without an inverse, as the face
    item.location = Vector(np.mean(places, axis=0)) + AWAY * apart * ahead.normalized()
    return item

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
LARGEST = math.radians(35.0)
"""Angle by which an eye turns at most."""
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
    stop(head)
    target = target or _straight_ahead(head, eyes)
    for bone in eyes:
        track = bone.constraints.new("DAMPED_TRACK")
        track.name, track.target, track.track_axis = CONSTRAINT, target, "TRACK_Y"
        limit = bone.constraints.new("LIMIT_ROTATION")
        limit.name, limit.owner_space = LIMIT, "LOCAL"
        for axis in "xyz":
            setattr(limit, f"use_limit_{axis}", True)
            reach = 0.0 if axis == "y" else LARGEST
            setattr(limit, f"min_{axis}", -reach)
            setattr(limit, f"max_{axis}", reach)
    return target


def stop(head: bpy.types.Object) -> None:
    """Let the eyes look straight ahead again; the object that they looked at stays."""
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
    item.empty_display_type, item.empty_display_size = "SPHERE", 0.2 * apart
    for collection in head.users_collection:
        collection.objects.link(item)
    item.parent = head  # without an inverse, as the face
    item.location = Vector(np.mean(places, axis=0)) + AWAY * apart * ahead.normalized()
    return item

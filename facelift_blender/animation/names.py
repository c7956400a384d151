"""How the parts of a face are found: custom properties of objects, and attributes of meshes and point clouds."""

from __future__ import annotations

import bpy

FACE = "facelift_face"
"""Custom property of a head: the object with the face mesh."""
RIG = "facelift_rig"
"""Custom property of a head: the armature."""
HEAD = "facelift_head"
"""Custom property of a face mesh and of an armature: the head that they move."""
BODY = "body"
EXPRESSION = "facelift_photo"
"""Custom property of a face mesh: strengths of the 52 shapes in the photo."""
REST = "facelift_rest"
"""FLOAT_VECTOR on the vertices of a face mesh: where they are while the Gaussians are as stored."""


def head_of(item: bpy.types.Object | None) -> bpy.types.Object | None:
    """The head with a face that `item` is, or is a part of."""
    if item is not None and HEAD in item:
        item = item[HEAD]
    return item if face_of(item) is not None else None


def face_of(head: bpy.types.Object | None) -> bpy.types.Object | None:
    """The face mesh of a head, if it is still in the scene."""
    return _part(head, FACE)


def rig_of(head: bpy.types.Object | None) -> bpy.types.Object | None:
    """The armature of a head, if it is still in the scene."""
    return _part(head, RIG)


def _part(head: bpy.types.Object | None, key: str) -> bpy.types.Object | None:
    found = head.get(key) if head is not None else None
    return found if isinstance(found, bpy.types.Object) and found.users_scene else None

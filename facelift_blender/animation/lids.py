"""Lids that follow the eyes: shape keys driven by how far the bones of the eyes look up or down.

Without them an iris that turns up or down disappears behind lids that stay. The drivers are plain expressions, which
work in files that are opened without this add-on, too.
"""

from __future__ import annotations

import bpy
import numpy as np
from facelift_core.animation.rig import SHAPES, FaceMesh

UP, DOWN = 2.9, -1.15
"""Strengths of *eyeWide* and *eyeBlink* with which the lids follow, for each radian by which an eye looks up."""
SIDES = {"Left": "eye.L", "Right": "eye.R"}
_TURN, _SHUT = "turn", "shut"


def shapes(face: FaceMesh) -> dict[str, np.ndarray]:
    """(V, 3) displacements of the shape keys by their names."""
    found = {}
    for side in SIDES:
        found[_name("Up", side)] = face.shapes[SHAPES.index(f"eyeWide{side}")]
        found[_name("Down", side)] = face.shapes[SHAPES.index(f"eyeBlink{side}")]
    return found


def follow(face: bpy.types.Object, armature: bpy.types.Object) -> None:
    """Drive the lids of `face`; less the more they are closed anyway."""
    keys = face.data.shape_keys
    for side, bone in SIDES.items():
        for way, strength in (("Up", UP), ("Down", DOWN)):
            curve = keys.key_blocks[_name(way, side)].driver_add("value")
            driver = curve.driver
            driver.type = "SCRIPTED"
            turn, shut = driver.variables.new(), driver.variables.new()
            turn.name, turn.type = _TURN, "TRANSFORMS"
            target = turn.targets[0]
            target.id, target.bone_target, target.transform_type = armature, bone, "ROT_X"
            target.transform_space, target.rotation_mode = "LOCAL_SPACE", "XYZ"
            shut.name, shut.type = _SHUT, "SINGLE_PROP"
            shut.targets[0].id_type, shut.targets[0].id = "KEY", keys
            shut.targets[0].data_path = f'key_blocks["eyeBlink{side}"].value'
            driver.expression = f"min(1, max(0, {strength} * {_TURN})) * max(0, 1 - {_SHUT})"


def _name(way: str, side: str) -> str:
    return f"Lids {way} {side}"

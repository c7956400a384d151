"""Operators that make meshes of heads. Each one collects its properties and calls a function."""

from __future__ import annotations

import bpy
from bpy.props import EnumProperty, IntProperty

from ..operator_errors import attempt
from . import making

TEXTURES = [
    ("1024", "1K", "1024 × 1024 pixels"),
    ("2048", "2K", "2048 × 2048 pixels"),
    ("4096", "4K", "4096 × 4096 pixels"),
]
BOTTOMS = [
    ("flat", "Flat", "Close the cut below the neck with a flat face"),
    ("open", "Open", "Leave the cut below the neck open"),
]


class FACELIFT_OT_make_mesh(bpy.types.Operator):
    """Make a textured mesh of the active head, with its edits. It moves with the head. Runs in the background"""

    bl_idname = "facelift.make_mesh"
    bl_label = "Make Mesh"
    bl_options = {"REGISTER"}

    faces: IntProperty(name="Faces", default=50_000, min=1_000, max=500_000, description="Largest number of triangles")
    texture: EnumProperty(name="Texture", items=TEXTURES, default="2048")
    bottom: EnumProperty(name="Bottom", items=BOTTOMS, default="flat")

    @classmethod
    def poll(cls, context):
        return making.is_head(context.object)

    def execute(self, context):
        def work() -> None:
            making.make_mesh(context, context.object, self.faces, int(self.texture), self.bottom)

        return attempt(self, work)


CLASSES = (FACELIFT_OT_make_mesh,)

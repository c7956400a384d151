"""Operators that make meshes of heads. Each one collects its properties and calls a function."""

from __future__ import annotations

import bpy
from bpy.props import BoolProperty, EnumProperty, IntProperty

from ..operator_errors import attempt
from . import making, proxy

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
    quads: BoolProperty(
        name="Quads", default=False, description="Even quads in place of triangles; vertex colors in place of a texture"
    )

    @classmethod
    def poll(cls, context):
        return making.is_head(context.object)

    def invoke(self, context, event):
        return context.window_manager.invoke_props_dialog(self)

    def execute(self, context):
        def work() -> None:
            making.make_mesh(context, context.object, self.faces, int(self.texture), self.bottom, self.quads)

        return attempt(self, work)


class FACELIFT_OT_cast_shadows(bpy.types.Operator):
    """Let the active head cast shadows on other objects, through an invisible mesh that moves with it. Without a mesh,
    one is made first, in the background"""

    bl_idname = "facelift.cast_shadows"
    bl_label = "Cast Shadows"
    bl_options = {"REGISTER", "UNDO"}

    on: BoolProperty(name="On", default=True, options={"SKIP_SAVE"})

    @classmethod
    def poll(cls, context):
        return making.is_head(context.object)

    def execute(self, context):
        def work() -> None:
            proxy.cast_shadows(context, context.object) if self.on else proxy.remove_proxy(context.object)

        return attempt(self, work)


CLASSES = (FACELIFT_OT_make_mesh, FACELIFT_OT_cast_shadows)

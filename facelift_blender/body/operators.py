"""Operators for heads on bodies. Each one collects its properties and calls a function."""

from __future__ import annotations

import bpy

from ..operator_errors import attempt
from ..splats import objects
from . import neck, skin


class FACELIFT_OT_match_skin(bpy.types.Operator):
    """Give the materials of the selected meshes the color of the active head's skin near the neck"""

    bl_idname = "facelift.match_skin"
    bl_label = "Match Skin"
    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def poll(cls, context):
        return objects.is_splat_object(context.object)

    def execute(self, context):
        def work() -> str:
            meshes = [item for item in context.selected_objects if item.type == "MESH"]
            count = skin.match_skin(context.object, meshes)
            return f"{count} material{'s' if count > 1 else ''} matched"

        return attempt(self, work)


class FACELIFT_OT_mark_neck(bpy.types.Operator):
    """Store where the head ends below as the attribute “neck”: 1 at the lower cut, falling to 0 above"""

    bl_idname = "facelift.mark_neck"
    bl_label = "Mark Neck"
    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def poll(cls, context):
        return objects.is_splat_object(context.object)

    def execute(self, context):
        return attempt(self, lambda: neck.mark_neck(context.object))


CLASSES = (FACELIFT_OT_match_skin, FACELIFT_OT_mark_neck)

"""The *Body* panel in the FaceLift tab of the sidebar, for the active head."""

from __future__ import annotations

import bpy

from ..sidebar import Sidebar
from ..splats import objects


class FACELIFT_PT_body(Sidebar, bpy.types.Panel):
    bl_idname = "FACELIFT_PT_body"
    bl_label = "Body"
    bl_options = {"DEFAULT_CLOSED"}

    @classmethod
    def poll(cls, context):
        return objects.is_splat_object(context.object)

    def draw(self, context):
        layout = self.layout
        layout.operator("facelift.match_skin", icon="BRUSH_DATA")
        layout.operator("facelift.mark_neck", icon="MOD_VERTEX_WEIGHT")


CLASSES = (FACELIFT_PT_body,)

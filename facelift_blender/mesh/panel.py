"""The *Mesh* panel in the FaceLift tab of the sidebar, for the active head."""

from __future__ import annotations

import bpy

from ..jobs import bar
from ..sidebar import Sidebar
from . import making, proxy


class FACELIFT_PT_mesh(Sidebar, bpy.types.Panel):
    bl_idname = "FACELIFT_PT_mesh"
    bl_label = "Mesh"
    bl_options = {"DEFAULT_CLOSED"}

    @classmethod
    def poll(cls, context):
        return making.is_head(context.object)

    def draw(self, context):
        layout = self.layout
        made = making.mesh_of(context.object)
        if made is not None:
            layout.prop(made, "hide_viewport", text=made.name, icon="MESH_DATA", invert_checkbox=True)
        layout.operator("facelift.make_mesh", text="Make Mesh…" if made is None else "Update Mesh…", icon="MESH_MONKEY")
        shadows = proxy.proxy_of(context.object) is not None
        layout.operator("facelift.cast_shadows", depress=shadows, icon="LIGHT_SUN").on = not shadows
        bar.draw_latest(layout, making.KIND, context)


CLASSES = (FACELIFT_PT_mesh,)

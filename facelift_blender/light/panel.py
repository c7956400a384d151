"""The *Light* panel in the FaceLift tab of the sidebar, for the active head."""

from __future__ import annotations

import bpy

from ..jobs import bar
from ..layout import paragraphs
from ..sidebar import Sidebar
from ..splats import native, nodes, objects
from . import operators, reflectance, scene_light


class FACELIFT_PT_light(Sidebar, bpy.types.Panel):
    bl_idname = "FACELIFT_PT_light"
    bl_label = "Light"
    bl_options = {"DEFAULT_CLOSED"}

    @classmethod
    def poll(cls, context):
        item = objects.active_splats(context)
        return item is not None and not native.is_native(item)

    def draw(self, context):
        layout = self.layout
        head = objects.active_splats(context)
        amount = scene_light.scene_light_of(head)
        row = layout.row(align=True)
        for name, label, _ in operators.LIGHTS:
            chosen = amount == getattr(scene_light, name)
            row.operator("facelift.light", text=label, depress=chosen).light = name
        modifier = nodes.find_modifier(head)
        if reflectance.has_reflectance(head) and modifier and nodes.has_input(modifier, scene_light.INPUT):
            nodes.draw_input(layout, modifier, scene_light.INPUT)
            if amount > 0 and nodes.get_input(modifier, "Match Viewers"):
                paragraphs(layout, "For the scene's light, turn Match Splat Viewers off.", context, icon="ERROR")
        bar.draw_latest(layout, reflectance.KIND, context)


CLASSES = (FACELIFT_PT_light,)

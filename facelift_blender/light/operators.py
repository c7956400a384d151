"""Operators for heads in the scene's light. Each one collects its properties and calls a function."""

from __future__ import annotations

import bpy
from bpy.props import EnumProperty

from ..operator_errors import attempt
from ..splats import objects
from . import scene_light

LIGHTS = [
    ("BAKED", "Baked", "The light of the photo, whatever the scene's lamps do"),
    ("MIX", "Mix", "Half of the photo's light, half of the scene's"),
    ("SCENE", "Scene", "The light of the scene only: lamps, the world, and shadows act as on a mesh"),
]


class FACELIFT_OT_light(bpy.types.Operator):
    """Choose the light of the active head. The first time, the light of the photo is removed in the background, which
    takes some seconds"""

    bl_idname = "facelift.light"
    bl_label = "Light"
    bl_options = {"REGISTER", "UNDO"}

    light: EnumProperty(name="Light", items=LIGHTS, default="SCENE", options={"SKIP_SAVE"})

    @classmethod
    def poll(cls, context):
        return objects.active_splats(context) is not None

    @classmethod
    def description(cls, context, properties):
        return next(about for name, _, about in LIGHTS if name == properties.light)

    def execute(self, context):
        amount = getattr(scene_light, self.light)
        return attempt(self, lambda: scene_light.set_scene_light(context, objects.active_splats(context), amount))


CLASSES = (FACELIFT_OT_light,)

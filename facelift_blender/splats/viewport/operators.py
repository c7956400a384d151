"""Operators on viewports."""

from __future__ import annotations

import bpy
from bpy.props import BoolProperty

from ...operator_errors import attempt
from .. import objects
from . import framing, rendering


class FACELIFT_OT_frame_head(bpy.types.Operator):
    """Look at the face of the selected head from the front"""

    bl_idname = "facelift.frame_head"
    bl_label = "Frame Head"
    bl_options = {"REGISTER"}

    @classmethod
    def poll(cls, context):
        return isinstance(context.space_data, bpy.types.SpaceView3D) and objects.active_splats(context) is not None

    def execute(self, context):
        active = objects.active_splats(context)
        others = [item for item in objects.splat_objects(context.selected_objects) if item != active]
        framing.frame(context.space_data, (context.region.width, context.region.height), [active, *others])
        return {"FINISHED"}


class FACELIFT_OT_viewport_render(bpy.types.Operator):
    """Render this viewport, or every frame of it, including splats. Blender's own Viewport Render leaves out what
    add-ons draw"""

    bl_idname = "facelift.viewport_render"
    bl_label = "Viewport Render with Splats"

    animation: BoolProperty(name="Animation", description="Render all frames to the output folder of the scene")

    @classmethod
    def poll(cls, context):
        return context.area is not None and context.area.type == "VIEW_3D"

    def execute(self, context):
        if not rendering.is_ours(context):
            return bpy.ops.render.opengl(animation=self.animation, view_context=True)
        if not self.animation:
            return attempt(self, lambda: rendering.show(rendering.render(context)))
        self._begin(context)
        while self._next_frame(context):
            pass
        return self._end(context)

    def invoke(self, context, event):
        if not rendering.is_ours(context):
            return bpy.ops.render.opengl("INVOKE_DEFAULT", animation=self.animation, view_context=True)
        if not self.animation:
            return self.execute(context)
        self._begin(context)
        self._timer = context.window_manager.event_timer_add(0.01, window=context.window)
        context.window_manager.modal_handler_add(self)
        return {"RUNNING_MODAL"}

    def modal(self, context, event):
        if event.type == "ESC":
            self._message = f"Stopped after {self._written} frames"
        elif event.type != "TIMER" or self._next_frame(context):
            return {"RUNNING_MODAL"}
        context.window_manager.event_timer_remove(self._timer)
        return self._end(context)

    def _begin(self, context) -> None:
        scene = context.scene
        self._before, self._written, self._message = scene.frame_current, 0, ""
        self._frames = iter(range(scene.frame_start, scene.frame_end + 1, scene.frame_step))

    def _next_frame(self, context) -> bool:
        """Render and save the next frame; returns whether there may be more."""
        frame = next(self._frames, None)
        if frame is None:
            self._message = f"{self._written} frames written to {context.scene.render.filepath}"
            return False
        context.scene.frame_set(frame)
        context.workspace.status_text_set(f"Viewport Render: frame {frame} of {context.scene.frame_end}. Esc: Stop")
        if attempt(self, lambda: rendering.save_frame(context)) != {"FINISHED"}:
            return False
        self._written += 1
        return True

    def _end(self, context):
        context.scene.frame_set(self._before)
        context.workspace.status_text_set(None)
        if not self._message:  # failed and already reported
            return {"CANCELLED"}
        self.report({"INFO"}, self._message)
        return {"FINISHED"}


CLASSES = (FACELIFT_OT_frame_head, FACELIFT_OT_viewport_render)

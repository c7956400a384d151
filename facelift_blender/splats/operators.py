"""Operators on splats. Each one collects its properties and calls a function."""

from __future__ import annotations

import bpy
from bpy.props import BoolProperty, CollectionProperty, EnumProperty, FloatProperty, StringProperty
from bpy_extras.io_utils import ExportHelper, ImportHelper

from ..operator_errors import attempt
from . import editing, exporting, importing, native, nodes, objects, scene_settings
from .viewport import rendering

_MODE_ITEMS = [
    (nodes.CAMERA_FACING, "Camera Facing", "For final renders: exact from the scene camera only"),
    (
        nodes.ANY_VIEW,
        "Any View",
        "For orbiting the view, mirrors, several cameras and collection instances: correct from every direction",
    ),
    (nodes.POINTS, "Points", "For selecting and editing: draws plain points"),
]


class _OnSplats:
    """Mixin for operators on the active splat object."""

    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def poll(cls, context):
        return objects.is_splat_object(context.object)


class FACELIFT_OT_import_splats(bpy.types.Operator, ImportHelper):
    """Import Gaussian splats from .ply files"""

    bl_idname = "facelift.import_splats"
    bl_label = "Import Gaussian Splats"
    bl_options = {"REGISTER", "UNDO"}

    filename_ext = ".ply"
    filter_glob: StringProperty(default="*.ply", options={"HIDDEN"})
    directory: StringProperty(subtype="DIR_PATH", options={"HIDDEN", "SKIP_SAVE"})
    files: CollectionProperty(type=bpy.types.OperatorFileListElement, options={"HIDDEN", "SKIP_SAVE"})
    scale: FloatProperty(name="Scale", default=1.0, min=1e-6, soft_max=100.0, description="Scale of the object")
    up_axis: EnumProperty(name="Up Axis", items=importing.UP_AXES, description="Axis that points up in the file")
    at_cursor: BoolProperty(name="At 3D Cursor", default=False, description="Place at the cursor, not the origin")

    def execute(self, context):
        def work() -> str:
            made = [
                importing.import_splats(context, path, scale=self.scale, up_axis=self.up_axis, at_cursor=self.at_cursor)
                for path in importing.paths_of(self)
            ]
            return f"{sum(len(item.data.points) for item in made):,} splats imported"

        return attempt(self, work)

    def invoke(self, context, event):
        if self.directory or self.filepath:  # dropped
            return self.execute(context)
        return ImportHelper.invoke(self, context, event)


class FACELIFT_OT_export_splats(bpy.types.Operator, ExportHelper):
    """Export the selected splats, with all edits, to one .ply file for splat viewers"""

    bl_idname = "facelift.export_splats"
    bl_label = "Export Gaussian Splats"

    filename_ext = ".ply"
    filter_glob: StringProperty(default="*.ply", options={"HIDDEN"})
    apply_transform: BoolProperty(
        name="Apply Transform", default=True, description="Export in world space. Turn off to export in object space"
    )

    @classmethod
    def poll(cls, context):
        return any(map(objects.is_splat_object, [*context.selected_objects, context.object]))

    def execute(self, context):
        def work() -> str:
            items = objects.splat_objects(context.selected_objects) or [context.object]
            count = exporting.export_splats(context.scene, items, self.filepath, apply_transform=self.apply_transform)
            return f"{count:,} splats written to {self.filepath}"

        return attempt(self, work)


class FACELIFT_OT_apply_render_settings(bpy.types.Operator):
    """Change the settings of this scene that splats need to render correctly"""

    bl_idname = "facelift.apply_render_settings"
    bl_label = "Set Up Scene for Splats"
    bl_options = {"REGISTER", "UNDO"}

    def execute(self, context):
        return attempt(self, lambda: "Set: " + "; ".join(map(str, scene_settings.apply(context.scene))))


class FACELIFT_OT_splats_show_as(_OnSplats, bpy.types.Operator):
    """Choose how the splats are drawn"""

    bl_idname = "facelift.splats_show_as"
    bl_label = "Show Splats As"

    mode: EnumProperty(name="Mode", items=_MODE_ITEMS)
    render: BoolProperty(name="Render", default=True)
    viewport: BoolProperty(name="Viewport", default=False)

    @classmethod
    def description(cls, context, properties):
        return next(about for name, _, about in _MODE_ITEMS if name == properties.mode)

    def execute(self, context):
        return attempt(
            self, lambda: editing.show_as(context.object, self.mode, render=self.render, viewport=self.viewport)
        )


class FACELIFT_OT_splats_match_viewers(_OnSplats, bpy.types.Operator):
    """Blend colors like splat viewers do, or turn off to mix splats with meshes. Then use Set Up Scene for Splats"""

    bl_idname = "facelift.splats_match_viewers"
    bl_label = "Match Splat Viewers"

    on: BoolProperty(name="Match Viewers", default=True)

    def execute(self, context):
        def work() -> None:
            for item in objects.splat_objects(context.selected_objects) or [context.object]:
                editing.match_viewers(item, self.on)

        return attempt(self, work)


class FACELIFT_OT_splats_crop(_OnSplats, bpy.types.Operator):
    """Add a box that hides everything outside it. Move, rotate and scale the box to crop"""

    bl_idname = "facelift.splats_crop"
    bl_label = "Crop Box"

    def execute(self, context):
        return attempt(self, lambda: editing.add_crop_box(context.object) and None)


class FACELIFT_OT_splats_uncrop(_OnSplats, bpy.types.Operator):
    """Remove the crop box and show all splats again"""

    bl_idname = "facelift.splats_uncrop"
    bl_label = "Remove Crop Box"

    def execute(self, context):
        return attempt(self, lambda: editing.remove_crop_box(context.object))


class FACELIFT_OT_splats_delete_selected(_OnSplats, bpy.types.Operator):
    """Hide the points selected in Edit Mode. Restore Deleted Points shows them again"""

    bl_idname = "facelift.splats_delete_selected"
    bl_label = "Delete Selected Points"

    def execute(self, context):
        return attempt(self, lambda: f"{editing.delete_selected(context.object):,} splats deleted")


class FACELIFT_OT_splats_restore_deleted(_OnSplats, bpy.types.Operator):
    """Show all deleted points again"""

    bl_idname = "facelift.splats_restore_deleted"
    bl_label = "Restore Deleted Points"

    def execute(self, context):
        return attempt(self, lambda: f"{editing.restore_deleted(context.object):,} splats restored")


class FACELIFT_OT_splats_duplicate(_OnSplats, bpy.types.Operator):
    """Duplicate the object without using more memory: both objects share the same splats"""

    bl_idname = "facelift.splats_duplicate"
    bl_label = "Duplicate as Instance"

    def execute(self, context):
        return attempt(self, lambda: objects.choose(context, editing.duplicate_as_instance(context.object)))


class FACELIFT_OT_splats_join(_OnSplats, bpy.types.Operator):
    """Join the selected splats into the active object, applying all edits, so that EEVEE sorts them together"""

    bl_idname = "facelift.splats_join"
    bl_label = "Join Splats"

    def execute(self, context):
        def work() -> None:
            others = [item for item in objects.splat_objects(context.selected_objects) if item != context.object]
            editing.join(context, context.object, others)

        return attempt(self, work)


class FACELIFT_OT_splats_instances_real(bpy.types.Operator):
    """Turn collection instances with splats into linked duplicates, so that each one faces the camera"""

    bl_idname = "facelift.splats_instances_real"
    bl_label = "Make Instances Real"
    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def poll(cls, context):
        return objects.is_splat_object(context.object) or bool(objects.instanced_splats(context.object))

    def execute(self, context):
        return attempt(self, lambda: f"{editing.make_instances_real(context, context.object)} instances made real")


class FACELIFT_OT_splats_native(_OnSplats, bpy.types.Operator):
    """Draw these splats with Blender's own splat type, without the modifier's edits. Turn off to use the modifier"""

    bl_idname = "facelift.splats_native"
    bl_label = "Blender's Own Splats"

    on: BoolProperty(name="On", default=True)

    def execute(self, context):
        return attempt(self, lambda: native.set_native(context.object, self.on))


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


class FACELIFT_FH_splats(bpy.types.FileHandler):
    bl_idname = "FACELIFT_FH_splats"
    bl_label = "Gaussian Splats (FaceLift)"
    bl_import_operator = "facelift.import_splats"
    bl_export_operator = "facelift.export_splats"
    bl_file_extensions = ".ply"

    @classmethod
    def poll_drop(cls, context):
        return context.area is not None and context.area.type == "VIEW_3D"


CLASSES = (
    FACELIFT_OT_import_splats,
    FACELIFT_OT_export_splats,
    FACELIFT_OT_apply_render_settings,
    FACELIFT_OT_splats_show_as,
    FACELIFT_OT_splats_match_viewers,
    FACELIFT_OT_splats_crop,
    FACELIFT_OT_splats_uncrop,
    FACELIFT_OT_splats_delete_selected,
    FACELIFT_OT_splats_restore_deleted,
    FACELIFT_OT_splats_duplicate,
    FACELIFT_OT_splats_join,
    FACELIFT_OT_splats_instances_real,
    FACELIFT_OT_splats_native,
    FACELIFT_OT_viewport_render,
    FACELIFT_FH_splats,
)

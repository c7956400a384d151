"""The buttons. Each only collects its properties and calls a function."""

from __future__ import annotations

import bpy
from bpy.props import BoolProperty, CollectionProperty, EnumProperty, FloatProperty, StringProperty
from bpy_extras.io_utils import ExportHelper, ImportHelper

from ..operator_errors import attempt
from . import editing, exporting, importing, native, nodes, objects, scene_settings
from .viewport import rendering

_MODE_ITEMS = [
    (nodes.CAMERA_FACING, "Camera Facing", "Exact for the scene's camera"),
    (
        nodes.ANY_VIEW,
        "Any View",
        "Right from everywhere: mirrors, other cameras, collection instances, looking around",
    ),
    (nodes.POINTS, "Points", "The plain points"),
]


class _OnSplats:
    """For operators on the active object."""

    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def poll(cls, context):
        return objects.is_splat_object(context.object)


class FACELIFT_OT_import_splats(bpy.types.Operator, ImportHelper):
    """Open files of Gaussian splats"""

    bl_idname = "facelift.import_splats"
    bl_label = "Import Gaussian Splats"
    bl_options = {"REGISTER", "UNDO"}

    filename_ext = ".ply"
    filter_glob: StringProperty(default="*.ply", options={"HIDDEN"})
    directory: StringProperty(subtype="DIR_PATH", options={"HIDDEN", "SKIP_SAVE"})
    files: CollectionProperty(type=bpy.types.OperatorFileListElement, options={"HIDDEN", "SKIP_SAVE"})
    scale: FloatProperty(name="Scale", default=1.0, min=1e-6, soft_max=100.0, description="Of the object")
    up_axis: EnumProperty(name="Up Axis", items=importing.UP_AXES, description="Which way is up in the file")
    at_cursor: BoolProperty(name="At 3D Cursor", default=False)

    def execute(self, context):
        def work() -> str:
            made = [
                importing.import_splats(context, path, scale=self.scale, up_axis=self.up_axis, at_cursor=self.at_cursor)
                for path in importing.paths_of(self)
            ]
            return f"{sum(len(item.data.points) for item in made):,} Gaussians imported"

        return attempt(self, work)

    def invoke(self, context, event):
        if self.directory or self.filepath:  # dropped
            return self.execute(context)
        return ImportHelper.invoke(self, context, event)


class FACELIFT_OT_export_splats(bpy.types.Operator, ExportHelper):
    """Write the selected splats, as they are shown, into one file that splat viewers open"""

    bl_idname = "facelift.export_splats"
    bl_label = "Export Gaussian Splats"

    filename_ext = ".ply"
    filter_glob: StringProperty(default="*.ply", options={"HIDDEN"})
    apply_transform: BoolProperty(
        name="Apply Transform", default=True, description="As placed in the scene; else as in the object"
    )

    @classmethod
    def poll(cls, context):
        return any(map(objects.is_splat_object, [*context.selected_objects, context.object]))

    def execute(self, context):
        def work() -> str:
            items = objects.splat_objects(context.selected_objects) or [context.object]
            count = exporting.export_splats(context.scene, items, self.filepath, apply_transform=self.apply_transform)
            return f"{count:,} Gaussians written to {self.filepath}"

        return attempt(self, work)


class FACELIFT_OT_apply_render_settings(bpy.types.Operator):
    """Set what this scene needs so that splats render as they should"""

    bl_idname = "facelift.apply_render_settings"
    bl_label = "Set Up Scene for Splats"
    bl_options = {"REGISTER", "UNDO"}

    def execute(self, context):
        return attempt(self, lambda: "Set: " + "; ".join(map(str, scene_settings.apply(context.scene))))


class FACELIFT_OT_splats_show_as(_OnSplats, bpy.types.Operator):
    """How the splats are drawn"""

    bl_idname = "facelift.splats_show_as"
    bl_label = "Show Splats As"

    mode: EnumProperty(name="Mode", items=_MODE_ITEMS)
    render: BoolProperty(name="Render", default=True)
    viewport: BoolProperty(name="Viewport", default=False)

    def execute(self, context):
        return attempt(
            self, lambda: editing.show_as(context.object, self.mode, render=self.render, viewport=self.viewport)
        )


class FACELIFT_OT_splats_match_viewers(_OnSplats, bpy.types.Operator):
    """Blend colours as splat viewers do, or as light so that splats and meshes mix; then look at the render settings"""

    bl_idname = "facelift.splats_match_viewers"
    bl_label = "Match Splat Viewers"

    on: BoolProperty(name="Match Viewers", default=True)

    def execute(self, context):
        def work() -> None:
            for item in objects.splat_objects(context.selected_objects) or [context.object]:
                editing.match_viewers(item, self.on)

        return attempt(self, work)


class FACELIFT_OT_splats_crop(_OnSplats, bpy.types.Operator):
    """Add a box that leaves out what is outside; move, rotate and scale it"""

    bl_idname = "facelift.splats_crop"
    bl_label = "Crop Box"

    def execute(self, context):
        return attempt(self, lambda: editing.add_crop_box(context.object) and None)


class FACELIFT_OT_splats_uncrop(_OnSplats, bpy.types.Operator):
    """Remove the crop box and show everything again"""

    bl_idname = "facelift.splats_uncrop"
    bl_label = "Remove Crop Box"

    def execute(self, context):
        return attempt(self, lambda: editing.remove_crop_box(context.object))


class FACELIFT_OT_splats_delete_selected(_OnSplats, bpy.types.Operator):
    """Leave out the points selected in Edit Mode; they can be restored"""

    bl_idname = "facelift.splats_delete_selected"
    bl_label = "Delete Selected Points"

    def execute(self, context):
        return attempt(self, lambda: f"{editing.delete_selected(context.object):,} Gaussians left out")


class FACELIFT_OT_splats_restore_deleted(_OnSplats, bpy.types.Operator):
    """Bring back all deleted points"""

    bl_idname = "facelift.splats_restore_deleted"
    bl_label = "Restore Deleted Points"

    def execute(self, context):
        return attempt(self, lambda: f"{editing.restore_deleted(context.object):,} Gaussians are back")


class FACELIFT_OT_splats_duplicate(_OnSplats, bpy.types.Operator):
    """Duplicate the object; both share the same Gaussians in memory"""

    bl_idname = "facelift.splats_duplicate"
    bl_label = "Duplicate as Instance"

    def execute(self, context):
        return attempt(self, lambda: objects.choose(context, editing.duplicate_as_instance(context.object)))


class FACELIFT_OT_splats_join(_OnSplats, bpy.types.Operator):
    """Take the other selected splats into the active object, with all edits applied; EEVEE sorts it as a whole"""

    bl_idname = "facelift.splats_join"
    bl_label = "Join Splats"

    def execute(self, context):
        def work() -> None:
            others = [item for item in objects.splat_objects(context.selected_objects) if item != context.object]
            editing.join(context, context.object, others)

        return attempt(self, work)


class FACELIFT_OT_splats_instances_real(bpy.types.Operator):
    """Turn collection instances with splats into linked duplicates, which face the camera each on its own"""

    bl_idname = "facelift.splats_instances_real"
    bl_label = "Make Instances Real"
    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def poll(cls, context):
        return objects.is_splat_object(context.object) or bool(objects.instanced_splats(context.object))

    def execute(self, context):
        return attempt(self, lambda: f"{editing.make_instances_real(context, context.object)} instances made real")


class FACELIFT_OT_splats_native(_OnSplats, bpy.types.Operator):
    """Let Blender itself draw these splats, without the edits of the modifier, or the modifier again"""

    bl_idname = "facelift.splats_native"
    bl_label = "Blender's Own Splats"

    on: BoolProperty(name="On", default=True)

    def execute(self, context):
        return attempt(self, lambda: native.set_native(context.object, self.on))


class FACELIFT_OT_viewport_render(bpy.types.Operator):
    """Make a picture of this viewport with its splats, or one of every frame. Blender's own Viewport Render leaves
    out what add-ons draw"""

    bl_idname = "facelift.viewport_render"
    bl_label = "Viewport Render with Splats"

    animation: BoolProperty(name="Animation", description="All frames of the scene, into its output folder")

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
        """Write one; whether more may follow."""
        frame = next(self._frames, None)
        if frame is None:
            self._message = f"{self._written} frames written to {context.scene.render.filepath}"
            return False
        context.scene.frame_set(frame)
        context.workspace.status_text_set(f"Viewport Render: frame {frame} of {context.scene.frame_end}; Esc stops")
        if attempt(self, lambda: rendering.save_frame(context)) != {"FINISHED"}:
            return False
        self._written += 1
        return True

    def _end(self, context):
        context.scene.frame_set(self._before)
        context.workspace.status_text_set(None)
        if not self._message:  # it failed, and has told why
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

"""Operators on splats. Each one collects its properties and calls a function."""

from __future__ import annotations

import bpy
from bpy.props import BoolProperty, EnumProperty

from ..operator_errors import attempt
from . import assets, editing, native, nodes, objects, scene_settings

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
    """Mixin for operators on the active splat object, or on that of the active crop box."""

    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def poll(cls, context):
        return objects.active_splats(context) is not None


class FACELIFT_OT_apply_render_settings(bpy.types.Operator):
    """Change the settings of this scene that splats need to render correctly, in Cycles and in EEVEE"""

    bl_idname = "facelift.apply_render_settings"
    bl_label = "Set Up Scene for Splats"
    bl_options = {"REGISTER", "UNDO"}

    def execute(self, context):
        def work() -> str:
            changes = [setting.change for setting in scene_settings.apply(context.scene)]
            return f"Set: {', '.join(changes)}" if changes else "The scene is set up for splats already"

        return attempt(self, work)


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
            self,
            lambda: editing.show_as(
                objects.active_splats(context), self.mode, render=self.render, viewport=self.viewport
            ),
        )


class FACELIFT_OT_splats_match_viewers(_OnSplats, bpy.types.Operator):
    """Blend colors like splat viewers do, or turn off to mix splats with meshes. Then use Set Up Scene for Splats"""

    bl_idname = "facelift.splats_match_viewers"
    bl_label = "Match Splat Viewers"

    on: BoolProperty(name="Match Viewers", default=True)

    def execute(self, context):
        def work() -> None:
            for item in objects.splat_objects(context.selected_objects) or [objects.active_splats(context)]:
                editing.match_viewers(item, self.on)

        return attempt(self, work)


class FACELIFT_OT_splats_crop(_OnSplats, bpy.types.Operator):
    """Add a box that hides everything outside it, and select it. Move, rotate and scale the box to crop"""

    bl_idname = "facelift.splats_crop"
    bl_label = "Crop Box"

    def execute(self, context):
        return attempt(self, lambda: objects.choose(context, editing.add_crop_box(objects.active_splats(context))))


class FACELIFT_OT_splats_uncrop(_OnSplats, bpy.types.Operator):
    """Remove the crop box and show all splats again"""

    bl_idname = "facelift.splats_uncrop"
    bl_label = "Remove Crop Box"

    def execute(self, context):
        return attempt(self, lambda: editing.remove_crop_box(objects.active_splats(context)))


class FACELIFT_OT_splats_delete_selected(_OnSplats, bpy.types.Operator):
    """Hide the points selected in Edit Mode. Restore Deleted Points shows them again"""

    bl_idname = "facelift.splats_delete_selected"
    bl_label = "Delete Selected Points"

    def execute(self, context):
        return attempt(self, lambda: f"{editing.delete_selected(objects.active_splats(context)):,} splats deleted")


class FACELIFT_OT_splats_restore_deleted(_OnSplats, bpy.types.Operator):
    """Show all deleted points again"""

    bl_idname = "facelift.splats_restore_deleted"
    bl_label = "Restore Deleted Points"

    def execute(self, context):
        return attempt(self, lambda: f"{editing.restore_deleted(objects.active_splats(context)):,} splats restored")


class FACELIFT_OT_splats_duplicate(_OnSplats, bpy.types.Operator):
    """Duplicate the object without using more memory: both objects share the same splats"""

    bl_idname = "facelift.splats_duplicate"
    bl_label = "Duplicate as Instance"

    def execute(self, context):
        return attempt(
            self, lambda: objects.choose(context, editing.duplicate_as_instance(objects.active_splats(context)))
        )


class FACELIFT_OT_splats_mark_asset(_OnSplats, bpy.types.Operator):
    """Offer this head in the asset browser of the current file, with a picture of its front"""

    bl_idname = "facelift.splats_mark_asset"
    bl_label = "Mark as Asset"

    def execute(self, context):
        return attempt(self, lambda: assets.mark(objects.active_splats(context)))


class FACELIFT_OT_splats_join(_OnSplats, bpy.types.Operator):
    """Join the selected splats into the active object, applying all edits, so that EEVEE sorts them together"""

    bl_idname = "facelift.splats_join"
    bl_label = "Join Splats"

    def execute(self, context):
        def work() -> None:
            others = [
                item
                for item in objects.splat_objects(context.selected_objects)
                if item != objects.active_splats(context)
            ]
            editing.join(context, objects.active_splats(context), others)

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
    """Let Blender itself draw these splats: a fast viewport, for huge scenes. Renders are less exact (21 to 29 dB
    rather than 80), they need many samples, and edits, deleted points and the crop box are not shown"""

    bl_idname = "facelift.splats_native"
    bl_label = "Native Splats"

    on: BoolProperty(name="On", default=True)

    def execute(self, context):
        return attempt(self, lambda: native.set_native(objects.active_splats(context), self.on))


class FACELIFT_OT_convert_made_by_nodes(bpy.types.Operator):
    """Make a splat object of what the geometry nodes of this object output, and hide the object"""

    bl_idname = "facelift.splats_from_nodes"
    bl_label = "Convert to Splats"
    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def poll(cls, context):
        return native.made_by_nodes(context.object)

    def execute(self, context):
        return attempt(self, lambda: objects.choose(context, editing.convert_made_by_nodes(context, context.object)))


CLASSES = (
    FACELIFT_OT_apply_render_settings,
    FACELIFT_OT_splats_show_as,
    FACELIFT_OT_splats_match_viewers,
    FACELIFT_OT_splats_crop,
    FACELIFT_OT_splats_uncrop,
    FACELIFT_OT_splats_delete_selected,
    FACELIFT_OT_splats_restore_deleted,
    FACELIFT_OT_splats_duplicate,
    FACELIFT_OT_splats_mark_asset,
    FACELIFT_OT_splats_join,
    FACELIFT_OT_splats_instances_real,
    FACELIFT_OT_splats_native,
    FACELIFT_OT_convert_made_by_nodes,
)

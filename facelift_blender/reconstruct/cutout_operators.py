"""Operators to show, edit and reset the cut-out."""

from __future__ import annotations

import bpy
from bpy.props import EnumProperty
from facelift_core import FaceLiftError

from .. import window
from ..operator_errors import Confirmed, attempt
from . import edits, image_editor, session
from .cutouts import Known, Subject
from .session import subject_of_scene

BRUSHES = (
    (image_editor.ERASE, "Erase", "Erase parts of the background that are left"),
    (image_editor.BRING_BACK, "Restore", "Restore erased parts of the photo"),
)


def _subject(context) -> Subject:
    subject = subject_of_scene(context)
    if subject is None:
        raise FaceLiftError("Choose a portrait photo first.")
    return subject


def _known(context, subject: Subject) -> Known:
    """The finished cut-out; in background mode, makes it if necessary."""
    known = session.session.cutouts.known(subject)
    if known is None and window.background():
        known = session.wait_for_cutout(context, subject)
    if known is None:
        raise FaceLiftError("There is no cut-out yet; click Show Cut-out first.")
    return known


class FACELIFT_OT_show_cutout(bpy.types.Operator):
    """Preview the photo without its background, as it will be reconstructed"""

    bl_idname = "facelift.show_cutout"
    bl_label = "Show Cut-out"
    bl_options = {"INTERNAL"}

    def execute(self, context):
        def work() -> None:
            subject = _subject(context)
            if window.background():
                _known(context, subject)
            else:
                session.ask_for_cutout(context, subject)

        return attempt(self, work)


class FACELIFT_OT_edit_cutout(bpy.types.Operator):
    """Correct the cut-out by painting: erase leftover background, or restore missing parts of the person"""

    bl_idname = "facelift.edit_cutout"
    bl_label = "Edit Cut-out"
    bl_options = {"REGISTER", "UNDO", "INTERNAL"}

    def execute(self, context):
        def work() -> None:
            subject = _subject(context)
            image = edits.image_of(subject) or edits.load(_known(context, subject), subject)
            if not window.background():
                try:
                    image_editor.open_editor(context, image)
                except RuntimeError as error:
                    reason = str(error).strip().removeprefix("Error: ")
                    raise FaceLiftError(
                        f"Could not open an Image Editor for “{image.name}”; open one yourself. {reason}"
                    ) from None

        return attempt(self, work)


class FACELIFT_OT_reset_cutout(Confirmed, bpy.types.Operator):
    """Discard all edits to this cut-out"""

    bl_idname = "facelift.reset_cutout"
    bl_label = "Reset Cut-out"
    bl_options = {"REGISTER", "UNDO", "INTERNAL"}

    def execute(self, context):
        def work() -> None:
            subject = _subject(context)
            image = edits.image_of(subject)
            if image is None:
                return
            windows = [] if window.background() else context.window_manager.windows
            showing = [a for window in windows for a in image_editor.areas(window) if a.spaces.active.image == image]
            edits.reset(subject)
            known = session.session.cutouts.known(subject)
            if showing and known is not None:
                image = edits.load(known, subject)
                for area in showing:
                    area.spaces.active.image = image
            window.redraw()

        return attempt(self, work)


class FACELIFT_OT_cutout_brush(bpy.types.Operator):
    """Choose whether the brush erases or restores"""

    bl_idname = "facelift.cutout_brush"
    bl_label = "Cut-out Brush"
    bl_options = {"INTERNAL"}

    blend: EnumProperty(items=BRUSHES)

    @classmethod
    def description(cls, context, properties):
        return next(about for name, _, about in BRUSHES if name == properties.blend)

    def execute(self, context):
        image_editor.set_brush(context, self.blend)
        return {"FINISHED"}


class FACELIFT_PT_cutout(bpy.types.Panel):
    bl_idname = "FACELIFT_PT_cutout"
    bl_label = "Cut-out"
    bl_space_type = "IMAGE_EDITOR"
    bl_region_type = "UI"
    bl_category = "FaceLift"

    @classmethod
    def poll(cls, context):
        return edits.is_cutout(context.space_data.image)

    def draw(self, context):
        layout, space = self.layout, context.space_data
        image_editor.follow()
        if space.mode != "PAINT":
            layout.prop_enum(space, "mode", "PAINT", text="Paint")
            return
        brush = context.tool_settings.image_paint.brush
        blend = brush.blend if brush is not None else ""
        row = layout.row(align=True)
        row.scale_y = 1.4
        for name, label, _ in BRUSHES:
            row.operator("facelift.cutout_brush", text=label, depress=blend == name).blend = name
        row = layout.row(align=True)
        row.prop_enum(space, "display_channels", "COLOR_ALPHA", text="Cut-out")
        row.prop_enum(space, "display_channels", "COLOR", text="Photo")
        layout.operator("facelift.reset_cutout", icon="LOOP_BACK")


CLASSES = (
    FACELIFT_OT_show_cutout,
    FACELIFT_OT_edit_cutout,
    FACELIFT_OT_reset_cutout,
    FACELIFT_OT_cutout_brush,
    FACELIFT_PT_cutout,
)

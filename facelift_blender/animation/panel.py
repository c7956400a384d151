"""The *Pose* panel in the FaceLift tab of the sidebar, for the active head, its face mesh or its armature."""

from __future__ import annotations

import bpy
from facelift_core.animation.rig import NEUTRAL

from .. import head_jobs
from ..jobs import bar, timer
from ..layout import paragraphs
from ..sidebar import Sidebar
from ..splats import objects
from . import capturing, gallery, gaze, names, poses, rigging

PICTURE = 5.0
"""Size of the pictures of expressions, in heights of a button."""


class FACELIFT_PT_pose(Sidebar, bpy.types.Panel):
    bl_idname = "FACELIFT_PT_pose"
    bl_label = "Pose"
    bl_options = {"DEFAULT_CLOSED"}

    @classmethod
    def poll(cls, context):
        return objects.is_splat_object(context.object) or names.head_of(context.object) is not None

    def draw(self, context):
        layout = self.layout
        head = names.head_of(context.object)
        if head is not None:
            _draw_face(layout, head)
        text = "Rig Face" if head is None else "Rig Face Again"
        row = layout.row()
        row.enabled = not head_jobs.busy(rigging.KIND, head or context.object)
        row.operator("facelift.rig_face", text=text, icon="OUTLINER_OB_ARMATURE")
        bar.draw_latest(layout, rigging.KIND, context)


def _draw_face(layout: bpy.types.UILayout, head: bpy.types.Object) -> None:
    row = layout.row()
    row.template_icon_view(
        bpy.context.window_manager, gallery.PROPERTY, show_labels=True, scale=PICTURE, scale_popup=PICTURE
    )
    column = row.column()
    column.prop(bpy.context.window_manager, gallery.PROPERTY, text="")
    keys = _keys(head)
    if NEUTRAL in keys:
        column.prop(keys[NEUTRAL], "value", slider=True, text=NEUTRAL)
    buttons = column.column(align=True)
    buttons.operator("facelift.reset_face", icon="LOOP_BACK")
    buttons.operator("facelift.key_face", icon="KEY_HLT")
    row = layout.row(align=True)
    row.operator("facelift.blink", icon="HIDE_ON")
    looks = gaze.target_of(head) is not None
    row.operator("facelift.look_at", icon="TRACKER", depress=looks).on = not looks
    column = layout.column(align=True)
    column.operator("facelift.import_face_capture", text="Import Face Capture…", icon="IMPORT")
    row = column.row(align=True)
    row.enabled = not head_jobs.busy(capturing.KIND, head)
    row.operator("facelift.animate_from_video", text="Animate from Video…", icon="FILE_MOVIE")
    bar.draw_latest(layout, capturing.KIND, bpy.context)
    job = timer.jobs.latest(capturing.KIND)
    for note in job.result.get("notes", ()) if job is not None else ():
        paragraphs(layout, note, bpy.context, icon="INFO")
    row = layout.row(align=True)
    parts = ("FACE", names.face_of(head), "Face Mesh", "MESH_DATA"), ("BONES", names.rig_of(head), "Bones", "BONE_DATA")
    for key, part, text, icon in parts:
        if part is not None:
            shown = not part.hide_get()
            row.operator("facelift.show_face_part", text=text, icon=icon, depress=shown).part = key


def _keys(head: bpy.types.Object):
    data = names.face_of(head).data.shape_keys
    return data.key_blocks if data is not None else {}


class _Sliders(Sidebar):
    """The shapes of one group."""

    bl_parent_id = "FACELIFT_PT_pose"
    bl_options = {"DEFAULT_CLOSED"}

    @classmethod
    def poll(cls, context):
        return names.head_of(context.object) is not None

    def draw(self, context):
        keys = _keys(names.head_of(context.object))
        column = self.layout.column(align=True)
        for shape in poses.shapes_of(self.bl_label):
            if shape in keys:
                column.prop(keys[shape], "value", slider=True, text=poses.label_of(shape))


def _slider_panel(group: str) -> type:
    name = f"FACELIFT_PT_pose_{group.lower().replace(' ', '_')}"
    return type(name, (_Sliders, bpy.types.Panel), {"bl_idname": name, "bl_label": group})


CLASSES = (FACELIFT_PT_pose, *map(_slider_panel, poses.GROUPS))

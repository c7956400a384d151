"""Sidebar panels: photo, settings, *Reconstruct Face*, missing requirements, active jobs and the last result."""

from __future__ import annotations

import time
from pathlib import Path

import bpy

from ..jobs import bar, folders
from ..jobs.job import DONE, FAILED, Job
from ..jobs.timer import follow, jobs
from ..layout import duration, paragraphs
from ..setup import preferences
from . import edits, pictures, readiness
from .cutouts import Subject
from .photo_operators import editor_image
from .session import cuts_out_by_itself, head_of, session, subject_of_scene
from .settings import photos_of

ALONE, SIDE_BY_SIDE = 7.0, 5.5
"""Icon scale of the photo alone, and of photo and cut-out side by side."""
ON_BACKGROUND = "Background:"
"""Prefix of notes that are not shown beside the picture of the cut-out, which makes them redundant."""


class _Sidebar:
    bl_space_type = "VIEW_3D"
    bl_region_type = "UI"
    bl_category = "FaceLift"


class FACELIFT_PT_reconstruct(_Sidebar, bpy.types.Panel):
    bl_idname = "FACELIFT_PT_reconstruct"
    bl_label = "Reconstruct Face"

    def draw_header_preset(self, context):
        self.layout.operator("facelift.open_preferences", text="", icon="PREFERENCES", emboss=False)

    def draw(self, context):
        layout = self.layout
        own = context.scene.facelift
        _draw_photos(layout, own, context)
        column = layout.column()
        column.use_property_split = True
        column.use_property_decorate = False
        column.prop(own, "preset")
        column.prop(own, "likeness")
        column.prop(own, "seed")

        missing = readiness.before_running(context)
        count = len(photos_of(own))
        row = layout.row()
        row.scale_y = 1.8
        row.enabled = count > 0 and not any(line.stops for line in missing) and not jobs.active("runtime")
        verb = "Add to Queue" if jobs.active("reconstruct") else "Reconstruct"
        text = f"{verb}: {count} Faces" if count > 1 else (verb if jobs.active("reconstruct") else "Reconstruct Face")
        row.operator("facelift.reconstruct", text=text, icon="USER")
        _draw_missing(layout, missing, context)
        for job in jobs.active("runtime", "weights"):
            bar.draw(layout, job, context)
        for job in jobs.active("reconstruct"):
            _draw_job(layout, job, context)
        if session.waiting_for:
            paragraphs(layout, f"{session.waiting_for} before adding the head.", context, icon="SORTTIME")
        _draw_last(layout, context)
        for head in session.left[:5]:
            _draw_left(layout, head)
        if readiness.shows_splats(context.scene):
            _draw_missing(layout, readiness.before_rendering(context), context)


class FACELIFT_PT_advanced(_Sidebar, bpy.types.Panel):
    bl_idname = "FACELIFT_PT_advanced"
    bl_label = "Advanced"
    bl_parent_id = "FACELIFT_PT_reconstruct"
    bl_options = {"DEFAULT_CLOSED"}

    def draw(self, context):
        layout = self.layout
        layout.use_property_split = True
        layout.use_property_decorate = False
        own = context.scene.facelift
        layout.prop(own, "steps")
        layout.prop(own, "guidance_scale")
        layout.prop(own, "crop")
        layout.prop(own, "matting")
        layout.prop(own, "weights", placeholder="From Preferences")
        if preferences.weights(context, own.weights) == "mini":
            layout.operator("facelift.get_weights", text="Get Released Weights…", icon="IMPORT")
        layout.prop(own, "device")
        layout.operator("facelift.release_memory", icon="TRASH")


def _draw_photos(layout, own, context) -> None:
    box = layout.box()
    picture = pictures.icon(own.photo) if own.photo else 0
    subject = subject_of_scene(context) if picture else None
    if subject is not None:
        _draw_cutout(box, picture, subject, context)
    row = box.row(align=True)
    row.prop(own, "photo", text="")
    box.operator("facelift.choose_photos", icon="FILE_IMAGE")
    if image := editor_image(context):
        box.operator("facelift.use_editor_image", text=f"Use “{image.name}”", icon="IMAGE_DATA")
    if own.photo and not picture:
        readable = Path(bpy.path.abspath(own.photo)).is_file()
        box.label(text="No preview available" if readable else "Photo not found", icon="ERROR")
    for index, photo in enumerate(own.more_photos):
        row = box.row(align=True)
        row.label(text=Path(photo.path).name, icon="IMAGE_DATA")
        row.operator("facelift.remove_photo", text="", icon="X", emboss=False).index = index


def _draw_cutout(box, photo: int, subject: Subject, context) -> None:
    """Draw the photo and its cut-out side by side, with the buttons to show, edit or reset the cut-out."""
    cutouts = session.cutouts
    known, image = cutouts.known(subject), edits.image_of(subject)
    edited = edits.edited(image)
    preview = edits.preview(image) if edited else (known.preview if known is not None else None)
    picture = pictures.icon(str(preview)) if preview is not None else 0
    row = box.row()
    row.template_icon(icon_value=photo, scale=SIDE_BY_SIDE if picture else ALONE)
    if picture:
        row.template_icon(icon_value=picture, scale=SIDE_BY_SIDE)
    if edited or known is not None:
        row = box.row(align=True)
        row.operator("facelift.edit_cutout", icon="BRUSH_DATA")
        if edited:
            row.operator("facelift.reset_cutout", text="", icon="LOOP_BACK")
            box.label(text="Edited cut-out", icon="CHECKMARK")
        for note in known.notes if known is not None else ():
            if not note.startswith(ON_BACKGROUND):
                paragraphs(box, note, context, icon="INFO")
        return
    if cutouts.making(subject):
        box.label(text="Removing the background …", icon="SORTTIME")
    elif problem := cutouts.problems.get(subject.key):
        column = box.column()
        column.alert = True
        paragraphs(column, problem, context, icon="ERROR")
    elif cuts_out_by_itself(context):
        cutouts.look(subject, time.monotonic())
        follow()
        box.label(text="Removing the background …", icon="SORTTIME")
    elif preferences.get(context).worker() is not None and not jobs.active("reconstruct"):
        box.operator("facelift.show_cutout", icon="IMAGE_ALPHA")


def _draw_missing(layout, missing: list[readiness.Missing], context) -> None:
    for line in missing:
        box = layout.box()
        box.alert = line.stops
        paragraphs(box, line.text, context, icon="ERROR" if line.stops else "INFO")
        if line.operator:
            properties = box.operator(line.operator, text=line.label)
            for name, value in line.properties.items():
                setattr(properties, name, value)


def _draw_job(layout, job: Job, context) -> None:
    box = bar.draw(layout, job, context)
    if job.views is not None and (picture := pictures.icon(str(job.views))):
        box.template_icon(icon_value=picture, scale=8.0)


def _draw_last(layout, context) -> None:
    job = session.last
    if job is None or jobs.active("reconstruct"):
        return
    if job.state == FAILED:
        box = bar.draw_error(layout, job, context)
        box.operator("facelift.copy_system_information", icon="COPYDOWN")
        return
    box = layout.box()
    if job.state != DONE:
        box.label(text=f"{job.title}: cancelled", icon="CANCEL")
        return
    summary, head = job.result, head_of(job)
    box.label(text=f"{job.title}: {duration(job.ended - job.started)}", icon="CHECKMARK")
    times = summary.get("timings", {})
    parts = [f"{label} {times[stage]:.1f} s" for stage, label in _TIMES.items() if times.get(stage, 0) > 0.05]
    paragraphs(box, f"{summary.get('gaussians', 0):,} splats, made on {summary.get('device')}", context)
    paragraphs(box, ", ".join(parts), context)
    for note in summary.get("notes", []):
        paragraphs(box, note, context, icon="INFO")
    if picture := pictures.icon(str(head.views)):
        box.template_icon(icon_value=picture, scale=6.0)
    if head.folder not in {left.folder for left in session.left}:
        box.operator("facelift.import_head", text="Import Again", icon="IMPORT").folder = str(head.folder)


_TIMES = {
    "load": "loading",
    "align": "aligning",
    "views": "views",
    "gaussians": "3D",
    "filter": "filter",
    "skin": "photo",
    "refine": "fitting",
}


def _draw_left(layout, head: folders.Finished) -> None:
    box = layout.box()
    row = box.row(align=True)
    row.label(text=f"{head.name} is finished", icon="FILE_TICK")
    row.operator("facelift.dismiss_head", text="", icon="X", emboss=False).folder = str(head.folder)
    box.operator("facelift.import_head", icon="IMPORT").folder = str(head.folder)


CLASSES = (FACELIFT_PT_reconstruct, FACELIFT_PT_advanced)

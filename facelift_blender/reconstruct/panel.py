"""Sidebar panels: photo, settings, *Reconstruct Face*, missing requirements, active jobs and the last result."""

from __future__ import annotations

import time
from pathlib import Path

import bpy

from ..jobs import bar, folders
from ..jobs.job import Job
from ..jobs.timer import follow, jobs
from ..layout import paragraphs
from ..setup import preferences, weights_operators
from ..sidebar import Sidebar
from . import edits, pictures, readiness, results
from .cutouts import Subject
from .photo_operators import editor_image
from .session import cuts_out_by_itself, session, subject_of_scene
from .settings import photos_of

ALONE, SIDE_BY_SIDE = 7.0, 5.5
"""Icon scale of the photo alone, and of photo and cut-out side by side."""


class FACELIFT_PT_reconstruct(Sidebar, bpy.types.Panel):
    bl_idname = "FACELIFT_PT_reconstruct"
    bl_label = "Reconstruct Face"

    def draw_header_preset(self, context):
        self.layout.operator("facelift.open_preferences", text="", icon="PREFERENCES", emboss=False)

    def draw(self, context):
        layout = self.layout
        own = context.scene.facelift
        missing = readiness.before_running(context)
        setup = readiness.before_setup(context)
        _draw_missing(layout, setup, context)
        for job in jobs.active("runtime"):
            bar.draw(layout, job, context)
        _draw_photos(layout, own, context)
        _draw_settings(layout, own, context)

        row = layout.row()
        row.scale_y = 1.6
        row.enabled = bool(photos_of(own)) and not any(line.stops for line in missing) and not jobs.active("runtime")
        row.operator("facelift.reconstruct", text=_button(own), icon="USER")
        results.draw_models(layout)
        _draw_missing(layout, [line for line in missing if line not in setup], context)
        for job in jobs.active("weights"):
            bar.draw(layout, job, context)
        for job in jobs.active("reconstruct"):
            _draw_job(layout, job, context)
        if session.waiting_for:
            paragraphs(layout, f"{session.waiting_for} before adding the head.", context, icon="SORTTIME")
        results.draw(layout, context)
        for head in session.left[:5]:
            _draw_left(layout, head)
        if readiness.shows_splats(context.scene):
            _draw_missing(layout, readiness.before_rendering(context), context)


def _button(own) -> str:
    """Text of the large button."""
    count = len(photos_of(own))
    if jobs.active("reconstruct"):
        return f"Add {count} Photos to Queue" if count > 1 else "Add to Queue"
    return f"Reconstruct {count} Faces" if count > 1 else "Reconstruct Face"


def _draw_settings(layout, own, context) -> None:
    column = layout.column()
    _labels_beside(column)
    column.prop(own, "preset")
    column.prop(own, "likeness")
    column.prop(own, "seed")
    header, body = layout.panel("FACELIFT_PT_advanced", default_closed=True)
    header.label(text="Advanced")
    if body is None:
        return
    _labels_beside(body)
    for name in ("steps", "guidance_scale", "crop", "matting", "device"):
        body.prop(own, name)
    column = body.column(align=True)
    column.use_property_split = False
    column.label(text="Weights")
    column.prop(own, "weights", text="", placeholder=preferences.weights_name(context))
    if preferences.weights(context, own.weights) == "mini":
        row = column.row()
        row.enabled = weights_operators.can_get()
        row.operator("facelift.get_weights", text="Get Released Weights…", icon="IMPORT")
        if not row.enabled:
            paragraphs(column, weights_operators.OFFLINE, context, icon="INFO")


def _labels_beside(layout) -> None:
    layout.use_property_split = True
    layout.use_property_decorate = False


def _draw_photos(layout, own, context) -> None:
    if not own.photo:
        box = layout.column()
        _draw_choosing(box, context)
        return
    header, body = layout.panel_prop(own, "show_photo")
    header.label(text=Path(own.photo).name)
    if body is None:
        header.operator("facelift.choose_photos", text="", icon="FILE_IMAGE", emboss=False)
        _draw_more(layout.column(), own)
        return
    picture = pictures.icon(own.photo)
    subject = subject_of_scene(context) if picture else None
    if subject is not None:
        _draw_cutout(body, picture, subject, context)
    if not picture:
        readable = Path(bpy.path.abspath(own.photo)).is_file()
        body.label(text="No preview available" if readable else "Photo not found", icon="ERROR")
    _draw_choosing(body, context)
    _draw_more(body, own)


def _draw_choosing(layout, context) -> None:
    layout.operator("facelift.choose_photos", icon="FILE_IMAGE")
    if editor_image(context):
        layout.operator("facelift.use_editor_image", text="Use Open Image", icon="IMAGE_DATA")


def _draw_more(layout, own) -> None:
    for index, photo in enumerate(own.more_photos):
        row = layout.row(align=True)
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
        row.operator("facelift.edit_cutout", text="Edit Cut-out" + (" (edited)" if edited else ""), icon="BRUSH_DATA")
        if edited:
            row.operator("facelift.reset_cutout", text="", icon="LOOP_BACK")
        for note in known.notes if known is not None else ():
            if not note.startswith(results.ON_BACKGROUND):
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
            row = box.row()
            row.enabled = line.works
            properties = row.operator(line.operator, text=line.label)
            for name, value in line.properties.items():
                setattr(properties, name, value)


def _draw_job(layout, job: Job, context) -> None:
    box = bar.draw(layout, job, context)
    if job.views is not None and (picture := pictures.icon(str(job.views))):
        box.template_icon(icon_value=picture, scale=8.0)


def _draw_left(layout, head: folders.Finished) -> None:
    box = layout.box()
    row = box.row(align=True)
    row.label(text=f"{head.name} is finished", icon="FILE_TICK")
    row.operator("facelift.dismiss_head", text="", icon="X", emboss=False).folder = str(head.folder)
    box.operator("facelift.import_head", icon="IMPORT").folder = str(head.folder)


CLASSES = (FACELIFT_PT_reconstruct,)

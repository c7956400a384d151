"""Draws a job in a panel."""

from __future__ import annotations

import time

import bpy
from bpy.props import StringProperty

from .. import window
from ..layout import duration, paragraphs
from .job import FAILED, RUNNING, Job
from .timer import jobs

LINES_SHOWN = 3
TITLE_SHARE = 0.7
"""Of a job's first row, beside *Cancel*."""
STAGES = {
    "": "Waiting",
    "start": "Starting",
    "load": "Loading models",
    "align": "Aligning the photo",
    "views": "Drawing six views",
    "gaussians": "Building the head",
    "filter": "Cleaning up",
    "skin": "Applying the photo",
    "refine": "Fitting to the photo",
    "surface": "Finding the surface",
    "texture": "Baking the texture",
    "light": "Removing the light",
    "rig": "Rigging the face",
    "track": "Following the face",
    "read": "Reading",
    "write": "Writing",
}


def draw(layout, job: Job, context, with_log: bool = False) -> bpy.types.UILayout:
    """Draw the progress bar, messages and *Cancel* button of an active job; returns the box, for more rows."""
    box = layout.box()
    if job.state != RUNNING:
        row = box.row(align=True)
        row.label(text=job.title, icon="SORTTIME")
        row.operator("facelift.cancel", text="", icon="X").job = job.id
        return box
    row = box.split(factor=TITLE_SHARE)
    row.label(text=job.title, icon="RENDER_ANIMATION")
    button = row.row(align=True)
    button.enabled = not job.cancelling
    button.operator("facelift.cancel", text="Cancel").job = job.id
    fraction = job.progress()
    percent = f"{100 * fraction:.0f} %"
    stage = "Cancelling" if job.cancelling else STAGES.get(job.stage, "")
    box.progress(factor=fraction, type="BAR", text=f"{stage}  {percent}" if stage else percent)
    paragraphs(box, job.message, context)
    left = job.seconds_left()
    spent = f"{duration(time.monotonic() - job.started)} elapsed"
    paragraphs(box, spent + (f", about {duration(left)} left" if left is not None else ""), context)
    for line in list(job.lines)[-LINES_SHOWN:] if with_log else ():
        row = box.row()
        row.active = False
        row.scale_y = 0.7
        row.label(text=line.strip())
    return box


def draw_error(layout, job: Job, context) -> bpy.types.UILayout:
    """Draw why a job failed; returns the box, for more rows."""
    box = layout.box()
    box.alert = True
    paragraphs(box, f"{job.title}: {job.error}", context, icon="ERROR")
    return box


def draw_latest(layout, kind: str, context) -> None:
    """Draw the latest job of `kind`: its progress and the end of its log while active, or why it failed."""
    job = jobs.latest(kind)
    if job is not None and not job.over:
        draw(layout, job, context, with_log=True)
    elif job is not None and job.state == FAILED:
        draw_error(layout, job, context)


class FACELIFT_OT_cancel(bpy.types.Operator):
    """Stop this job. Files that were already downloaded are kept for the next attempt"""

    bl_idname = "facelift.cancel"
    bl_label = "Cancel"
    bl_options = {"INTERNAL"}

    job: StringProperty(description="Job to cancel; if empty, all heads", options={"HIDDEN"})

    def execute(self, context):
        for job in jobs.active():
            if job.id == self.job or (not self.job and job.kind == "reconstruct"):
                jobs.cancel(job)
        window.redraw()
        return {"FINISHED"}


CLASSES = (FACELIFT_OT_cancel,)

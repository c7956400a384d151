"""What became of reconstructions: a box for the newest, a line for each other one until it is dismissed."""

from __future__ import annotations

import time

import bpy
from bpy.props import StringProperty
from facelift_core import FaceLiftError

from .. import window
from ..jobs import bar
from ..jobs.job import CANCELLED, DONE, FAILED, Job
from ..jobs.timer import jobs
from ..layout import duration, paragraphs
from ..operator_errors import attempt
from . import image_editor, insert_head, pictures
from .session import head_of
from .session import session as here

LINES = 12
"""Results of a long queue that the panel shows at most."""
COLUMNS, ROWS = 3, 2
"""Of the picture of the six views."""
TILE = 3.7
"""Icon scale of one view: three fill the narrowest sidebar."""
ON_BACKGROUND = "Background:"
"""Prefix of notes that are not shown beside the picture of the cut-out, which makes them redundant."""
ICONS = {DONE: "CHECKMARK", CANCELLED: "CANCEL", FAILED: "ERROR"}


def draw(layout, context) -> None:
    """Draw the results, the newest one large unless others are being made."""
    results = list(here.results)
    if results and not jobs.active("reconstruct"):
        _draw_newest(layout, results.pop(0), context)
    if not results:
        return
    box = layout.box().column()
    for job in results[:LINES]:
        _draw_line(box, job)
    row = box.row()
    more = len(results) - LINES
    row.label(text=f"and {more} more" if more > 0 else "")
    row.operator("facelift.dismiss_result", text="Dismiss All", emboss=False).job = ""


def _draw_newest(layout, job: Job, context) -> None:
    box = layout.box()
    _draw_line(box, job)
    if job.state == FAILED:
        column = box.column()
        column.alert = True
        paragraphs(column, job.error, context)
        box.operator("facelift.copy_system_information", icon="COPYDOWN")
    if job.state != DONE:
        return
    head = head_of(job)
    tiles = pictures.tiles(str(head.views), COLUMNS, ROWS)
    if tiles:
        column = box.column(align=True)
        for start in range(0, len(tiles), COLUMNS):
            row = column.row(align=True)
            for tile in tiles[start : start + COLUMNS]:
                row.template_icon(icon_value=tile, scale=TILE)
    row = box.row(align=True)
    row.operator("facelift.frame_head", icon="ZOOM_SELECTED")
    row.operator("facelift.open_views", icon="IMAGE_DATA").job = job.id
    if head.folder not in {left.folder for left in here.left}:
        box.operator("facelift.import_head", text="Import Again", icon="IMPORT").folder = str(head.folder)
    for note in job.result.get("notes", []):
        if not note.startswith(ON_BACKGROUND):
            paragraphs(box, note, context, icon="INFO")


def _draw_line(layout, job: Job) -> None:
    row = layout.row(align=True)
    took = f", {duration(job.ended - job.started)}" if job.state == DONE and job.started else ""
    state = {CANCELLED: ": cancelled", FAILED: ": failed"}.get(job.state, took)
    row.label(text=job.title + state, icon=ICONS[job.state])
    row.operator("facelift.result_details", text="", icon="INFO", emboss=False).job = job.id
    row.operator("facelift.dismiss_result", text="", icon="X", emboss=False).job = job.id


def details(job: Job) -> list[str]:
    """What can be said about a result, in lines."""
    if job.state == FAILED:
        return [job.error]
    if job.state != DONE:
        return ["Cancelled"]
    times = job.result.get("timings", {})
    parts = [f"{label}: {times[stage]:.1f} s" for stage, label in bar.STAGES.items() if times.get(stage, 0) > 0.05]
    place = {"cpu": "the CPU", "cuda": "the GPU", "mps": "the GPU"}
    device = str(job.result.get("device", "")).partition(":")[0]
    return [f"{job.result.get('gaussians', 0):,} splats, made on {place.get(device, device)}", *parts]


def _found(identifier: str) -> Job:
    job = next((job for job in here.results if job.id == identifier), None)
    if job is None:
        raise FaceLiftError("This result has been dismissed.")
    return job


class _OnResult:
    """Mixin for operators on a result."""

    bl_options = {"INTERNAL"}

    job: StringProperty(description="Identifier of the result", options={"HIDDEN"})


class FACELIFT_OT_result_details(_OnResult, bpy.types.Operator):
    """Show how long each part took"""

    bl_idname = "facelift.result_details"
    bl_label = "Details"

    @classmethod
    def description(cls, context, properties):
        job = next((job for job in here.results if job.id == properties.job), None)
        return "\n".join(details(job)) if job is not None else cls.__doc__

    def execute(self, context):
        def work() -> None:
            lines = details(_found(self.job))
            if window.background():
                print(*lines, sep="\n")
                return

            def show(menu, context) -> None:
                for line in lines:
                    paragraphs(menu.layout, line, context, width=300)

            context.window_manager.popup_menu(show, title=_found(self.job).title, icon="INFO")

        return attempt(self, work)


class FACELIFT_OT_open_views(_OnResult, bpy.types.Operator):
    """Show the six views in an Image Editor, at full size"""

    bl_idname = "facelift.open_views"
    bl_label = "Open Views"

    def execute(self, context):
        def work() -> None:
            job = _found(self.job)
            image = insert_head.add_picture(head_of(job).views, f"{job.title} views")
            if image is None:
                raise FaceLiftError("The picture of the views is missing; reconstruct the head again.")
            if not window.background():
                image_editor.show(context, image)

        return attempt(self, work)


class FACELIFT_OT_dismiss_result(_OnResult, bpy.types.Operator):
    """Remove this line. A finished head stays where it is"""

    bl_idname = "facelift.dismiss_result"
    bl_label = "Dismiss"

    @classmethod
    def description(cls, context, properties):
        return cls.__doc__ if properties.job else "Remove all these lines. Finished heads stay where they are"

    def execute(self, context):
        shown = here.results if jobs.active("reconstruct") else here.results[1:]
        gone = {self.job} if self.job else {job.id for job in shown}
        here.results = [job for job in here.results if job.id not in gone]
        window.redraw()
        return {"FINISHED"}


def draw_models(layout) -> None:
    """Tell that models are in memory, and until when, with a button that unloads them."""
    if not jobs.holds_models:
        return
    end = jobs.models_end
    row = layout.row(align=True)
    text = row.row()
    text.active = False
    minutes = None if end is None else max(1, round((end - time.monotonic()) / 60))
    text.label(text="Models loaded" + (f" for {minutes} more min" if minutes is not None else ""), icon="MEMORY")
    row.operator("facelift.release_memory", text="", icon="X", emboss=False)


CLASSES = (FACELIFT_OT_result_details, FACELIFT_OT_open_views, FACELIFT_OT_dismiss_result)

"""Reconstructions of this Blender session: submitting them and importing finished heads.

Call everything in this module from the main thread. It keeps only names and session IDs of Blender data between timer
ticks, because undo and loading a file invalidate references.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import bpy
from bpy.app.handlers import persistent
from facelift_core import FaceLiftError
from facelift_core.jobs import durations
from facelift_core.jobs.reconstruct import Request
from facelift_core.processes.protocol import CutOut, Done, Event, Views

from .. import presets
from ..jobs import folders, timer
from ..jobs.job import FAILED, Job, Usual
from ..jobs.timer import jobs
from ..setup import preferences, runtime_state
from ..window import background
from . import edits, insert_head
from .cutouts import CutOuts, Known, Subject, subject_of

EDITED = "cutout_edited.png"
"""File name of the edited cut-out in a job's folder."""
RESULTS_KEPT = 50
FIRST_LOAD_SECONDS = 20.0
"""Time constant of the bar while models load for the first time."""


@dataclass(frozen=True)
class Target:
    """Where to import a head: a scene (its session ID) of the file that was open when the job was submitted."""

    file: int
    scene: int


@dataclass
class Session:
    """State of this Blender session that is not stored in .blend files.

    Attributes:
        cutouts: cached cut-outs.
        file: incremented with every file that is loaded.
        arrived: finished jobs whose heads have not been imported yet.
        left: heads in the cache that have not been imported, newest first.
        results: jobs that have ended and have not been dismissed, the newest first.
        waiting_for: why finished heads cannot be imported yet, for the user.
        had_models: whether models were in memory when last looked at.
    """

    file: int = 0
    arrived: list[Job] = field(default_factory=list)
    left: list[folders.Finished] = field(default_factory=list)
    results: list[Job] = field(default_factory=list)
    waiting_for: str = ""
    cutouts: CutOuts = field(default_factory=lambda: CutOuts(jobs))
    had_models: bool = False

    @property
    def last(self) -> Job | None:
        """The newest of the results."""
        return self.results[0] if self.results else None


session = Session()


def submit(context, photos: Sequence[str], **settings) -> list[Job]:
    """Submit one reconstruction per photo for the scene of `context`, using edited cut-outs; returns at once.

    Args:
        photos: image files; paths that begin with // are relative to the .blend file.
        settings: fields of :class:`~facelift_core.jobs.reconstruct.Request` that override the scene's settings.

    Raises:
        FaceLiftError: there is no photo, a photo does not exist, there is no runtime, or an edited cut-out cannot be
            written. No job is submitted then.
    """
    if not photos:
        raise FaceLiftError("Choose a portrait photo first.")
    paths = [Path(bpy.path.abspath(photo)) for photo in photos]
    if lacking := next((path for path in paths if not path.is_file()), None):
        raise FaceLiftError(f"There is no photo at {lacking}; choose another photo.")
    worker = preferences.get(context).worker()
    if worker is None:
        raise FaceLiftError(
            "FaceLift needs PyTorch first. In FaceLift's preferences, click Install PyTorch or Use Installed PyTorch."
        )
    own = context.scene.facelift
    values = {
        "weights": preferences.weights(context, settings.pop("weights", own.weights)),
        "device": own.device,
        **presets.of_request(own),
        "guidance_scale": own.guidance_scale,
        "seed": own.seed,
        "crop": own.crop,
        "matting": own.matting,
        "likeness": own.likeness,
        **settings,
    }
    if "steps" in settings and "preset" not in settings:
        values["preset"] = presets.DEFAULT.lower()
    target = Target(session.file, context.scene.session_uid)
    requests = []
    for path in paths:
        folder = folders.new_folder()
        request = Request(photo=str(path), folder=str(folder), **values)
        subject = subject_of(path, request.crop, request.matting)
        if not request.cutout and subject is not None and edits.write_edited(subject, folder / EDITED):
            request = replace(request, cutout=str(folder / EDITED))
        requests.append(request)
    submitted = [
        jobs.submit(
            Job(
                "reconstruct",
                Path(request.photo).stem,
                request,
                worker,
                _heard,
                folders.check_end(Path(request.folder)),
                target,
                partial(usual, request),
            )
        )
        for request in requests
    ]
    timer.follow()
    return submitted


def usual(request: Request) -> Usual:
    """How long a reconstruction takes on this machine, from the last ones."""
    load = durations.load_seconds(request)
    return Usual(FIRST_LOAD_SECONDS if load is None else load, durations.run_seconds(request))


def head_of(job: Job) -> folders.Finished:
    """The head made by a job in state DONE."""
    return folders.Finished(Path(job.request.folder), job.result, claimed=False)


def _heard(job: Job, event: Event) -> None:
    match event:
        case CutOut():
            session.cutouts.learn(job)
        case Views() if job.views is not None and scene_of(job.target) is not None:
            insert_head.add_picture(job.views, f"{job.title} views")
        case Done():
            session.arrived.append(job)
    if job.over:
        session.results = [job, *session.results][:RESULTS_KEPT]


def subject_of_scene(context) -> Subject | None:
    """The scene's photo with its cut-out settings; None if there is no photo."""
    own = context.scene.facelift
    return subject_of(Path(bpy.path.abspath(own.photo)), own.crop, own.matting) if own.photo.strip() else None


def cuts_out_by_itself(context) -> bool:
    """Whether the panel makes cut-outs automatically when it shows a photo."""
    own = preferences.get(context)
    return not (background() or jobs.active("reconstruct")) and runtime_state.current(own).ready


def ask_for_cutout(context, subject: Subject) -> Job:
    """Submit a job that makes the cut-out. Raises FaceLiftError if there is no runtime."""
    worker = preferences.get(context).worker()
    if worker is None:
        raise FaceLiftError("FaceLift needs PyTorch first; click Install PyTorch or Use Installed PyTorch.")
    job = session.cutouts.ask(subject, worker)
    timer.follow()
    return job


def wait_for_cutout(context, subject: Subject) -> Known | None:
    """Like :func:`ask_for_cutout`, but waits for the cut-out. For background mode."""
    timer.wait([ask_for_cutout(context, subject)])
    return session.cutouts.known(subject)


def _watch() -> tuple[bool, bool]:
    """Timer watcher: start cut-outs of photos that the panel shows, and import finished heads."""
    changed = session.cutouts.waiting and _cut_out_what_is_looked_at()
    changed = _bring_in_arrived() or changed
    before, session.had_models = session.had_models, jobs.holds_models
    changed = changed or before != session.had_models
    return changed, bool(session.cutouts.waiting or session.arrived)


def _cut_out_what_is_looked_at() -> bool:
    """Start the cut-out of the photo that the panel shows; returns whether a job was submitted."""
    if not cuts_out_by_itself(bpy.context):
        session.cutouts.look_away()
        return False
    session.cutouts.tick(preferences.get().worker(), time.monotonic())
    return not session.cutouts.waiting


def _bring_in_arrived() -> bool:
    """Import finished heads, or set `waiting_for` if that is not possible now; returns whether anything changed."""
    before = session.waiting_for, len(session.arrived)
    session.waiting_for = ""
    for job in list(session.arrived):
        scene = scene_of(job.target)
        if scene is not None and (reason := not_now(scene)):
            session.waiting_for = reason
            break
        session.arrived.remove(job)
        if scene is None:
            look_for_left()
            continue
        try:
            _bring_in_undoably(head_of(job), scene)
        except FaceLiftError as error:
            job.state, job.error = FAILED, str(error)
            look_for_left()
        except Exception as error:  # errors in other add-ons' handlers must not stop this timer
            job.state, job.error = FAILED, str(_not_brought_in(error))
            look_for_left()
    return before != (session.waiting_for, len(session.arrived))


def scene_of(target: Target) -> bpy.types.Scene | None:
    """The target scene; None if another file has been loaded or the scene was deleted."""
    if target.file != session.file:
        return None
    return next((scene for scene in bpy.data.scenes if scene.session_uid == target.scene), None)


def not_now(scene: bpy.types.Scene) -> str:
    """Why no object can be added to `scene` right now, for the user; empty if one can."""
    if bpy.app.is_job_running("RENDER"):
        return "Waiting for the render to finish"
    for manager in bpy.data.window_managers:
        for window in manager.windows:
            active = window.view_layer.objects.active
            if window.scene == scene and active is not None and active.mode != "OBJECT":
                return "Waiting for you to return to Object Mode"
    return ""


def bring_in(head: folders.Finished, scene: bpy.types.Scene, scale: float = 1.0) -> bpy.types.Object:
    """Import a finished head into `scene` at `scale` times life-size.

    Raises:
        FaceLiftError: its files are missing or damaged, or another add-on interfered.
    """
    try:
        ob = insert_head.add_head(head, scene, scale)
    except FaceLiftError:
        raise
    except Exception as error:  # otherwise operators would show the user a traceback
        raise _not_brought_in(error) from error
    folders.claim(head.folder)
    scene.facelift.show_photo = False
    look_for_left()
    return ob


def _not_brought_in(error: Exception) -> FaceLiftError:
    """A message for the user; prints the traceback of unexpected errors to the console."""
    if isinstance(error, ReferenceError):
        return FaceLiftError("Another add-on removed the head while it was being imported; its files are still there.")
    traceback.print_exception(error)
    return FaceLiftError(f"The head is finished but could not be imported: {error}")


def _bring_in_undoably(head: folders.Finished, scene: bpy.types.Scene) -> None:
    """Like :func:`bring_in`, but callable from a timer, and as one undo step.

    If a window shows the scene, this calls the operator, so that *Adjust Last Operation* offers the size.
    """
    managers = [] if background() else bpy.data.window_managers
    windows = [window for manager in managers for window in manager.windows]
    if showing := next((window for window in windows if window.scene == scene), None):
        area = next((area for area in showing.screen.areas if area.type == "VIEW_3D"), None)
        region = next((region for region in area.regions if region.type == "WINDOW"), None) if area else None
        with bpy.context.temp_override(window=showing, area=area, region=region):
            try:
                bpy.ops.facelift.import_head("EXEC_DEFAULT", True, folder=str(head.folder))
            except RuntimeError as error:  # how Blender passes an operator's error report to scripts
                raise FaceLiftError(str(error).removeprefix("Error: ").strip()) from error
        return
    bring_in(head, scene)
    if windows:
        with bpy.context.temp_override(window=windows[0]):
            bpy.ops.ed.undo_push(message="Reconstruct Face")


def look_for_left() -> None:
    """Update the list of heads that have not been imported. Reads files, so do not call it while drawing."""
    waiting = {Path(job.request.folder) for job in session.arrived}
    session.left = [head for head in folders.unclaimed() if head.folder not in waiting]


def clear_cache() -> None:
    """Clear the cache, except for files of this session's active jobs."""
    folders.clear({Path(job.request.folder) for job in (*jobs.active("reconstruct"), *session.arrived)})
    look_for_left()


@persistent
def _file_loaded(*_) -> None:
    session.file += 1
    look_for_left()


def _first_look() -> None:
    """First update, by a timer, so that it does not slow down Blender's startup."""
    look_for_left()
    runtime_state.check_soon(preferences.get())
    timer.follow()


def attach() -> None:
    timer.watch(_watch)
    bpy.app.handlers.load_post.append(_file_loaded)
    if not background():
        bpy.app.timers.register(_first_look, first_interval=1.0, persistent=True)


def detach() -> None:
    if bpy.app.timers.is_registered(_first_look):
        bpy.app.timers.unregister(_first_look)
    if _file_loaded in bpy.app.handlers.load_post:
        bpy.app.handlers.load_post.remove(_file_loaded)
    session.__init__()

"""The heads of this Blender: submitted, followed, brought into the scene.

Only the main thread runs what is in here, and only names and session ids of Blender's data are kept between two ticks,
for undo and loading files make every reference invalid.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import bpy
from bpy.app.handlers import persistent
from facelift_core import FaceLiftError
from facelift_core.jobs.reconstruct import Request
from facelift_core.processes.protocol import CutOut, Done, Event, Views

from .. import presets
from ..jobs import folders, timer
from ..jobs.job import FAILED, Job
from ..jobs.timer import jobs
from ..setup import preferences, runtime_state
from ..window import background
from . import edits, insert_head
from .cutouts import CutOuts, Known, Subject, subject_of

EDITED = "cutout_edited.png"
"""In a job's folder, what was painted by hand."""


@dataclass(frozen=True)
class Target:
    """Where a head is to go: a scene of the file that was open when its job began."""

    file: int
    scene: int


@dataclass
class Session:
    """What this Blender knows beyond its files.

    Attributes:
        cutouts: the portraits as cut out.
        file: grows with every file that is loaded.
        arrived: jobs whose heads wait to be brought in.
        left: heads in the cache that nobody has imported, the newest first.
        last: the last job that ended, for its timing or error.
        waiting_for: why an arrived head is not brought in yet, for people.
    """

    file: int = 0
    arrived: list[Job] = field(default_factory=list)
    left: list[folders.Finished] = field(default_factory=list)
    last: Job | None = None
    waiting_for: str = ""
    cutouts: CutOuts = field(default_factory=lambda: CutOuts(jobs))


session = Session()


def submit(context, photos: Sequence[str], **settings) -> list[Job]:
    """Start reconstructing `photos` one after the other for the scene of `context`; returns at once.

    Args:
        photos: files; a path beginning with // is relative to the .blend.
        settings: fields of :class:`~facelift_core.jobs.reconstruct.Request` that differ from the scene's settings.

    What was painted in the cut-out of a photo is used.

    Raises:
        FaceLiftError: no photo, one that does not exist, no runtime, or no place for what was painted; then none of
            those is started.
    """
    if not photos:
        raise FaceLiftError("Choose a portrait photo first.")
    paths = [Path(bpy.path.abspath(photo)) for photo in photos]
    if lacking := next((path for path in paths if not path.is_file()), None):
        raise FaceLiftError(f"There is no photo at {lacking}; choose another one.")
    worker = preferences.get(context).worker()
    if worker is None:
        raise FaceLiftError(
            "There is no runtime to reconstruct with; Install Runtime in FaceLift's preferences makes one, or choose a "
            "Python that has PyTorch there."
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
            )
        )
        for request in requests
    ]
    timer.follow()
    return submitted


def head_of(job: Job) -> folders.Finished:
    """What a job in state DONE has made."""
    return folders.Finished(Path(job.request.folder), job.result, claimed=False)


def _heard(job: Job, event: Event) -> None:
    match event:
        case CutOut():
            session.cutouts.learn(job)
        case Views() if job.views is not None and _scene_of(job.target) is not None:
            insert_head.add_picture(job.views, f"{job.title} views")
        case Done():
            session.arrived.append(job)
    if job.over:
        session.last = job


def subject_of_scene(context) -> Subject | None:
    """The scene's photo with what decides how it is cut out; None if there is none."""
    own = context.scene.facelift
    return subject_of(Path(bpy.path.abspath(own.photo)), own.crop, own.matting) if own.photo.strip() else None


def cuts_out_by_itself(context) -> bool:
    """Whether portraits are cut out as soon as somebody looks at the panel, without being asked to."""
    own = preferences.get(context)
    return not (background() or jobs.active("reconstruct")) and runtime_state.current(own).ready


def ask_for_cutout(context, subject: Subject) -> Job:
    """Have the portrait cut out now. Raises FaceLiftError if there is nothing to do it with."""
    worker = preferences.get(context).worker()
    if worker is None:
        raise FaceLiftError("There is no runtime yet; install it, or choose a Python that has PyTorch.")
    job = session.cutouts.ask(subject, worker)
    timer.follow()
    return job


def wait_for_cutout(context, subject: Subject) -> Known | None:
    """As :func:`ask_for_cutout`, to the end; for Blender without a window."""
    timer.wait([ask_for_cutout(context, subject)])
    return session.cutouts.known(subject)


def _watch() -> tuple[bool, bool]:
    """For the timer: begin cut-outs that are looked at, bring in heads that have arrived."""
    changed = session.cutouts.waiting and _cut_out_what_is_looked_at()
    changed = _bring_in_arrived() or changed
    return changed, bool(session.cutouts.waiting or session.arrived)


def _cut_out_what_is_looked_at() -> bool:
    """Whether something has begun."""
    if not cuts_out_by_itself(bpy.context):
        session.cutouts.look_away()
        return False
    session.cutouts.tick(preferences.get().worker(), time.monotonic())
    return not session.cutouts.waiting


def _bring_in_arrived() -> bool:
    """Bring in the heads that wait, or note why not now; whether anything has changed."""
    before = session.waiting_for, len(session.arrived)
    session.waiting_for = ""
    for job in list(session.arrived):
        scene = _scene_of(job.target)
        if scene is not None and (reason := _not_now(scene)):
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
        except Exception as error:  # whatever undo does in the handlers of other add-ons, this timer has to go on
            job.state, job.error = FAILED, str(_not_brought_in(error))
            look_for_left()
    return before != (session.waiting_for, len(session.arrived))


def _scene_of(target: Target) -> bpy.types.Scene | None:
    """None if another file has been loaded since or the scene is gone."""
    if target.file != session.file:
        return None
    return next((scene for scene in bpy.data.scenes if scene.session_uid == target.scene), None)


def _not_now(scene: bpy.types.Scene) -> str:
    """Why nothing may be added to the file at this moment, for people; empty: it may."""
    if bpy.app.is_job_running("RENDER"):
        return "Waiting for the render to end"
    for manager in bpy.data.window_managers:
        for window in manager.windows:
            active = window.view_layer.objects.active
            if window.scene == scene and active is not None and active.mode != "OBJECT":
                return "Waiting for you to return to Object Mode"
    return ""


def bring_in(head: folders.Finished, scene: bpy.types.Scene, scale: float = 1.0) -> bpy.types.Object:
    """Put a finished head into `scene`, `scale` times as large as a real one.

    Raises:
        FaceLiftError: its files are gone or damaged, or a handler of another add-on did something meanwhile.
    """
    try:
        ob = insert_head.add_head(head, scene, scale)
    except FaceLiftError:
        raise
    except Exception as error:  # in an operator, anything else would reach people as a traceback
        raise _not_brought_in(error) from error
    folders.claim(head.folder)
    look_for_left()
    return ob


def _not_brought_in(error: Exception) -> FaceLiftError:
    """What people are told of an error; the console tells all of one that nobody foresaw."""
    if isinstance(error, ReferenceError):
        return FaceLiftError("Something else removed the head in the moment it came in; its files are still there.")
    traceback.print_exception(error)
    return FaceLiftError(f"The head is finished, but could not be brought in: {error}")


def _bring_in_undoably(head: folders.Finished, scene: bpy.types.Scene) -> None:
    """As :func:`bring_in`, from a timer; as one step of undo.

    Where a window shows the scene, by the operator, so that its panel *Adjust Last Operation* has the size.
    """
    managers = [] if background() else bpy.data.window_managers
    windows = [window for manager in managers for window in manager.windows]
    if showing := next((window for window in windows if window.scene == scene), None):
        area = next((area for area in showing.screen.areas if area.type == "VIEW_3D"), None)
        region = next((region for region in area.regions if region.type == "WINDOW"), None) if area else None
        with bpy.context.temp_override(window=showing, area=area, region=region):
            try:
                bpy.ops.facelift.import_head("EXEC_DEFAULT", True, folder=str(head.folder))
            except RuntimeError as error:  # how an operator's report of an error reaches a script
                raise FaceLiftError(str(error).removeprefix("Error: ").strip()) from error
        return
    bring_in(head, scene)
    if windows:
        with bpy.context.temp_override(window=windows[0]):
            bpy.ops.ed.undo_push(message="Reconstruct Face")


def look_for_left() -> None:
    """Look again which finished heads nobody has imported; not while drawing, for it reads files."""
    waiting = {Path(job.request.folder) for job in session.arrived}
    session.left = [head for head in folders.unclaimed() if head.folder not in waiting]


def clear_cache() -> None:
    """Remove what no job of this Blender is working on."""
    folders.clear({Path(job.request.folder) for job in (*jobs.active("reconstruct"), *session.arrived)})
    look_for_left()


@persistent
def _file_loaded(*_) -> None:
    session.file += 1
    look_for_left()


def _first_look() -> None:
    """A moment after registering, when Blender is there: not part of its start."""
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

"""Jobs of the worker about a head in the scene, and what becomes of their results. Call from the main thread.

The head may be renamed, moved, or deleted, or another file loaded, while the worker is busy; only its ID is kept.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import bpy
from facelift_core import FaceLiftError
from facelift_core.gaussians import files
from facelift_core.gaussians.files import SplatArrays
from facelift_core.processes.protocol import Event

from . import window
from .jobs import folders, timer
from .jobs.job import DONE, FAILED, Job
from .reconstruct import session
from .setup import preferences

FOLDER = "heads"
"""Folder of the cache in which these jobs have their folders."""
HEAD = "head.ply"
IDLE_SECONDS = 30.0
"""The worker for these ends soon: it is seldom needed, and the one for heads stays."""
Use = Callable[[Path, bpy.types.Object, bpy.types.Scene], None]


@dataclass(frozen=True)
class Target:
    """The head that a job is about.

    Attributes:
        file: which file was open, see :class:`facelift_blender.reconstruct.session.Session`.
        head: session ID of the object.
        scene: session ID of the scene.
        folder: of the job.
        use: called with the job's folder, the head and the scene when the worker has finished.
        step: name of the undo step for that.
    """

    file: int
    head: int
    scene: int
    folder: Path
    use: Use
    step: str


_arrived: list[Job] = []


def busy(kind: str, head: bpy.types.Object) -> bool:
    """Whether a job of that kind about `head` waits or runs."""
    return any(job.target.head == head.session_uid for job in timer.jobs.active(kind))


def submit(
    context,
    kind: str,
    title: str,
    head: bpy.types.Object,
    splats: SplatArrays,
    request: Callable[[Path], Any],
    use: Use,
    step: str,
) -> Job:
    """Submit a job about `head`; in background mode, wait until its result is used.

    Args:
        kind: of the job; one at a time for each head.
        title: for the panel.
        splats: what the worker is given of the head, as HEAD in the job's folder.
        request: makes the job's request for its folder.
        use, step: see :class:`Target`.

    Raises:
        FaceLiftError: there is no runtime, a job of that kind about this head is active, or the files cannot be
            written; in background mode, also if the job fails.
    """
    worker = preferences.get(context).worker()
    if worker is None:
        raise FaceLiftError(f"“{step}” needs the runtime. Click Install Runtime in FaceLift's preferences first.")
    if busy(kind, head):
        raise FaceLiftError(f"“{step}” is in progress for “{head.name}” already.")
    folder = folders.cache_folder() / FOLDER / uuid.uuid4().hex
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise FaceLiftError(f"Cannot create the folder {folder}: {error.strerror}.") from None
    files.write(splats, folder / HEAD)
    target = Target(session.session.file, head.session_uid, context.scene.session_uid, folder, use, step)
    worker = replace(worker, idle_seconds=min(worker.idle_seconds, IDLE_SECONDS))
    job = timer.run(Job(kind, title, request(folder), worker, _heard, target=target))
    if window.background():
        _watch()
        if job.state == FAILED:
            raise FaceLiftError(job.error)
    return job


def _heard(job: Job, event: Event) -> None:
    if job.state == DONE:
        _arrived.append(job)
    elif job.over:
        folders.remove(job.target.folder)


def _watch() -> tuple[bool, bool]:
    """Timer watcher: use what has arrived, when that is possible."""
    changed = False
    for job in list(_arrived):
        head, scene = _head_of(job.target), session.scene_of(job.target)
        if head is not None and scene is not None and session.not_now(scene):
            continue
        _arrived.remove(job)
        changed = True
        if head is not None and scene is not None:
            _use_undoably(job, head, scene)
        folders.remove(job.target.folder)
    return changed, bool(_arrived)


def _head_of(target: Target) -> bpy.types.Object | None:
    """The target's head; None if another file has been loaded or it was deleted."""
    if target.file != session.session.file:
        return None
    return next((item for item in bpy.data.objects if item.session_uid == target.head), None)


def _use_undoably(job: Job, head: bpy.types.Object, scene: bpy.types.Scene) -> None:
    try:
        job.target.use(job.target.folder, head, scene)
    except FaceLiftError as error:
        job.state, job.error = FAILED, str(error)
        return
    windows = [] if window.background() else [w for m in bpy.data.window_managers for w in m.windows]
    if windows:
        with bpy.context.temp_override(window=windows[0]):
            bpy.ops.ed.undo_push(message=job.target.step)


def attach() -> None:
    """Use results from the timer."""
    _arrived.clear()
    timer.watch(_watch)

"""Jobs for a head, and what becomes of their results. Call everything from the main thread."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import bpy
from facelift_core import FaceLiftError
from facelift_core.processes.protocol import Event

from .. import window
from ..jobs import folders, timer
from ..jobs.job import DONE, FAILED, Job
from ..reconstruct import session
from ..setup import preferences

IDLE_SECONDS = 30.0
"""The worker for faces ends soon: it is seldom needed, and the one for heads stays."""
Use = Callable[[Path, bpy.types.Object, bpy.types.Scene], None]


@dataclass(frozen=True)
class Target:
    """The head that a job is for.

    Attributes:
        file: which file was open, see :class:`facelift_blender.reconstruct.session.Session`.
        head: session ID of the object.
        scene: session ID of the scene.
        result: file that the worker writes.
        use: called with that file, the head and the scene.
        undo: name of the step for Undo.
    """

    file: int
    head: int
    scene: int
    result: Path
    use: Use
    undo: str


_arrived: list[Job] = []


def new_folder() -> Path:
    """A folder for the files of one job.

    Raises:
        FaceLiftError: it cannot be created.
    """
    folder = folders.cache_folder() / "faces" / uuid.uuid4().hex
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise FaceLiftError(f"Cannot create the folder {folder}: {error.strerror}.") from None
    return folder


def run(context, head: bpy.types.Object, kind: str, title: str, request: Any, result: Path, use: Use, undo: str) -> Job:
    """Submit a job for `head`; in background mode, wait until its result has been used.

    Args:
        result: the file that the worker writes, in a folder of :func:`new_folder`, which is deleted at the end.

    Raises:
        FaceLiftError: there is no runtime, or one of these jobs is active for this head; in background mode, the job
            or the use of its result failed.
    """
    target = Target(session.session.file, head.session_uid, context.scene.session_uid, result, use, undo)
    try:
        worker = preferences.get(context).worker()
        if worker is None:
            raise FaceLiftError(f"{undo} needs the runtime. Click Install Runtime in FaceLift's preferences first.")
        if any(job.target.head == head.session_uid for job in timer.jobs.active(kind)):
            raise FaceLiftError(f"{undo} is running for “{head.name}” already.")
    except FaceLiftError:
        folders.remove(result.parent)
        raise
    worker = replace(worker, idle_seconds=min(worker.idle_seconds, IDLE_SECONDS))
    job = timer.run(Job(kind, title, request, worker, _heard, target=target))
    if window.background():
        _watch()
        if job.state == FAILED:
            raise FaceLiftError(job.error)
    return job


def _heard(job: Job, event: Event) -> None:
    if job.state == DONE:
        _arrived.append(job)
    elif job.over:
        folders.remove(job.target.result.parent)


def _watch() -> tuple[bool, bool]:
    """Timer watcher: use results, when that is possible."""
    changed = False
    for job in list(_arrived):
        head, scene = _head_of(job.target), session.scene_of(job.target)
        if head is not None and scene is not None and session.not_now(scene):
            continue
        _arrived.remove(job)
        changed = True
        if head is not None and scene is not None:
            _use_undoably(job, head, scene)
        folders.remove(job.target.result.parent)
    return changed, bool(_arrived)


def _head_of(target: Target) -> bpy.types.Object | None:
    """The target's head; None if another file has been loaded or it was deleted."""
    if target.file != session.session.file:
        return None
    return next((item for item in bpy.data.objects if item.session_uid == target.head), None)


def _use_undoably(job: Job, head: bpy.types.Object, scene: bpy.types.Scene) -> None:
    try:
        job.target.use(job.target.result, head, scene)
    except FaceLiftError as error:
        job.state, job.error = FAILED, str(error)
        return
    windows = [] if window.background() else [w for m in bpy.data.window_managers for w in m.windows]
    if windows:
        with bpy.context.temp_override(window=windows[0]):
            bpy.ops.ed.undo_push(message=job.target.undo)


def attach() -> None:
    _arrived.clear()
    timer.watch(_watch)

"""Makes meshes of heads in the worker and inserts them into the scene. Call everything from the main thread."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import bpy
from facelift_core import FaceLiftError
from facelift_core.gaussians import files
from facelift_core.jobs.mesh import Request
from facelift_core.processes.protocol import Event

from .. import window
from ..jobs import folders, timer
from ..jobs.job import DONE, FAILED, Job
from ..reconstruct import session
from ..setup import preferences
from ..splats import exporting, objects
from .mesh_data import load_mesh

KIND = "mesh"
MESH = "facelift_mesh"
"""Custom property of a head: the object with its mesh."""
IDLE_SECONDS = 30.0
"""The worker for meshes ends soon: it is seldom needed, and the one for heads stays."""


@dataclass(frozen=True)
class Target:
    """The head that a mesh is for.

    Attributes:
        file: which file was open, see :class:`facelift_blender.reconstruct.session.Session`.
        head: session ID of the object.
        scene: session ID of the scene.
        use: called with the head and the object of the mesh when it is there.
    """

    file: int
    head: int
    scene: int
    use: Callable[[bpy.types.Object, bpy.types.Object], None] | None = None


_arrived: list[Job] = []


def mesh_of(head: bpy.types.Object) -> bpy.types.Object | None:
    """The mesh that was made of a head, if it is still in the scene."""
    found = head.get(MESH)
    return found if isinstance(found, bpy.types.Object) and found.users_scene else None


def make_mesh(
    context,
    head: bpy.types.Object,
    faces: int = 50_000,
    texture: int = 2048,
    bottom: str = "flat",
    use: Callable[[bpy.types.Object, bpy.types.Object], None] | None = None,
) -> Job:
    """Submit the job that makes a mesh of `head` with all its edits; in background mode, wait until it is inserted.

    Raises:
        FaceLiftError: there is no runtime, nothing is left of the head, or a mesh of it is being made.
    """
    worker = preferences.get(context).worker()
    if worker is None:
        raise FaceLiftError("Making a mesh needs the runtime. Click Install Runtime in FaceLift's preferences first.")
    if any(job.target.head == head.session_uid for job in timer.jobs.active(KIND)):
        raise FaceLiftError(f"A mesh of “{head.name}” is being made already.")
    splats = exporting.edited(context.scene, head, apply_transform=False)
    if not len(splats):
        raise FaceLiftError(f"“{head.name}” has no visible splats to make a mesh of.")
    folder = folders.cache_folder() / "meshes" / uuid.uuid4().hex
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise FaceLiftError(f"Cannot create the folder {folder}: {error.strerror}.") from None
    files.write(splats, folder / "head.ply")
    request = Request(str(folder / "head.ply"), str(folder / "mesh.npz"), faces, texture, bottom)
    target = Target(session.session.file, head.session_uid, context.scene.session_uid, use)
    worker = replace(worker, idle_seconds=min(worker.idle_seconds, IDLE_SECONDS))
    job = timer.run(Job(KIND, f"Mesh of {head.name}", request, worker, _heard, target=target))
    if window.background():
        _watch()
        if job.state == FAILED:
            raise FaceLiftError(job.error)
    return job


def _heard(job: Job, event: Event) -> None:
    if job.state == DONE:
        _arrived.append(job)
    elif job.over:
        folders.remove(Path(job.request.file).parent)


def _watch() -> tuple[bool, bool]:
    """Timer watcher: insert finished meshes, when that is possible."""
    changed = False
    for job in list(_arrived):
        head, scene = _head_of(job.target), session.scene_of(job.target)
        if head is not None and scene is not None and session.not_now(scene):
            continue
        _arrived.remove(job)
        changed = True
        if head is not None and scene is not None:
            _insert_undoably(job, head, scene)
        folders.remove(Path(job.request.file).parent)
    return changed, bool(_arrived)


def _head_of(target: Target) -> bpy.types.Object | None:
    """The target's head; None if another file has been loaded or it was deleted."""
    if target.file != session.session.file:
        return None
    return next((item for item in bpy.data.objects if item.session_uid == target.head), None)


def _insert_undoably(job: Job, head: bpy.types.Object, scene: bpy.types.Scene) -> None:
    try:
        made = insert(Path(job.request.file), head)
        if job.target.use is not None:
            job.target.use(head, made)
    except FaceLiftError as error:
        job.state, job.error = FAILED, str(error)
        return
    windows = [] if window.background() else [w for m in bpy.data.window_managers for w in m.windows]
    if windows:
        with bpy.context.temp_override(window=windows[0]):
            bpy.ops.ed.undo_push(message="Make Mesh")


def insert(path: Path, head: bpy.types.Object) -> bpy.types.Object:
    """Add the mesh in `path` as a child of `head`, at the same place; it replaces an earlier mesh's data.

    Raises:
        FaceLiftError: the file is missing or damaged.
    """
    data = load_mesh(path, f"{head.name} Mesh")
    item = mesh_of(head)
    if item is not None:
        old = item.data
        for user in [other for other in bpy.data.objects if other.data == old]:  # its shadow, too
            user.data = data
        bpy.data.meshes.remove(old)
        return item
    item = bpy.data.objects.new(data.name, data)
    for collection in head.users_collection:
        collection.objects.link(item)
    item.parent = head  # without an inverse: the same transform
    head[MESH] = item
    return item


def is_head(item: bpy.types.Object | None) -> bool:
    return objects.is_splat_object(item)


def attach() -> None:
    _arrived.clear()
    timer.watch(_watch)

"""Makes meshes of heads in the worker and inserts them into the scene. Call everything from the main thread."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import bpy
from facelift_core import FaceLiftError
from facelift_core.jobs.mesh import Request

from .. import head_jobs
from ..jobs.job import Job
from ..splats import exporting, objects
from .mesh_data import load_mesh

KIND = "mesh"
MESH = "facelift_mesh"
"""Custom property of a head: the object with its mesh."""
FILE = "mesh.npz"


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
    quads: bool = False,
    use: Callable[[bpy.types.Object, bpy.types.Object], None] | None = None,
) -> Job:
    """Submit the job that makes a mesh of `head` with all its edits; in background mode, wait until it is inserted.

    Args:
        quads: make quads, at most `faces`, without texture: colors are those of the vertices.
        use: called with the head and the object of the mesh when it is there.

    Raises:
        FaceLiftError: nothing is left of the head, or as :func:`facelift_blender.head_jobs.submit`.
    """
    splats = exporting.edited(context.scene, head, apply_transform=False)
    if not len(splats):
        raise FaceLiftError(f"“{head.name}” has no visible splats to make a mesh of.")

    def request(folder: Path) -> Request:
        return Request(str(folder / head_jobs.HEAD), str(folder / FILE), faces, texture, bottom)

    def insert_and_use(folder: Path, head: bpy.types.Object, scene: bpy.types.Scene) -> None:
        made = insert(folder / FILE, head, faces if quads else 0)
        if use is not None:
            use(head, made)

    title = f"Mesh of {head.name}"
    return head_jobs.submit(context, KIND, title, head, splats, request, insert_and_use, "Make Mesh")


def insert(path: Path, head: bpy.types.Object, quads: int = 0) -> bpy.types.Object:
    """Add the mesh in `path` as a child of `head`, at the same place; it replaces an earlier mesh's data.

    Args:
        quads: see :func:`.mesh_data.load_mesh`.

    Raises:
        FaceLiftError: the file is missing or damaged.
    """
    data = load_mesh(path, f"{head.name} Mesh", quads)
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

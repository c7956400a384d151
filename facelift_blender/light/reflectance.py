"""Normals and albedo of a head's Gaussians: found by the worker, stored as attributes of the point cloud."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import bpy
import numpy as np
from facelift_core import FaceLiftError
from facelift_core.jobs.relight import Request

from .. import head_jobs
from ..jobs.job import Job
from ..splats import attributes, exporting

KIND = "relight"
FILE = "reflectance.npz"


def has_reflectance(head: bpy.types.Object) -> bool:
    """Whether the Gaussians of `head` have normals and albedo."""
    return attributes.NORMAL in head.data.attributes and attributes.ALBEDO in head.data.attributes


def find_reflectance(context, head: bpy.types.Object, use: Callable[[bpy.types.Object], None] | None = None) -> Job:
    """Submit the job that finds normals and albedo of `head`; in background mode, wait until they are stored.

    All stored Gaussians take part, also those that are deleted or cropped.

    Args:
        use: called with the head when they are stored.

    Raises:
        FaceLiftError: as :func:`facelift_blender.head_jobs.submit`.
    """
    splats = exporting.stored(context.scene, head, apply_transform=False)

    def request(folder: Path) -> Request:
        return Request(str(folder / head_jobs.HEAD), str(folder / FILE))

    def store(folder: Path, head: bpy.types.Object, scene: bpy.types.Scene) -> None:
        store_reflectance(folder / FILE, head.data)
        if use is not None:
            use(head)

    title = f"Light of {head.name}"
    return head_jobs.submit(context, KIND, title, head, splats, request, store, "Scene Light")


def store_reflectance(path: Path, cloud: bpy.types.PointCloud) -> None:
    """Store the normals and the albedo of the worker's file with the points of `cloud`.

    Raises:
        FaceLiftError: the file is missing or damaged, or belongs to other Gaussians.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            normals, albedo = (np.asarray(file[key], np.float32) for key in ("normals", "albedo"))
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise FaceLiftError("What was found about the head's light cannot be read; choose Scene again.") from error
    count = len(cloud.points)
    if normals.shape != (count, 3) or albedo.shape != (count, 3):
        raise FaceLiftError("The head has changed while its light was removed; choose Scene again.")
    normals, albedo = np.nan_to_num(normals), np.nan_to_num(albedo).clip(0, 1)
    attributes.write_surface(cloud, normals, np.column_stack([albedo, np.ones(count, np.float32)]))

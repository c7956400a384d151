"""Makes rigs of heads in the worker. Call everything from the main thread."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import bpy
import numpy as np
from facelift_core import FaceLiftError
from facelift_core.animation.files import load_rig
from facelift_core.animation.rig import Rig
from facelift_core.gaussians.arrays import SplatArrays
from facelift_core.gaussians.transforms import transform
from facelift_core.jobs.rig import Request

from .. import head_jobs
from ..jobs.job import Job
from . import rigs
from .model_space import from_model

KIND = "rig"
FILE = "rig.npz"


def rig_face(context, head: bpy.types.Object) -> Job:
    """Submit the job that makes a rig of `head`; in background mode, wait until it is inserted.

    Raises:
        FaceLiftError: the head has no splats, or as :func:`facelift_blender.head_jobs.submit`.
    """
    splats = in_model_space(head, context.scene)

    def request(folder: Path) -> Request:
        return Request(str(folder / head_jobs.HEAD), str(folder / FILE))

    title = f"Face of {head.name}"
    return head_jobs.submit(context, KIND, title, head, splats, request, _insert, "Rig Face")


def in_model_space(head: bpy.types.Object, scene: bpy.types.Scene) -> SplatArrays:
    """The splats of `head` without those that came with a rig, where the model had them.

    Raises:
        FaceLiftError: the head has no splats.
    """
    splats = rigs.own_splats(head)
    if not len(splats):
        raise FaceLiftError(f"“{head.name}” has no splats.")
    return transform(splats, np.linalg.inv(from_model(head, scene, splats.positions)))


def _insert(folder: Path, head: bpy.types.Object, scene: bpy.types.Scene) -> None:
    rig = load_rig(folder / FILE)
    rigs.insert(placed(rig, from_model(head, scene, rigs.own_splats(head).positions)), head)


def placed(rig: Rig, matrix: np.ndarray) -> Rig:
    """`rig` in another space.

    Args:
        matrix: (4, 4), of a rotation, a uniform scale and a translation.
    """
    linear, shift = matrix[:3, :3].astype(np.float32), matrix[:3, 3].astype(np.float32)
    mesh = replace(
        rig.mesh,
        vertices=rig.mesh.vertices @ linear.T + shift,
        shapes=rig.mesh.shapes @ linear.T,
        neutral=rig.mesh.neutral @ linear.T,
        joints=rig.mesh.joints @ linear.T + shift,
    )
    return replace(rig, gaussians=transform(rig.gaussians, matrix), mesh=mesh)

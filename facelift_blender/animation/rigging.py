"""Makes rigs of heads in the worker. Call everything from the main thread."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import bpy
import numpy as np
from facelift_core import FaceLiftError
from facelift_core.animation.files import load_rig
from facelift_core.animation.rig import Rig
from facelift_core.gaussians import files
from facelift_core.gaussians.transforms import transform
from facelift_core.jobs.rig import Request

from ..jobs.job import Job
from . import background, rigs
from .model_space import from_model

KIND = "rig"


def rig_face(context, head: bpy.types.Object) -> Job:
    """Submit the job that makes a rig of `head`; in background mode, wait until it is inserted.

    Raises:
        FaceLiftError: there is no runtime, the head has no splats, or a rig of it is being made; in background mode,
            also if no face was found.
    """
    splats = rigs.own_splats(head)
    if not len(splats):
        raise FaceLiftError(f"“{head.name}” has no splats.")
    folder = background.new_folder()
    to_model = np.linalg.inv(from_model(head, context.scene, splats.positions))
    files.write(transform(splats, to_model), folder / "head.ply")
    request = Request(str(folder / "head.ply"), str(folder / "rig.npz"))
    title = f"Face of {head.name}"
    return background.run(context, head, KIND, title, request, folder / "rig.npz", _insert, "Rig Face")


def _insert(path: Path, head: bpy.types.Object, scene: bpy.types.Scene) -> None:
    rig = load_rig(path)
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

"""Face captures and videos onto heads. Call everything from the main thread."""

from __future__ import annotations

from pathlib import Path

import bpy
from facelift_core.animation.capture import read_take
from facelift_core.jobs.track import Request

from .. import head_jobs
from ..jobs.job import Job
from . import posing, rigging, takes

KIND = "track"
FILE = "take.json"


def import_take(scene: bpy.types.Scene, head: bpy.types.Object, path: Path, turn_head: bool = True) -> str:
    """Animate the face of `head` with the file of a face capture, from the current frame on; returns what was done.

    Raises:
        FaceLiftError: the head has no face, or the file is missing, damaged or no face capture.
    """
    posing.sliders(head)
    take = read_take(path)
    frames = takes.insert(scene, head, take, path.stem, turn_head)
    return " ".join([f"Frames {scene.frame_current} to {scene.frame_current + frames - 1}.", *take.notes])


def animate_from_video(context, head: bpy.types.Object, path: Path, turn_head: bool = True) -> Job:
    """Submit the job that finds the expressions in a video, to animate `head` with them from the current frame on.

    Raises:
        FaceLiftError: the head has no face or no splats, or as :func:`facelift_blender.head_jobs.submit`.
    """
    posing.sliders(head)
    first = context.scene.frame_current

    def request(folder: Path) -> Request:
        return Request(str(path), str(folder / FILE), str(folder / head_jobs.HEAD))

    def use(folder: Path, head: bpy.types.Object, scene: bpy.types.Scene) -> None:
        takes.insert(scene, head, read_take(folder / FILE), path.stem, turn_head, first)

    title = f"Expressions in {path.name}"
    splats = rigging.in_model_space(head, context.scene)
    return head_jobs.submit(context, KIND, title, head, splats, request, use, "Animate from Video")

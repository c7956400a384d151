"""Face captures and videos onto heads. Call everything from the main thread."""

from __future__ import annotations

from pathlib import Path

import bpy
from facelift_core.animation.capture import read_take
from facelift_core.jobs.track import Request

from ..jobs.job import Job
from . import background, posing, takes

KIND = "track"


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
        FaceLiftError: the head has no face, there is no runtime, or a video is being used for it; in background mode,
            also if there is no face in the video.
    """
    posing.sliders(head)
    folder = background.new_folder()
    first = context.scene.frame_current

    def use(result: Path, head: bpy.types.Object, scene: bpy.types.Scene) -> None:
        take = read_take(result)
        takes.insert(scene, head, take, path.stem, turn_head, first)

    request = Request(str(path), str(folder / "take.json"))
    title = f"Expressions in {path.name}"
    return background.run(context, head, KIND, title, request, folder / "take.json", use, "Animate from Video")

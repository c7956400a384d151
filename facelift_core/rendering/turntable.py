"""Write turntable videos: once around the head (docs/model.md, 5.3)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from ..gaussians.tensors import Gaussians
from ..progress import Cancel, Monitor, ProgressCallback
from . import render
from .cameras import intrinsics, turntable
from .video import check_video, write_video

FRAMES = 150
FPS = 30


def write_turntable(
    gaussians: Gaussians,
    path: str | Path,
    frames: int = FRAMES,
    fps: float = FPS,
    size: int = 512,
    start: float = 270.0,
    elevation: float = 0.0,
    background: Sequence[float] | Tensor = (1.0, 1.0, 1.0),
    progress: ProgressCallback | None = None,
    cancelled: Cancel | None = None,
) -> None:
    """Write an .mp4 (H.264, yuv420p) of one turn around the head, counterclockwise seen from above.

    Args:
        gaussians: the head.
        path: file to write, atomically.
        frames: number of frames.
        fps: frames per second.
        size: side in pixels; must be even.
        start: azimuth of the first frame in degrees; 270 is in front of the face.
        elevation: degrees above the horizon.
        background: display-referred RGB.
        progress: called before each frame and at the end, with the stage "turntable", a fraction and a message.
        cancelled: polled before each frame; returns true to stop.

    Raises:
        FaceLiftError: the settings are invalid, ffmpeg is missing, or the video cannot be written.
        Cancelled: `cancelled` returned true.
    """
    path = Path(path)
    check_video(path, frames, fps, size)
    c2w = turntable(frames, start, elevation)
    focal = intrinsics(size)
    monitor = Monitor("turntable", progress, cancelled)
    monitor.check()

    def picture(i: int) -> Tensor:
        monitor(i / frames, f"Frame {i + 1} of {frames}")
        return render(gaussians, c2w[i], focal, size, size, background)[0]

    with torch.no_grad():
        write_video(picture, frames, size, fps, path)
    monitor(1.0, "Turntable written")

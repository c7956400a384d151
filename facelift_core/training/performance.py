"""A synthetic person who acts in a video: known weights and head angles, to measure what tracking finds of them."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import torch

from ..animation.rig import SHAPES
from ..animation.take import Take
from ..rendering import cameras
from .heads.render import on_white, render
from .heads.scene import make_head

FPS = 24
SIZE = 512
FRONT = 270.0
TURN, NOD = 15.0, 8.0
"""Largest angles of the head in degrees."""


@dataclass(frozen=True)
class Act:
    """One movement: up to `strength` and back, between two fractions of the video.

    Attributes:
        names: the shapes that take part.
    """

    names: tuple[str, ...]
    strength: float
    start: float
    end: float


def _both(stem: str) -> tuple[str, str]:
    return f"{stem}Left", f"{stem}Right"


ACTS = (
    Act(_both("eyeBlink"), 1.0, 0.06, 0.20),
    Act(_both("mouthSmile"), 0.9, 0.12, 0.44),
    Act(("browInnerUp", *_both("browOuterUp")), 0.9, 0.30, 0.54),
    Act(("jawOpen",), 0.7, 0.42, 0.70),
    Act(_both("browDown"), 0.8, 0.58, 0.80),
    Act(("eyeBlinkLeft",), 0.9, 0.66, 0.82),
    Act(("mouthPucker",), 0.9, 0.72, 0.96),
)


def performance(frames: int) -> Take:
    """A smile, an open jaw, brows, blinks, and a pucker, while the head turns; at rest at the beginning."""
    phase = np.arange(frames) / max(frames - 1, 1)
    weights = np.zeros((frames, len(SHAPES)), np.float32)
    for act in ACTS:
        progress = np.clip((phase - act.start) / (act.end - act.start), 0, 1)
        bump = act.strength * np.sin(np.pi * progress) ** 2
        for name in act.names:
            column = weights[:, SHAPES.index(name)]
            np.maximum(column, bump, out=column)
    head = np.radians([TURN, NOD, 0]) * np.stack([np.sin(2 * np.pi * phase), np.sin(4 * np.pi * phase), 0 * phase], 1)
    return Take(weights, head.astype(np.float32), np.arange(frames) / FPS)


def pictures(seed: int, take: Take) -> Iterator[np.ndarray]:
    """(512, 512, 3) uint8 frames of the synthetic person with this seed."""
    for weights, (yaw, pitch, _) in zip(take.weights, np.degrees(take.head), strict=True):
        actions = {SHAPES[k]: float(weights[k]) for k in np.flatnonzero(weights)}
        c2w = cameras.orbit(torch.tensor([FRONT - yaw]), torch.tensor([-pitch])).numpy().astype(np.float32)
        yield np.asarray(on_white(render(make_head(seed, actions), c2w, SIZE).rgba[0]))


def write_frames(path: Path, frames: Iterable[np.ndarray], fps: float) -> None:
    """Encode (H, W, 3) uint8 frames, with even sides, as .mp4."""
    frames = list(frames)
    height, width = frames[0].shape[:2]
    source = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", str(fps), "-i", "-"]
    target = ["-c:v", "libx264", "-crf", "23", "-pix_fmt", "yuv420p", str(path.absolute())]
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", *source, *target]
    subprocess.run(command, input=b"".join(frame.tobytes() for frame in frames), check=True)

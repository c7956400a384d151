"""Heads with an expression, turned, and films of a take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

from ..errors import FaceLiftError
from ..gaussians.tensors import Gaussians
from ..progress import Cancel, Monitor, ProgressCallback
from ..rendering import cameras, render
from ..rendering.video import check_video, write_video
from .deform import deform, deformed_vertices
from .rig import BONES, SHAPES, FaceMesh, Rig, left_to_add
from .take import Take, resample

NECK_SHARE = 0.4
"""Share of a turn of the head that happens at the base of the neck."""
STRONGEST = 2.0
"""Largest strength of a shape; more than 1 exaggerates."""


def animate(
    rig: Rig,
    weights: Mapping[str, float] | Sequence[float] | np.ndarray,
    turn: np.ndarray | None = None,
    neutral: float = 0.0,
) -> Gaussians:
    """The Gaussians of a head with an expression.

    Args:
        rig: of the head, see :func:`facelift_core.make_rig`.
        weights: strengths by name, such as {"jawOpen": 0.5}, or all 52 in the order of :data:`SHAPES`. They add to the
            expression of the photo, and the less, the more of a shape it has already.
        turn: (3, 3) rotation of the head in the world, or None.
        neutral: from 0 (keep the expression of the photo) to 1 (take it back first).

    Raises:
        FaceLiftError: a name is unknown, or a number is not finite or out of range.
    """
    added = strengths(weights) * left_to_add(rig.mesh.expression, neutral)
    return deform(rig, posed_vertices(rig.mesh, added, turn, neutral)).to_gaussians()


def strengths(weights: Mapping[str, float] | Sequence[float] | np.ndarray) -> np.ndarray:
    """(52,) float32 strengths from those by name, or from all of them.

    Raises:
        FaceLiftError: a name is unknown, or a number is not finite or out of range.
    """
    if isinstance(weights, Mapping):
        unknown = [name for name in weights if name not in SHAPES]
        if unknown:
            raise FaceLiftError(f"There is no shape “{unknown[0]}”; the names are those of ARKit, such as jawOpen.")
        weights = [weights.get(name, 0.0) for name in SHAPES]
    try:
        values = np.asarray(weights, np.float32)
    except (TypeError, ValueError):
        values = np.empty(0)
    if values.shape != (len(SHAPES),):
        raise FaceLiftError(f"An expression has {len(SHAPES)} weights.")
    if not (np.abs(values) <= STRONGEST).all():
        raise FaceLiftError(f"The weight of a shape is a number from 0 to 1, and {STRONGEST:g} at most.")
    return values


def posed_vertices(
    mesh: FaceMesh, weights: np.ndarray, turn: np.ndarray | None = None, neutral: float = 0.0
) -> np.ndarray:
    """(V, 3) float32 vertices of the mesh with an expression, after the head has turned on its neck.

    Args: as of :func:`animate`; `weights` is an array.
    """
    vertices = deformed_vertices(mesh, weights, neutral)
    if turn is None:
        return vertices
    whole = Rotation.from_matrix(turn)
    lower = Rotation.from_rotvec(NECK_SHARE * whole.as_rotvec())
    upper = lower.inv() * whole
    (neck, _), (head, _) = mesh.joints[:2].astype(np.float64)
    with_head = neck + lower.apply(head + upper.apply(vertices - head) - neck)
    with_neck = neck + lower.apply(vertices - neck)
    share_of_neck = mesh.bone_weights[BONES.index("neck")][:, None]
    share_of_head = mesh.bone_weights[BONES.index("head") :].sum(0)[:, None]
    still = 1 - share_of_neck - share_of_head
    return (still * vertices + share_of_neck * with_neck + share_of_head * with_head).astype(np.float32)


def write_film(
    rig: Rig,
    take: Take,
    path: str | Path,
    fps: float = 30.0,
    size: int = 512,
    azimuth: float = 0.0,
    elevation: float = 0.0,
    background: Sequence[float] | Tensor | str = (1.0, 1.0, 1.0),
    progress: ProgressCallback | None = None,
    cancelled: Cancel | None = None,
) -> None:
    """Write an .mp4 of a head that performs a take, starting from a neutral face.

    Args:
        rig: of the head.
        take: the performance.
        path: file to write, atomically.
        fps: frames per second.
        size: side in pixels; must be even.
        azimuth: of the camera in degrees; 0 is in front of the face, 90 the head's left side.
        elevation: of the camera in degrees above the horizon.
        background: display-referred RGB, or a name such as “white” or “#ff8800”.
        progress: called with the stage "film", a fraction, and a message.
        cancelled: polled before each frame; returns true to stop.

    Raises:
        FaceLiftError: the settings are invalid, ffmpeg is missing, or the video cannot be written.
        Cancelled: `cancelled` returned true.
    """
    path = Path(path)
    take = resample(take, fps)
    frames, turns = len(take), take.rotations
    check_video(path, frames, fps, size)
    camera = cameras.orbit(torch.tensor([270.0 + azimuth]), elevation)
    lens = cameras.intrinsics(size)
    monitor = Monitor("film", progress, cancelled)

    def picture(i: int) -> Tensor:
        monitor(i / frames, f"Frame {i + 1} of {frames}")
        gaussians = animate(rig, take.weights[i], turns[i], neutral=1.0)
        return render(gaussians, camera, lens, size, size, background)[0]

    with torch.no_grad():
        write_video(picture, frames, size, fps, path)
    monitor(1.0, "Video written")

"""How far the landmarks and the skin of one reconstructed head answer to its expressions.

Detectors follow some faces farther than others, and a rig opens its jaw as far as its head allows. When a head performs
a video, of the same person as a rule, a weight of 1 has to mean what it means for this head.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from ..progress import Cancel, Monitor, ProgressCallback
from .animate import animate
from .response import POINTS, Response, aligned, pose_terms
from .rig import SHAPES, Rig
from .tracking import Follower
from .views import picture

PROBED = (
    "browDown", "browInnerUp", "browOuterUp", "eyeBlink", "eyeSquint", "eyeWide", "jawOpen", "mouthFrown",
    "mouthFunnel", "mouthLowerDown", "mouthPucker", "mouthSmile", "mouthUpperUp",
)  # fmt: skip
"""Names, without their sides, of the shapes that are shown to the detector."""
SIZE = 256
LEAST, MOST = 0.4, 2.0
"""Limits of the answer of a head relative to that of the synthetic people; what is outside is not seen well."""


def with_answers_of(
    rig: Rig, response: Response, progress: ProgressCallback | None = None, cancelled: Cancel | None = None
) -> Response:
    """The response with the strength at which this head answers to each shape.

    Where no face is found in a view of the head, the response stays as it is.

    Args:
        rig: of the head.
        progress: called with the stage "rig", a fraction, and a message.
        cancelled: polled before each view; returns true to stop.

    Raises:
        Cancelled: `cancelled` returned true.
    """
    monitor = Monitor("rig", progress, cancelled)
    factors = np.ones(len(SHAPES))
    rest = _view(rig, (), response)
    for number, stem in enumerate(PROBED if rest else ()):
        monitor(number / len(PROBED), "Looking at the head's expressions")
        shapes = [SHAPES.index(name) for name in SHAPES if name in (stem, f"{stem}Left", f"{stem}Right")]
        shown = _view(rig, shapes, response)
        if shown:
            change = _seen(shown, rest, response) - _seen(rest, rest, response)
            gain = response.gain[shapes].sum(0)
            strength = (change @ gain) / (response.shapes[shapes].sum(0) @ gain)
            factors[shapes] = np.clip(strength, LEAST, MOST)
    monitor(1.0, "Expressions of the head known")
    scaled = {name: factors[:, None] * getattr(response, name) for name in ("shapes", "gain", "points_gain")}
    return replace(response, **scaled)


def _view(rig: Rig, shapes: list[int] | tuple[()], response: Response) -> tuple[np.ndarray, np.ndarray] | None:
    """What :class:`.tracking.Follower` finds in a front view of the head with some shapes at full strength."""
    weights = np.zeros(len(SHAPES), np.float32)
    weights[list(shapes)] = 1
    with torch.no_grad():
        pixels = np.asarray(picture(animate(rig, weights, neutral=1.0), 0.0, SIZE))
    return Follower(response.chart)(pixels)


def _seen(view: tuple[np.ndarray, np.ndarray], rest: tuple[np.ndarray, np.ndarray], response: Response) -> np.ndarray:
    """(D,) what is seen of a view, without what its turn does to it."""
    mean = response.mean[: 3 * POINTS].reshape(POINTS, 3)
    placed, told = aligned(view[0][None].astype(np.float64), mean, response.steadiness)
    skin = response.chart.moved(rest[1], view[1])
    return np.concatenate([placed.ravel(), skin]) - (pose_terms(told) @ response.poses)[0]

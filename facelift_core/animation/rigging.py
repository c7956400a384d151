"""Make a rig for a head: fit the face mesh, bind the Gaussians to it, and add what the photo does not show."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from ..gaussians.arrays import SplatArrays
from ..gaussians.tensors import Gaussians
from ..progress import Cancel, Monitor, ProgressCallback
from ..rendering import cameras, render
from .binding import behind_lips, bind
from .covered import hide_covered
from .discs import Layer
from .eyes import eyeballs, hidden_eye, put_on_eyeballs
from .fit import fit_face
from .front import SIDE, front_view
from .mouth import hidden_parts
from .parted_lips import PASSES, with_lips_on_picture
from .rig import FaceMesh, Rig
from .template import load_template

FITTED, BOUND = 0.7, 0.8
"""Fractions of the whole after the fit and after the binding."""


def make_rig(gaussians: Gaussians, progress: ProgressCallback | None = None, cancelled: Cancel | None = None) -> Rig:
    """Make a rig for a head.

    Args:
        gaussians: the head, in the world of docs/model.md, 5: Z up, facing −Y.
        progress: called with the stage "rig", a fraction of the whole run, and a message.
        cancelled: polled; returns true to stop.

    Raises:
        FaceLiftError: no face is found in the front view of the head.
        Cancelled: `cancelled` returned true.
    """
    monitor = Monitor("rig", progress, cancelled)

    def fitting(_: str, fraction: float, message: str) -> None:
        monitor(FITTED * fraction, message)

    mesh = fit_face(gaussians, fitting, cancelled)
    return rig_with(gaussians, mesh, monitor)


def rig_with(gaussians: Gaussians, mesh: FaceMesh, monitor: Monitor) -> Rig:
    """Make a rig for a head whose face mesh is known."""
    monitor(FITTED, "Binding the head to the face")
    splats = SplatArrays.from_gaussians(gaussians)
    picture = _front_picture(gaussians)
    for _ in range(PASSES):
        mesh = with_lips_on_picture(mesh, front_view(picture, mesh))
    view = front_view(picture, mesh)
    binding, inside = bind(splats, mesh, view)
    monitor(BOUND, "Completing eyes and mouth")
    eyes = eyeballs(mesh, view)
    splats = behind_lips(put_on_eyeballs(splats, binding, eyes), binding, inside, mesh)
    splats = hide_covered(splats, binding, mesh, inside)
    whole = Layer(splats, binding)
    added = Layer.joined([
        *(hidden_eye(mesh, view, eye) for eye in eyes),
        hidden_parts(mesh, load_template(), view, gaussians),
    ])  # fmt: skip
    more = np.zeros((len(added.gaussians), splats.sh.shape[1], 3), np.float32)
    more[:, :1] = added.gaussians.sh
    whole = Layer.joined([whole, replace(added, gaussians=replace(added.gaussians, sh=more))])
    monitor(1.0, "Rig made")
    return Rig(whole.gaussians, mesh, whole.binding)


def _front_picture(gaussians: Gaussians) -> np.ndarray:
    """(1024, 1024, 3) float32 sRGB, on white."""
    with torch.no_grad():
        picture = render(gaussians, cameras.six_views()[0], cameras.intrinsics(SIDE), SIDE, SIDE, (1.0, 1.0, 1.0))[0]
    return np.ascontiguousarray(picture.clamp(0, 1).cpu().numpy(), np.float32)

"""What the photo's fine Gaussians cover at the lips: coarse ones, which would span an opened mouth like a curtain."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from ..gaussians.arrays import SplatArrays
from ..rendering import cameras, render_rgba
from .front import SIDE
from .rig import Binding, FaceMesh
from .samples import front_pixels

COARSE = 0.004
"""Standard deviation in world units, about 0.6 mm; a pixel of the photo is a third of it."""
COVERED = 0.9
"""Least alpha of the fine Gaussians before it."""
TRANSPARENT = -12.0
"""Logit of an opacity that no render shows."""


def hide_covered(splats: SplatArrays, binding: Binding, mesh: FaceMesh, inside: np.ndarray) -> SplatArrays:
    """Make coarse Gaussians of the lips transparent where fine ones of the lips cover them.

    Heads whose lips have no fine Gaussians stay as they are.

    Args:
        inside: indices of Gaussians inside the mouth, which stay.
    """
    follows = np.take_along_axis(binding.corners, binding.shares.argmax(1)[:, None], 1)[:, 0]
    lips = np.isin(follows, mesh.parts["lips"])
    lips[inside] = False
    coarse = np.exp(splats.log_scales.max(1)) > COARSE
    hidden, fine = np.flatnonzero(lips & coarse), lips & ~coarse
    if not len(hidden) or not fine.any():
        return splats
    with torch.no_grad():
        picture = render_rgba(
            splats[fine].to_gaussians(), cameras.six_views()[:1], cameras.intrinsics(SIDE), SIDE, SIDE
        )
    alpha = picture[0, ..., 3].numpy()
    column, row = np.clip(np.floor(front_pixels(splats.positions[hidden], SIDE)[0]), 0, SIDE - 1).astype(int).T
    logits = splats.opacity_logits.copy()
    logits[hidden[alpha[row, column] > COVERED]] = TRANSPARENT
    return replace(splats, opacity_logits=logits)

"""Find what a head reflects: remove the light that is in its photo."""

from __future__ import annotations

import numpy as np

from ..errors import FaceLiftError
from ..gaussians.arrays import SplatArrays
from ..gaussians.tensors import Gaussians
from ..photos.colors import srgb_to_linear
from ..progress import Cancel, Monitor, ProgressCallback
from ..rendering.framing import framed
from . import skin
from .normals import agreeing, blended
from .reflectance import Reflectance
from .solid import Solid

AROUND = 0.025
"""Step of the grid in which normals are compared with those around, in the world of docs/model.md, 5."""
DARKER, BRIGHTER = 0.7, 1.0
"""Natural logarithms of the largest ratios between the light of a place and of the face: beyond, an error of the light
would show as a too bright or too dark albedo."""
BRIGHTEST, KNEE = 0.95, 0.7
"""Albedos above KNEE are compressed to stay below BRIGHTEST."""


def estimate(
    gaussians: Gaussians, progress: ProgressCallback | None = None, cancelled: Cancel | None = None
) -> Reflectance:
    """Estimate the normals and the albedo of a head's Gaussians, and the light of its photo.

    The exposure of a photo is unknown. The albedo of the face is what a camera would show at this brightness, so it may
    be wrong by one factor for the whole head.

    Args:
        gaussians: a head with Z up, facing −Y, of any size and at any place.
        progress: called with stage ("surface", "light"), fraction of the whole run, and message.
        cancelled: polled; returns true to stop.

    Returns:
        The reflectance, in the order of the Gaussians.

    Raises:
        FaceLiftError: the Gaussians do not enclose anything, or show no skin of a face.
        Cancelled: `cancelled` returned true.
    """
    surface = Monitor("surface", progress, cancelled, 0.0, 0.5)
    light = Monitor("light", progress, cancelled, 0.5, 1.0)
    splats = SplatArrays.from_gaussians(gaussians)
    solid = Solid.of(splats, lambda share: surface(share, "Finding the surface"))
    normals = blended(splats, solid.normals(splats.positions))
    normals = agreeing(splats.positions, normals, AROUND / solid.scale)
    transfer = solid.transfer(splats.positions, normals, lambda share: light(0.9 * share, "Removing the light"))
    colors = srgb_to_linear(splats.colors.clip(0))
    aligned = SplatArrays.from_gaussians(framed(gaussians)).positions
    opacity = 1 / (1 + np.exp(-splats.opacity_logits))
    shown = skin.is_skin(aligned, normals, opacity, colors)
    if shown.sum() < skin.FEWEST:
        raise FaceLiftError("No skin of a face was found on this head; it has to face −Y, with Z up.")
    around = skin.fitted_light(transfer[shown], colors[shown])
    albedo = without_light(colors, transfer @ around, shown)
    light(1.0, "Removing the light")
    return Reflectance(normals, albedo, around)


def without_light(colors: np.ndarray, arriving: np.ndarray, face: np.ndarray) -> np.ndarray:
    """(N, 3) float32 albedo of `colors` (N, 3) under the light `arriving` there, (N, 3), of the order of the `face`'s.

    Args:
        face: (N,) bool, the skin whose light is the middle of the range.
    """
    middle = np.median(arriving[face].clip(1e-3), axis=0)
    ratio = np.log((arriving / middle).clip(1e-3))
    limit = np.where(ratio < 0, DARKER, BRIGHTER)
    albedo = colors / (middle * np.exp(limit * np.tanh(ratio / limit)))
    over = (albedo - KNEE).clip(0) / (BRIGHTEST - KNEE)
    return np.where(over > 0, KNEE + (BRIGHTEST - KNEE) * np.tanh(over), albedo).clip(0, 1).astype(np.float32)

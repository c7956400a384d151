"""The light of the photo, from the skin in front: its color is nearly the same everywhere, so what differs is light."""

from __future__ import annotations

import numpy as np

from .harmonics import COUNT

MIDDLE, HALF = (-0.02, -0.10), (0.30, 0.38)
"""Middle and half axes of the face, an ellipse in x and z, in the world of docs/model.md, 5, after alignment."""
FRONTAL = 0.25
"""Least cosine between the normal and the direction to the camera in front."""
CHROMA = 0.25
"""Largest distance of skin from the face's median color, as natural logarithms of the ratios of its channels."""
DARK = 0.12
"""Skin is at least this share as bright as the brightest tenth of the face; brows and nostrils are not."""
FEWEST = 100
STIFFNESS = (0.0, 0.02, 0.2)
"""How much light that differs by direction costs, for each order."""
COLORED = 2.0
"""The same for light of another color than on average."""
ROBUST, ROUNDS = 0.12, 8
"""Relative error from which skin counts less, and rounds of least squares."""
EXPOSED, BRIGHTER = 0.87, 0.75
"""A camera shows a face of mean albedo a at a mean brightness of EXPOSED · a ** BRIGHTER."""
ALBEDOS = 0.03, 0.6
"""Range of mean albedos of skin."""


def is_skin(points: np.ndarray, normals: np.ndarray, opacity: np.ndarray, colors: np.ndarray) -> np.ndarray:
    """(N,) bool: which Gaussians show skin of the face.

    Args:
        points, normals: (N, 3) in the world of docs/model.md, 5.
        opacity: (N,) in [0, 1].
        colors: (N, 3) linear sRGB.
    """
    away = (points[:, [0, 2]] - MIDDLE) / HALF
    face = ((away**2).sum(axis=1) < 1) & (normals[:, 1] < -FRONTAL) & (opacity > 0.5) & (colors.min(axis=1) > 1e-3)
    if not face.any():
        return face
    brightness = colors.mean(axis=1)
    face &= brightness > DARK * np.quantile(brightness[face], 0.9)
    logs = np.log(colors.clip(1e-4))
    chroma = logs - logs.mean(axis=1, keepdims=True)
    for _ in range(3):
        near = np.abs(chroma - np.median(chroma[face], axis=0)).max(axis=1) < CHROMA
        if (face & near).sum() < FEWEST:
            break
        face &= near
    return face


def albedo_of_face(colors: np.ndarray) -> np.ndarray:
    """(3,) mean albedo of skin of these (N, 3) linear colors, from its brightness, as a camera exposes faces."""
    mean = colors.mean(axis=0)
    level = np.clip((mean.mean() / EXPOSED) ** (1 / BRIGHTER), *ALBEDOS)
    return mean * (level / mean.mean())


def fitted_light(transfer: np.ndarray, colors: np.ndarray) -> np.ndarray:
    """(9, 3) harmonics of the light under which skin of one albedo has these colors.

    Args:
        transfer: (N, 9), see :meth:`.solid.Solid.transfer`.
        colors: (N, 3) linear sRGB of skin.
    """
    seen = colors / albedo_of_face(colors)
    gray = _solved(transfer, seen.mean(axis=1, keepdims=True), np.zeros((COUNT, 1)), np.repeat(STIFFNESS, (1, 3, 5)))
    return _solved(transfer, seen, gray, np.repeat(np.maximum(STIFFNESS, COLORED), (1, 3, 5))).astype(np.float32)


def _solved(transfer: np.ndarray, seen: np.ndarray, expected: np.ndarray, stiffness: np.ndarray) -> np.ndarray:
    """Robust least squares for light that shows `seen` (N, C), drawn to `expected` by `stiffness` (9,)."""
    transfer, weight = transfer.astype(np.float64), np.ones(len(seen))
    light = np.broadcast_to(expected, (COUNT, seen.shape[1]))
    typical = np.median(seen.mean(axis=1))
    scale = (transfer[:, 0] ** 2).mean()
    for _ in range(ROUNDS):
        left = (transfer * weight[:, None]).T @ transfer / weight.sum() + np.diag(scale * stiffness)
        right = (transfer * weight[:, None]).T @ seen / weight.sum() + (scale * stiffness)[:, None] * expected
        light = np.linalg.solve(left, right)
        shown = transfer @ light
        error = np.abs(seen - shown).mean(axis=1) / (0.5 * typical + 0.5 * np.abs(shown).mean(axis=1))
        weight = 1 / np.maximum(error / ROBUST, 1)
    return light

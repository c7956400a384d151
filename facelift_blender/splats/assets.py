"""Heads for the asset browser."""

from __future__ import annotations

import bpy
import numpy as np
from facelift_core.gaussians.files import SplatArrays

from . import attributes, objects

SIDE = 128
"""Width and height of previews in pixels."""
_MOST = 60_000
"""Gaussians that a preview shows; more make no difference at its size."""
_REACH = 3
"""Pixels that a Gaussian reaches at most."""
_LAYER = 0.04
"""How far behind the surface Gaussians still count, in sizes of the head."""


def mark(item: bpy.types.Object) -> None:
    """Mark `item` as an asset, with a picture of its front as the preview."""
    item.asset_mark()
    item.asset_data.description = "Head of Gaussian splats"
    preview = item.preview_ensure()
    preview.image_size = (SIDE, SIDE)
    preview.image_pixels_float.foreach_set(front(attributes.read(item.data)).ravel())


def front(splats: SplatArrays) -> np.ndarray:
    """(SIDE, SIDE, 4) displayed colors and alpha of `splats` seen along +Y, bottom row first.

    A quick picture, without sorting: each pixel is the mean of the Gaussians at its nearest surface.
    """
    splats = splats[:: max(1, len(splats) // _MOST)]
    low, high = objects.bounds(splats.positions, 0.99)
    pixel = 1.1 * max(high[0] - low[0], high[2] - low[2], 1e-9) / SIDE
    center = 0.5 * (low + high)
    x, y, z = ((splats.positions - center) / pixel).T
    column, row = (np.floor(value + 0.5 * SIDE).astype(int) for value in (x, z))
    opacity = 1.0 / (1.0 + np.exp(-splats.opacity_logits))
    sigma = np.clip(np.exp(splats.log_scales.mean(axis=1)) / pixel, 0.5, 0.5 * _REACH)
    nearest = np.full(SIDE * SIDE, np.inf)
    parts = []
    for i in range(-_REACH, _REACH + 1):
        for j in range(-_REACH, _REACH + 1):
            weight = opacity * np.exp(-0.5 * (i * i + j * j) / sigma**2)
            inside = (weight > 0.02) & (row + i >= 0) & (row + i < SIDE) & (column + j >= 0) & (column + j < SIDE)
            chosen = np.flatnonzero(inside)
            place = (row[chosen] + i) * SIDE + column[chosen] + j
            solid = weight[chosen] > 0.3
            np.minimum.at(nearest, place[solid], y[chosen][solid])
            parts.append((chosen, place, weight[chosen]))
    chosen, place, weight = (np.concatenate(values) for values in zip(*parts, strict=True))
    alpha = 1.0 - np.exp(-2.0 * np.bincount(place, weight, SIDE * SIDE))
    weight = weight * np.exp(-np.maximum(y[chosen] - nearest[place], 0.0) / (_LAYER * SIDE)) + 1e-9
    total = np.bincount(place, weight, SIDE * SIDE).clip(1e-9)
    colors = splats.colors[chosen].clip(0.0, 1.0)
    channels = [np.bincount(place, weight * colors[:, k], SIDE * SIDE) / total for k in range(3)]
    return np.stack([*channels, alpha], axis=1).reshape(SIDE, SIDE, 4).astype(np.float32)

"""The rest of a head in the photo's colours: what the front teaches about them, carried on by a smooth field."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from scipy.spatial import cKDTree

from ..align.crop import SIZE
from ..gaussians.tensors import SH_C0, Gaussians
from ..rendering import render_rgba
from ..rendering.cameras import intrinsics, six_views
from .surface import Surface, blur, to_world

STEP = 6
"""Every so many pixels of the portrait one example is taken."""
LEVEL = 4.0
"""Sigma in pixels of the details that do not count as colour."""
SURE = 0.6
"""Least opacity of head and person where an example is taken."""
REACH = 0.15
"""World units over which the field changes: about half a head's width."""
LIKE = 0.15
"""Distance of colours (sRGB, 0 to 1) over which what holds for one no longer holds for the other."""
NEIGHBOURS = 32
AT_ONCE = 1 << 15
"""Gaussians, some 1 kB each meanwhile."""
FAR, BEYOND = 0.5, 0.5
"""World units from the examples over which trust in them falls, to this part of what they say."""


def harmonised(rest: Gaussians, head: Gaussians, surface: Surface, cutout: np.ndarray) -> Gaussians:
    """`rest` with its colours moved as the portrait's differ from those of `head` where both are seen.

    The difference at a Gaussian is that of the examples near it in position and colour; far from all of them it is half
    of that of the nearest.

    Args:
        rest: the Gaussians of the head that stay.
        head: all of it, as it came.
        cutout: (512, 512, 4) float32 RGBA in [0, 1], straight alpha.
    """
    rgba = render_rgba(head, six_views()[:1], intrinsics(SIZE), SIZE, SIZE)[0].numpy()
    drawn, sure = _level(rgba[..., :3], rgba[..., 3])
    seen, certain = _level(cutout[..., :3] * cutout[..., 3:], cutout[..., 3])
    grid = np.zeros((SIZE, SIZE), bool)
    grid[STEP // 2 :: STEP, STEP // 2 :: STEP] = True
    chosen = grid & (sure > SURE) & (certain > SURE) & (surface.facing > 0.3)
    if not chosen.any() or not len(rest):
        return rest
    points, _ = to_world(*(torch.from_numpy(surface.points[chosen]),) * 2)
    examples = np.concatenate([points.numpy() / REACH, drawn[chosen] / LIKE], axis=1)
    queries = np.concatenate([rest.positions.numpy() / REACH, rest.colors.numpy().clip(0, 1) / LIKE], axis=1)
    tree, difference = cKDTree(examples), (seen - drawn)[chosen]
    pieces = [_change(tree, difference, queries[i : i + AT_ONCE]) for i in range(0, len(queries), AT_ONCE)]
    change = np.concatenate(pieces)
    colors = (rest.colors + torch.from_numpy(change)).clamp(0, 1)
    sh = rest.sh.clone()
    sh[:, 0] = (colors - 0.5) / SH_C0
    return replace(rest, sh=sh)


def _change(tree: cKDTree, difference: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """(M, 3) float32 by which colours change at (M, 6) `queries`, from the `difference` at the points of `tree`."""
    distances, nearest = tree.query(queries, k=range(1, min(NEIGHBOURS, tree.n) + 1))
    distances = distances.astype(np.float32)
    # Relative to the nearest one, so that a Gaussian far from all examples still follows some.
    weights = np.exp(-0.5 * (distances**2 - distances[:, :1] ** 2))
    change = np.einsum("nk,nkc->nc", weights, difference[nearest]) / weights.sum(1)[:, None]
    away = np.linalg.norm(queries[:, :3] - tree.data[nearest[:, 0], :3], axis=1) * REACH / FAR
    return (change * (BEYOND + (1 - BEYOND) * np.exp(-0.5 * away**2))[:, None]).astype(np.float32)


def _level(premultiplied: np.ndarray, alpha: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Smoothed straight colours (512, 512, 3), and the smoothed alpha."""
    weight = blur(alpha, LEVEL)
    return blur(premultiplied, LEVEL) / weight.clip(1e-4)[..., None], weight

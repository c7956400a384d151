"""Adapt the colors of the rest of a head to the photo, by extrapolating the color differences seen in the front."""

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
"""Distance in pixels of the portrait between examples."""
LEVEL = 4.0
"""Sigma in pixels of the blur that removes details before colors are compared."""
SURE = 0.6
"""Minimum opacity of the head and of the portrait at an example."""
REACH = 0.15
"""Sigma of the positions, in world units; about half the width of a head."""
LIKE = 0.15
"""Sigma of the colors (sRGB, 0 to 1)."""
NEIGHBORS = 32
AT_ONCE = 1 << 15
"""Gaussians per batch, about 1 kB each."""
FAR, BEYOND = 0.5, 0.5
"""Sigma in world units over which the change falls off away from the examples, and the fraction that always remains."""


def harmonized(rest: Gaussians, head: Gaussians, surface: Surface, cutout: np.ndarray) -> Gaussians:
    """Shift the colors of `rest` as the portrait differs from a render of `head`.

    Examples of the difference are taken where both are visible. Each Gaussian gets the weighted mean of the examples
    that are near it in position and color; far from all examples, half the difference of the nearest one.

    Args:
        rest: the Gaussians to change.
        head: the complete head, before carving.
        surface: the surface of `head`.
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
    """Interpolate the `difference` at the points of `tree` to `queries` (M, 6); returns (M, 3) float32."""
    distances, nearest = tree.query(queries, k=range(1, min(NEIGHBORS, tree.n) + 1))
    distances = distances.astype(np.float32)
    # Relative to the nearest example, so that the weights do not vanish far from all of them.
    weights = np.exp(-0.5 * (distances**2 - distances[:, :1] ** 2))
    change = np.einsum("nk,nkc->nc", weights, difference[nearest]) / weights.sum(1)[:, None]
    away = np.linalg.norm(queries[:, :3] - tree.data[nearest[:, 0], :3], axis=1) * REACH / FAR
    return (change * (BEYOND + (1 - BEYOND) * np.exp(-0.5 * away**2))[:, None]).astype(np.float32)


def _level(premultiplied: np.ndarray, alpha: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return blurred straight colors (512, 512, 3) and blurred alpha (512, 512)."""
    weight = blur(alpha, LEVEL)
    return blur(premultiplied, LEVEL) / weight.clip(1e-4)[..., None], weight

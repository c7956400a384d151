"""The texture of a mesh: the head as its Gaussians show it from several sides, in front at the photo's resolution."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import torch
from scipy import ndimage, sparse

from ..gaussians.tensors import Gaussians
from ..rendering import render_rgba
from ..rendering.cameras import intrinsics, orbit
from .texels import Texels, texels_of

FRONT_SIZE, SIDE_SHARE = 1024, 0.5
"""Pixels of the view from the front, which shows the photo, if the texture has as many; of the others, this share."""
SIDES = (315.0, 225.0, 0.0, 180.0, 45.0, 135.0, 90.0)
"""Azimuths of the other views in degrees; the front is at 270."""
FRONT = 270.0
FRONT_PREFERENCE = 4.0
"""How much more the front's pixels count where both see the surface equally well."""
SHARPNESS = 4
"""Power of the cosine between normal and view by which views are weighed: few of them mix at a place."""
SHADOW_SIZE, BEHIND = 256, 0.02
"""Texels this far (world units) behind the nearest in a view of so many pixels are hidden in it."""
FILLS = 300
"""Passes that spread colors over vertices that no view sees."""


def bake(
    gaussians: Gaussians,
    vertices: np.ndarray,
    normals: np.ndarray,
    faces: np.ndarray,
    corner_uvs: np.ndarray,
    size: int,
    checkpoint: Callable[[float], None] = lambda share: None,
) -> np.ndarray:
    """Bake the colors of `gaussians`, which the mesh was made of.

    Args:
        corner_uvs: (F, 3, 2) texture coordinates in [0, 1], v up.
        checkpoint: called with the share that is done; may raise to stop.

    Returns:
        (size, size, 3) uint8 sRGB.
    """
    texels = texels_of(corner_uvs, size)
    points = texels.interpolate(vertices[faces])
    directions = texels.interpolate(normals[faces])
    color, weight = np.zeros((len(points), 3), np.float32), np.zeros((len(points), 1), np.float32)
    for number, azimuth in enumerate((FRONT, *SIDES)):
        checkpoint(number / (1 + len(SIDES)))
        view_size = int(min(FRONT_SIZE, size) * (1.0 if azimuth == FRONT else SIDE_SHARE))
        seen, counts = _seen(gaussians, azimuth, view_size, points, directions)
        color += counts[:, None] * seen
        weight += counts[:, None]
    known = weight[:, 0] > 1e-3
    color[known] /= weight[known]
    color[~known] = _spread(texels, faces, len(vertices), color, known)
    texture = np.zeros((size * size, 3), np.float32)
    texture[texels.index] = color
    empty = np.ones(size * size, bool)
    empty[texels.index] = False
    nearest = ndimage.distance_transform_edt(empty.reshape(size, size), return_distances=False, return_indices=True)
    texture = texture.reshape(size, size, 3)[tuple(nearest)]
    return (texture * 255 + 0.5).clip(0, 255).astype(np.uint8)


def _seen(
    gaussians: Gaussians, azimuth: float, size: int, points: np.ndarray, normals: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(N, 3) colors of points in the view of `size` pixels from `azimuth`, and how much each counts, (N,)."""
    c2w = orbit(torch.tensor([azimuth]))
    with torch.no_grad():
        rgba = render_rgba(gaussians, c2w, intrinsics(size), size, size)[0].cpu().numpy()
    w2c = np.linalg.inv(c2w[0].numpy())
    local = points @ w2c[:3, :3].T + w2c[:3, 3]
    depth = local[:, 2].clip(1e-3)
    place = local[:, :2] / depth[:, None] * (intrinsics(size)[0].item() / size) + 0.5  # in [0, 1] across the view
    sampled = _sample(rgba, place * size - 0.5)
    alpha = sampled[:, 3]
    toward = c2w[0, :3, 3].numpy() - points
    cosine = (normals * toward).sum(axis=1) / np.linalg.norm(toward, axis=1)
    counts = cosine.clip(0) ** SHARPNESS * (2 * alpha - 1).clip(0) * _visible(place, depth)
    counts *= FRONT_PREFERENCE if azimuth == FRONT else 1.0
    return sampled[:, :3] / alpha.clip(1e-3)[:, None], counts.astype(np.float32)


def _sample(picture: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """(N, 4) values of an (H, W, 4) picture at (N, 2) x, y in pixels, interpolated; its border goes on outside."""
    width = 1 << 14  # OpenCV's pictures are less than 32768 pixels high and wide
    whole = np.resize(pixels.astype(np.float32), (-(-len(pixels) // width), width, 2))
    values = cv2.remap(picture, whole, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return values.reshape(-1, 4)[: len(pixels)]


def _visible(place: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """(N,) bool, which of these dense points on the surface no other hides; `place` is in [0, 1] across the view."""
    inside = ((place >= 0) & (place < 1)).all(axis=1)
    column, row = (place.clip(0, 1 - 1e-6) * SHADOW_SIZE).astype(int).T
    pixel = row * SHADOW_SIZE + column
    nearest = np.full(SHADOW_SIZE**2, np.inf)
    np.minimum.at(nearest, pixel[inside], depth[inside])
    return inside & (depth < nearest[pixel] + BEHIND)


def _spread(texels: Texels, faces: np.ndarray, count: int, color: np.ndarray, known: np.ndarray) -> np.ndarray:
    """(M, 3) colors of the texels that are not `known`, from the known ones around them on the mesh."""
    corner = texels.shares.argmax(axis=1)
    vertex = faces[texels.face, corner]
    weight = np.bincount(vertex[known], minlength=count)
    total = np.stack([np.bincount(vertex[known], c[known], count) for c in color.T], axis=1)
    seen = weight > 0
    values = np.where(seen[:, None], total / weight.clip(1)[:, None], 0.0)
    edges = faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
    beside = sparse.csr_array((np.ones(len(edges)), edges.T), shape=(count, count))
    beside = beside + beside.T
    reached = seen.astype(float)
    for _ in range(FILLS):
        share = beside @ reached
        mixed = (beside @ (values * reached[:, None])) / share.clip(1e-9)[:, None]
        values = np.where(seen[:, None], values, mixed)
        reached = np.where(seen, 1.0, (share > 0).astype(float))
    corners = values[faces[texels.face[~known]]]
    return np.einsum("nk,nkc->nc", texels.shares[~known], corners).astype(np.float32)

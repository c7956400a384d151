"""Cover the front of a head with a layer of Gaussians made from the portrait: the skin."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..align.crop import SIZE
from ..gaussians.tensors import SH_C0, Gaussians, concatenate
from ..rendering.cameras import intrinsics
from .surface import Surface, in_front_camera, project, sample, to_world

GRAZING, FRONTAL = 0.1, 0.22
"""Cosines between which the skin fades in; the photo shows grazing surfaces badly."""
MIN_WEIGHT = 0.05
IN_PLANE, ACROSS = 0.5, 0.3
"""Standard deviations of a disc in its plane and along its normal, in pixels of its layer."""
MAX_STRETCH = 4.0
"""On sloping surfaces, discs are stretched by up to this factor to avoid gaps."""
BACKING_STEP, BACKING_SHARE, BACKING_DEPTH = 3, 0.2, 0.02
"""The backing, a layer behind the skin that closes its gaps: its pixel size in pixels of 512², its maximum share of all
Gaussians, and its depth behind the skin in world units."""
BACKING_SIZE, BACKING_ACROSS = 0.8, 0.3
"""The same as :data:`IN_PLANE` and :data:`ACROSS`, for the backing."""
FACE_MARGIN = 25
"""Width in pixels of 512² by which the part in full resolution extends beyond the landmarks."""
CLEARED = 0.06
"""Gaussians of the head are removed in front of the skin and up to this distance behind it, in world units."""
EDGE = 5
"""Width in pixels of the window by which they are also removed beside the skin, where they would float."""


def skin_weight(surface: Surface, alpha: np.ndarray) -> np.ndarray:
    """Return the opacity of the skin, (512, 512) in [0, 1], for the portrait's `alpha`."""
    frontal = ((surface.facing - GRAZING) / (FRONTAL - GRAZING)).clip(0, 1)
    return np.maximum(frontal, surface.face) * alpha


def skin(surface: Surface, cutout: np.ndarray, weight: np.ndarray, limit: int, features: int = 1) -> Gaussians:
    """Make one disc in the surface's plane for each pixel of the portrait that has a `weight`.

    The face has the resolution of `cutout`, the rest at most 512².

    Args:
        surface: the surface of the head.
        cutout: (side, side, 4) float32 RGBA in [0, 1].
        weight: (512, 512) opacity, see :func:`skin_weight`.
        limit: maximum number of Gaussians; the resolution is reduced to meet it.
        features: number K of spherical harmonics (K, 3) per Gaussian; all but the first are zero.
    """
    face = cv2.dilate(surface.face, np.ones((FACE_MARGIN, FACE_MARGIN)))
    seen, backed = weight > MIN_WEIGHT, np.where(weight > 0.5, weight, 0)
    in_face, elsewhere = ((part & seen).mean() for part in (face > 0, face <= 0))
    behind = min(SIZE // BACKING_STEP, _side(BACKING_SHARE * limit, (backed > 0).mean()))
    room = limit - (backed > 0).mean() * behind**2
    coarse = min(SIZE, _side(room, in_face + elsewhere))
    fine = min(len(cutout), max(coarse, _side(room - elsewhere * coarse**2, in_face)))
    parts = [
        _layer(surface, cutout, weight * (face > 0), fine, 0.0, IN_PLANE, ACROSS),
        _layer(surface, cutout, weight * (face <= 0), coarse, 0.0, IN_PLANE, ACROSS),
        _layer(surface, cutout, backed, behind, BACKING_DEPTH, BACKING_SIZE, BACKING_ACROSS),
    ]
    layers = concatenate(parts)
    return replace(layers, sh=F.pad(layers.sh, (0, 0, 0, features - 1)))


def _side(count: float, share: float) -> int:
    """Return the side of a square image of which the fraction `share` has `count` pixels."""
    return int((max(count, 0) / max(share, 1e-6)) ** 0.5)


def carve(head: Gaussians, surface: Surface, weight: np.ndarray, alpha: np.ndarray) -> Gaussians:
    """Remove the Gaussians of `head` that the skin replaces or that lie outside the silhouette in the portrait."""
    camera = in_front_camera(head.positions)
    pixels = project(camera)
    behind = camera[:, 2] - sample(surface.points[..., 2], pixels)
    covered = cv2.dilate(weight, np.ones((EDGE, EDGE)))
    replaced = (sample(covered, pixels) > 0.6) & (behind < CLEARED)
    # Distance to the silhouette in pixels, positive inside.
    person = (alpha > 0.5).astype(np.uint8)
    inside = cv2.distanceTransform(person, cv2.DIST_L2, 5) - cv2.distanceTransform(1 - person, cv2.DIST_L2, 5)
    distance = sample(inside, pixels)
    framed = ((pixels > 0) & (pixels < SIZE)).all(1)
    outside = framed & (distance < -2)
    kept = ~(replaced | outside)
    radius = head.scales.amax(1) / camera[:, 2].clamp(min=1e-3) * intrinsics(SIZE)[0].item()
    room = torch.where(framed, (distance + 2) / (1.5 * radius), 1.0).clamp(0.3, 1.0)
    return replace(head, log_scales=head.log_scales + room.log()[:, None])[kept]


def _layer(
    surface: Surface, cutout: np.ndarray, weight: np.ndarray, count: int, depth: float, size: float, across: float
) -> Gaussians:
    """Make discs on count² pixels, `depth` behind the surface, with standard deviations in pixels."""
    if count < 1:
        return Gaussians(*(torch.zeros(0, *shape) for shape in ((3,), (1, 3), (3,), (4,), ())))

    def scale(picture: np.ndarray, how: int = cv2.INTER_LINEAR) -> np.ndarray:
        return cv2.resize(np.ascontiguousarray(picture), (count, count), interpolation=how)

    colors = cutout[..., :3]
    if count < len(cutout):
        alpha = cutout[..., 3:].clip(1e-4)
        colors = scale(colors * alpha, cv2.INTER_AREA) / scale(alpha, cv2.INTER_AREA)[..., None]
    opacity = scale(weight)
    chosen = opacity > MIN_WEIGHT
    points, normals = (torch.from_numpy(scale(a)[chosen]) for a in (surface.points, surface.normals))
    normals = F.normalize(normals, dim=-1)
    facing = torch.from_numpy(scale(surface.facing)[chosen]).clamp(min=1 / MAX_STRETCH)
    pixel = points[:, 2] / intrinsics(count)[0].item()
    rotations = _rotations(points, normals)
    positions, _ = to_world(points - normals * depth, normals)
    scales = torch.stack([pixel * size / facing, pixel * size, pixel * across], dim=1)
    logits = torch.logit(torch.from_numpy(opacity[chosen]).clamp(0.02, 0.98))
    sh = (torch.from_numpy(colors[chosen]) - 0.5) / SH_C0
    return Gaussians(positions, sh[:, None], scales.log(), rotations, logits)


def _rotations(points: Tensor, normals: Tensor) -> Tensor:
    """Return quaternions (N, 4) w, x, y, z in world space: x along the surface's slope, z along its normal."""
    toward = F.normalize(points, dim=-1)
    tilt = toward - (toward * normals).sum(-1, keepdim=True) * normals
    flat = tilt.norm(dim=-1, keepdim=True) < 1e-3
    tilt = torch.where(flat, torch.linalg.cross(normals, torch.tensor([0.0, 1.0, 0.0]).expand_as(normals)), tilt)
    tilt = F.normalize(tilt, dim=-1)
    axes = torch.stack([tilt, torch.linalg.cross(normals, tilt), normals], dim=-1)
    _, columns = to_world(torch.zeros_like(points), axes.transpose(1, 2).reshape(-1, 3))
    return _quaternions(columns.view(-1, 3, 3).transpose(1, 2))


def _quaternions(matrices: Tensor) -> Tensor:
    """Convert rotations (N, 3, 3) to unit quaternions (N, 4) w, x, y, z. scipy is slower: it validates its input."""
    (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = (row.unbind(-1) for row in matrices.unbind(-2))
    one, wx, wy, wz = torch.ones_like(xx), zy - yz, xz - zx, yx - xy
    # 4 · q qᵀ. Each row is a multiple of q; the row of the largest component is the most accurate.
    rows = [
        one + xx + yy + zz, wx, wy, wz,
        wx, one + xx - yy - zz, xy + yx, xz + zx,
        wy, xy + yx, one - xx + yy - zz, yz + zy,
        wz, xz + zx, yz + zy, one - xx - yy + zz,
    ]  # fmt: skip
    products = torch.stack(rows, dim=-1).unflatten(-1, (4, 4))
    largest = products.diagonal(dim1=1, dim2=2).argmax(1)
    return F.normalize(products[torch.arange(len(products)), largest], dim=-1)

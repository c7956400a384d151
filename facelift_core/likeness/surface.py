"""The surface of a head as the portrait's camera sees it: in the face the depth of landmarks, elsewhere that which a
network tells from the portrait, where the head is; without the network, the head's own."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from scipy.ndimage import map_coordinates
from scipy.spatial import Delaunay
from torch import Tensor

from ..align.crop import SIZE
from ..align.landmarks import Landmarks
from ..gaussians.tensors import SH_C0, Gaussians
from ..rendering import render_rgba
from ..rendering.cameras import intrinsics, six_views

SMOOTH = 3.0
"""Sigma in pixels over which the head's own depth is smoothed: single Gaussians are no shape."""
SMOOTH_PORTRAIT = 2.0
"""The same for the depth that is told from the portrait."""
SMOOTH_FACE = 1.5
"""The same for the facets between landmarks."""
SPREAD = 14.0
"""Sigma in pixels over which the landmarks' correction of the head's depth fades outside the face."""
MIN_ALPHA = 0.6
"""Where the head is less opaque than this, its depth is continued from its surroundings."""
NEAR, FAR = 1.7, 3.7
"""Depths, along the optical axis, between which a head lies in the portrait's camera."""
BLUR_SIGMA = 8.0
"""In pixels; wider blurs work on a smaller picture."""


@dataclass(frozen=True)
class Surface:
    """Depth and orientation for each pixel of the 512² portrait; camera coordinates, OpenCV convention.

    Attributes:
        points: (512, 512, 3) float32, world units.
        normals: (512, 512, 3) float32, towards the camera.
        facing: (512, 512) float32, cosine between normal and the way to the camera, in [0, 1].
        face: (512, 512) float32 in [0, 1], how much the depth is that of the landmarks.
    """

    points: np.ndarray
    normals: np.ndarray
    facing: np.ndarray
    face: np.ndarray


def front_surface(head: Gaussians, landmarks: Landmarks | None, told: np.ndarray | None = None) -> Surface:
    """The surface of `head` towards the portrait's camera.

    Args:
        head: on the CPU, as GS-LRM places it.
        landmarks: of the portrait, in pixels of 512²; None: no other depth in the face than around it.
        told: (512, 512) float32, depth as :func:`.depth.portrait_depth` tells it, NaN where nobody is; it is moved to
            where the head is. None: the head's own depth.
    """
    alpha, depth = front_depth(head)
    known, smooth = alpha > MIN_ALPHA, SMOOTH
    if told is not None and (both := known & np.isfinite(told)).any():
        offset = np.median((depth - told)[both])
        depth, known, smooth = told + offset, np.isfinite(told), SMOOTH_PORTRAIT
    depth = _continued(np.where(known, depth, 0), known, smooth)
    face = np.zeros_like(depth)
    if landmarks is not None:
        depth, face = _with_face(depth, known, landmarks)
    points = _rays() * depth[..., None]
    normals = _normals(points)
    facing = -(normals * points).sum(-1) / np.linalg.norm(points, axis=-1)
    return Surface(points, normals, facing.clip(0, 1), face)


def front_depth(head: Gaussians) -> tuple[np.ndarray, np.ndarray]:
    """(512, 512) opacity of `head` in the portrait's camera, and depth of what is seen there, where there is any."""
    along = in_front_camera(head.positions)[:, 2]
    grey = ((along - NEAR) / (FAR - NEAR) - 0.5) / SH_C0
    painted = replace(head, sh=grey[:, None, None].expand(-1, 1, 3))
    rgba = render_rgba(painted, six_views()[:1], intrinsics(SIZE), SIZE, SIZE)[0].numpy()
    alpha = rgba[..., 3]
    return alpha, rgba[..., 0] / alpha.clip(1e-4) * (FAR - NEAR) + NEAR


def in_front_camera(positions: Tensor) -> Tensor:
    """(N, 3) float32 world → camera coordinates of the portrait's camera."""
    w2c = torch.linalg.inv(six_views()[0]).float()
    return positions.float() @ w2c[:3, :3].T + w2c[:3, 3]


def to_world(points: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
    """(N, 3) points and directions of the portrait's camera in the world."""
    c2w = six_views()[0].float()
    return points @ c2w[:3, :3].T + c2w[:3, 3], directions @ c2w[:3, :3].T


def project(points: Tensor) -> Tensor:
    """(N, 2) pixels of the portrait of (N, 3) points in its camera's coordinates."""
    focal = intrinsics(SIZE)[0].item()
    return points[:, :2] / points[:, 2:].clamp(min=1e-3) * focal + SIZE / 2


def sample(picture: np.ndarray, pixels: Tensor) -> Tensor:
    """(N,) values of a (512, 512) picture at (N, 2) pixels; its border goes on outside."""
    x, y = (pixels - 0.5).T.numpy()
    return torch.from_numpy(map_coordinates(picture, (y, x), output=np.float32, order=1, mode="nearest"))


def blur(picture: np.ndarray, sigma: float) -> np.ndarray:
    """A picture of float32 smoothed by a Gaussian of `sigma` pixels; its border goes on outside."""
    if sigma > 2 * BLUR_SIGMA:
        height, width = picture.shape[:2]
        half = cv2.resize(picture, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
        return cv2.resize(blur(half, sigma / 2), (width, height), interpolation=cv2.INTER_LINEAR)
    return cv2.GaussianBlur(picture, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)


def _continued(values: np.ndarray, known: np.ndarray, sigma: float) -> np.ndarray:
    """`values` smoothed where `known`, and continued from there with ever wider windows elsewhere."""
    weight = known.astype(np.float32)
    result, missing = np.zeros_like(values), np.ones(values.shape, np.float32)
    while sigma < SIZE and missing.any():
        seen = blur(weight, sigma)
        share = np.minimum(missing, (seen * 4).clip(0, 1))
        result += share * blur(values * weight, sigma) / seen.clip(1e-6)
        missing -= share
        sigma *= 2
    if missing.max() > 0:
        mean = float(values[known].mean()) if known.any() else 2.7
        result += missing * mean
    return result


def _with_face(depth: np.ndarray, known: np.ndarray, landmarks: Landmarks) -> tuple[np.ndarray, np.ndarray]:
    """`depth` with the face's own shape, and how much of it that is at each pixel."""
    relief = _relief(landmarks)
    inside = np.isfinite(relief)
    relief = np.where(inside, relief, 0).astype(np.float32)
    seen = inside & known
    distance = float(np.median(depth[seen if seen.any() else inside]))
    relief *= distance / intrinsics(SIZE)[0].item()
    difference = np.where(inside, relief - depth, 0)
    offset = float(np.median(difference[seen if seen.any() else inside]))
    difference = np.where(inside, difference - offset, 0).astype(np.float32)

    weight = inside.astype(np.float32)
    near = blur(weight, SPREAD)
    beyond = blur(difference, SPREAD) / near.clip(1e-3) * (2 * near).clip(0, 1)
    corrected = depth + np.where(inside, difference, beyond)
    return blur(corrected.astype(np.float32), SMOOTH_FACE), ((blur(weight, 9.0) - 0.5) / 0.45).clip(0, 1) * weight


def _relief(landmarks: Landmarks) -> np.ndarray:
    """(512, 512) z of the surface through the landmarks, the nearest where it is folded, NaN outside it; pixels."""
    points = landmarks.points.astype(np.float64)
    # The landmarks' z goes along the ray to the face, the surface's along the optical axis.
    centre = points[:, :2].mean(0)
    points[:, 2] -= (points[:, :2] - centre) @ (centre - SIZE / 2) / intrinsics(SIZE)[0].item()
    # Triangles between the neighbours in the face's own front view: in the picture a turned face may overlap itself.
    triangles = Delaunay(points @ landmarks.axes[:2].T).simplices
    corners = points[triangles]
    # Barycentric coordinates of (x, y) are linear: these rows times (x, y, 1).
    matrices = np.stack([corners[..., 0], corners[..., 1], np.ones(corners.shape[:2])], axis=1)
    solid = np.abs(np.linalg.det(matrices)) >= 1e-6
    relief = np.full((SIZE, SIZE), np.inf)
    for (x_, y_, z_), rows in zip(corners[solid].swapaxes(1, 2), np.linalg.inv(matrices[solid]), strict=True):
        x = np.arange(max(int(x_.min()), 0), min(int(x_.max()) + 1, SIZE))
        y = np.arange(max(int(y_.min()), 0), min(int(y_.max()) + 1, SIZE))
        if not len(x) or not len(y):
            continue
        a, b, c = rows.T[..., None, None]
        shares = a * (x + 0.5) + b * (y[:, None] + 0.5) + c
        z = np.where(shares.min(0) >= -1e-9, np.tensordot(z_, shares, 1), np.inf)
        part = relief[y[0] : y[-1] + 1, x[0] : x[-1] + 1]
        np.minimum(part, z, out=part)
    return np.where(np.isfinite(relief), relief, np.nan)


def _rays() -> np.ndarray:
    """(512, 512, 3) float32 directions of the portrait's pixels with a depth of 1."""
    focal = intrinsics(SIZE)[0].item()
    along = (np.arange(SIZE, dtype=np.float32) + 0.5 - SIZE / 2) / focal
    x, y = np.meshgrid(along, along)
    return np.stack([x, y, np.ones_like(x)], axis=-1)


def _normals(points: np.ndarray) -> np.ndarray:
    """(512, 512, 3) float32 towards the camera, smoothed as the depth is."""
    down, right = np.gradient(points, axis=(0, 1))
    normals = np.cross(down, right)
    normals *= np.where(normals[..., 2:] > 0, -1, 1)
    normals = blur((normals / np.linalg.norm(normals, axis=-1, keepdims=True).clip(1e-12)).astype(np.float32), 1.5)
    return normals / np.linalg.norm(normals, axis=-1, keepdims=True).clip(1e-12)

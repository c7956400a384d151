"""Find the surface of a head seen by the portrait's camera.

In the face, the depth comes from the landmarks; elsewhere from the depth network, or from the head if there is none.
"""

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
"""Sigma in pixels of the blur of the head's own depth, which is noisy at the scale of single Gaussians."""
SMOOTH_PORTRAIT = 2.0
"""Sigma in pixels of the blur of the predicted depth."""
SMOOTH_FACE = 1.5
"""Sigma in pixels of the blur of the triangles between landmarks."""
SPREAD = 14.0
"""Sigma in pixels over which the landmarks' correction of the head's depth fades outside the face."""
MIN_ALPHA = 0.6
"""Where the head is less opaque than this, its depth is extrapolated from the surroundings."""
NEAR, FAR = 1.7, 3.7
"""Range of depths of a head in the portrait's camera, along the optical axis."""
BLUR_SIGMA = 8.0
"""In pixels; blurs with more than twice this sigma work on a reduced image."""


@dataclass(frozen=True)
class Surface:
    """Position and orientation at each pixel of the 512² portrait, in camera coordinates (OpenCV convention).

    Attributes:
        points: (512, 512, 3) float32 positions in world units.
        normals: (512, 512, 3) float32 unit normals, facing the camera.
        facing: (512, 512) float32 cosine between the normal and the direction to the camera, in [0, 1].
        face: (512, 512) float32 weight of the landmarks' depth, in [0, 1].
    """

    points: np.ndarray
    normals: np.ndarray
    facing: np.ndarray
    face: np.ndarray


def front_surface(head: Gaussians, landmarks: Landmarks | None, predicted: np.ndarray | None = None) -> Surface:
    """Return the surface of `head` that faces the portrait's camera.

    Args:
        head: the head from GS-LRM, on the CPU.
        landmarks: landmarks of the portrait, in pixels of 512²; None treats the face like the rest.
        predicted: (512, 512) float32 depth from :func:`.depth.portrait_depth`, NaN on the background, which is shifted
            to the distance of the head; None uses the head's own depth.
    """
    alpha, depth = front_depth(head)
    known, smooth = alpha > MIN_ALPHA, SMOOTH
    if predicted is not None and (both := known & np.isfinite(predicted)).any():
        offset = np.median((depth - predicted)[both])
        depth, known, smooth = predicted + offset, np.isfinite(predicted), SMOOTH_PORTRAIT
    depth = _continued(np.where(known, depth, 0), known, smooth)
    face = np.zeros_like(depth)
    if landmarks is not None:
        depth, face = _with_face(depth, known, landmarks)
    points = _rays() * depth[..., None]
    normals = _normals(points)
    facing = -(normals * points).sum(-1) / np.linalg.norm(points, axis=-1)
    return Surface(points, normals, facing.clip(0, 1), face)


def front_depth(head: Gaussians) -> tuple[np.ndarray, np.ndarray]:
    """Render opacity and depth of `head` from the portrait's camera, (512, 512) each; depth is valid where opaque."""
    along = in_front_camera(head.positions)[:, 2]
    gray = ((along - NEAR) / (FAR - NEAR) - 0.5) / SH_C0
    painted = replace(head, sh=gray[:, None, None].expand(-1, 1, 3))
    rgba = render_rgba(painted, six_views()[:1], intrinsics(SIZE), SIZE, SIZE)[0].numpy()
    alpha = rgba[..., 3]
    return alpha, rgba[..., 0] / alpha.clip(1e-4) * (FAR - NEAR) + NEAR


def in_front_camera(positions: Tensor) -> Tensor:
    """Transform (N, 3) positions from world space to the portrait's camera, float32."""
    w2c = torch.linalg.inv(six_views()[0]).float()
    return positions.float() @ w2c[:3, :3].T + w2c[:3, 3]


def to_world(points: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
    """Transform (N, 3) points and directions from the portrait's camera to world space."""
    c2w = six_views()[0].float()
    return points @ c2w[:3, :3].T + c2w[:3, 3], directions @ c2w[:3, :3].T


def project(points: Tensor) -> Tensor:
    """Project (N, 3) points in the portrait's camera to (N, 2) pixels."""
    focal = intrinsics(SIZE)[0].item()
    return points[:, :2] / points[:, 2:].clamp(min=1e-3) * focal + SIZE / 2


def sample(picture: np.ndarray, pixels: Tensor) -> Tensor:
    """Sample a (512, 512) image at (N, 2) pixels, bilinearly; outside, the border is repeated. Returns (N,)."""
    x, y = (pixels - 0.5).T.numpy()
    return torch.from_numpy(map_coordinates(picture, (y, x), output=np.float32, order=1, mode="nearest"))


def blur(picture: np.ndarray, sigma: float) -> np.ndarray:
    """Blur a float32 image with a Gaussian of `sigma` pixels; outside, the border is repeated."""
    if sigma > 2 * BLUR_SIGMA:
        height, width = picture.shape[:2]
        half = cv2.resize(picture, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
        return cv2.resize(blur(half, sigma / 2), (width, height), interpolation=cv2.INTER_LINEAR)
    return cv2.GaussianBlur(picture, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)


def _continued(values: np.ndarray, known: np.ndarray, sigma: float) -> np.ndarray:
    """Blur `values` where `known`, and extrapolate elsewhere with wider and wider windows."""
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
    """Return `depth` with the landmarks' shape in the face, and the weight of the landmarks at each pixel."""
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
    """Return z (512, 512), in pixels, of the surface through the landmarks: the nearest where it folds, NaN outside."""
    points = landmarks.points.astype(np.float64)
    # The z of landmarks is along the ray to the face, the z of the surface along the optical axis.
    center = points[:, :2].mean(0)
    points[:, 2] -= (points[:, :2] - center) @ (center - SIZE / 2) / intrinsics(SIZE)[0].item()
    # Triangulate in the face's own front view, because a turned face may overlap itself in the image.
    triangles = Delaunay(points @ landmarks.axes[:2].T).simplices
    corners = points[triangles]
    # Barycentric coordinates are linear in (x, y): the rows of the inverse times (x, y, 1).
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
    """Return the rays through the portrait's pixels, (512, 512, 3) float32, at depth 1."""
    focal = intrinsics(SIZE)[0].item()
    along = (np.arange(SIZE, dtype=np.float32) + 0.5 - SIZE / 2) / focal
    x, y = np.meshgrid(along, along)
    return np.stack([x, y, np.ones_like(x)], axis=-1)


def _normals(points: np.ndarray) -> np.ndarray:
    """Return blurred unit normals that face the camera, (512, 512, 3) float32."""
    down, right = np.gradient(points, axis=(0, 1))
    normals = np.cross(down, right)
    normals *= np.where(normals[..., 2:] > 0, -1, 1)
    normals = blur((normals / np.linalg.norm(normals, axis=-1, keepdims=True).clip(1e-12)).astype(np.float32), 1.5)
    return normals / np.linalg.norm(normals, axis=-1, keepdims=True).clip(1e-12)

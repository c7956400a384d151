"""Where MediaPipe's landmarks lie on the head: measured on synthetic heads, whose vertices are known.

This includes the detector's own bias. Landmarks at the outline of the face slide with its pose, so they spread more.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from ..align.landmarks import COUNT, find_landmarks
from ..rendering import cameras
from .heads.anatomy import load_anatomy
from .heads.render import on_white, render
from .heads.scene import make_head

SIZE = 512
ROBUST = 3.0
"""Distance in pixels from which a detection counts as an outlier."""
FACING = 0.15
"""Least mean cosine between the normal of a vertex and the direction to the camera; others are not visible."""
ROUNDS = 8


@dataclass(frozen=True)
class Observations:
    """H heads seen from the front.

    Attributes:
        vertices: (H, U, 3) float32, the coarse vertices of the anatomy, in the camera (OpenCV convention).
        pixels: (H, 468, 2) float32, detected landmarks.
    """

    vertices: np.ndarray
    pixels: np.ndarray


def observe(seeds: Iterable[int]) -> Observations:
    """Render the heads with these seeds from the front, and find their landmarks."""
    count = len(load_anatomy().coarse)
    camera = cameras.six_views()[:1].numpy().astype(np.float32)
    to_camera = np.linalg.inv(camera[0].astype(np.float64))
    vertices, pixels = [], []
    for seed in tqdm(seeds, unit="head", mininterval=5):
        head = make_head(seed)
        landmarks = find_landmarks(on_white(render(head, camera, SIZE).rgba[0]))
        if landmarks is not None:
            vertices.append(head.vertices[:count] @ to_camera[:3, :3].T + to_camera[:3, 3])
            pixels.append(landmarks.points[:, :2])
    return Observations(np.array(vertices, np.float32), np.array(pixels, np.float32))


def place_landmarks(
    seen: Observations, triangles: np.ndarray, allowed: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Find the point of the surface that is closest to each landmark over all heads.

    Args:
        triangles: (T, 3) skin.
        allowed: (U,) bool, vertices on which landmarks may lie.

    Returns:
        (468, 3) corners, (468, 3) shares of them, and (468,) spread in world units.
    """
    allowed = allowed & (_facing(seen.vertices, triangles) > FACING)
    triangles = triangles[allowed[triangles].all(1)]
    projected = _project(seen.vertices)
    around = np.unique(triangles)
    cost = np.stack([_huber(projected[:, around] - seen.pixels[:, None, i]).mean(0) for i in range(COUNT)])
    first = around[cost.argmin(1)]
    unit = float(np.median(seen.vertices[:, around, 2])) / float(cameras.intrinsics(SIZE)[0])
    corners, shares, spread = np.empty((COUNT, 3), np.int32), np.empty((COUNT, 3)), np.empty(COUNT)
    for landmark in range(COUNT):
        near = triangles[np.isin(triangles, first[landmark]).any(1)]
        near = triangles[np.isin(triangles, near).any(1)]
        fits = [_barycentric(projected[:, corner], seen.pixels[:, landmark]) for corner in near]
        best = int(np.argmin([error for _, error in fits]))
        corners[landmark], shares[landmark], spread[landmark] = near[best], *fits[best]
    return corners, shares.astype(np.float32), (np.sqrt(spread) * unit).astype(np.float32)


def _barycentric(corners: np.ndarray, pixels: np.ndarray) -> tuple[np.ndarray, float]:
    """(3,) shares ≥ 0 of (H, 3, 2) projected corners nearest to (H, 2) pixels, and the robust mean squared error."""
    shares, weight = np.full(3, 1 / 3), np.ones(len(pixels))
    edges = corners[:, 1:] - corners[:, :1]
    for _ in range(ROUNDS):
        scale = np.sqrt(weight)[:, None, None]
        matrix = (edges * scale).transpose(0, 2, 1).reshape(-1, 2)
        target = ((pixels - corners[:, 0]) * scale[:, 0]).reshape(-1)
        b = np.linalg.lstsq(matrix, target, rcond=None)[0]
        shares = np.maximum([1 - b.sum(), *b], 0)
        shares /= shares.sum()
        offset = np.linalg.norm(np.einsum("k,hkc->hc", shares, corners) - pixels, axis=1)
        weight = np.minimum(1, ROBUST / np.maximum(offset, 1e-6))
    return shares, float((weight * offset**2).mean())


def _huber(offset: np.ndarray) -> np.ndarray:
    distance = np.linalg.norm(offset, axis=-1)
    return np.where(distance < ROBUST, distance**2 / 2, ROBUST * (distance - ROBUST / 2))


def _project(points: np.ndarray) -> np.ndarray:
    focal, _, cx, cy = cameras.intrinsics(SIZE).tolist()
    return points[..., :2] / points[..., 2:] * focal + [cx, cy]


def _facing(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """(U,) mean cosine between the normals of the vertices and the directions to the camera."""
    total = np.zeros(vertices.shape[1])
    for points in vertices:
        a, b, c = (points[triangles[:, k]].astype(np.float64) for k in range(3))
        normals = np.zeros((len(points), 3))
        for corner in range(3):
            np.add.at(normals, triangles[:, corner], np.cross(b - a, c - a))
        size = np.linalg.norm(normals, axis=1) * np.linalg.norm(points, axis=1)
        total -= (normals * points).sum(1) / np.maximum(size, 1e-12)
    return total / len(vertices)

"""What the fit of the face mesh sees of a head: its surface from some directions."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from PIL import Image

from ..gaussians.tensors import SH_C0, Gaussians, concatenate
from ..rendering import render, render_rgba
from ..rendering.cameras import intrinsics, orbit

NEAR, FAR = 1.2, 4.2
"""Range of depths that a view can show, in world units; the cameras are at 2.7 from the middle of the head."""
OPAQUE = 0.7
"""Where the head is less opaque than this, it has no surface."""
SMOOTH = 1 / 340
"""Sigma of the blur of the depth, which is noisy at the scale of single Gaussians, as a fraction of the image."""


@dataclass(frozen=True)
class View:
    """The surface of a head seen by an upright camera around it.

    Attributes:
        c2w: (4, 4) float64 camera to world, OpenCV convention.
        focal: focal length in pixels.
        points: (S, S, 3) float64 the surface at each pixel, in the world.
        normals: (S, S, 3) float64 unit normals of it.
        solid: (S, S) bool, where there is a surface.
    """

    c2w: np.ndarray
    focal: float
    points: np.ndarray
    normals: np.ndarray
    solid: np.ndarray

    def project(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(N, 2) pixels and (N,) depths of (N, 3) points of the world."""
        return _projected(points, self.c2w, self.focal, len(self.solid))

    def depth(self, points: np.ndarray) -> np.ndarray:
        """(N,) depths of (N, 3) points of the world."""
        return (points - self.c2w[:3, 3]) @ self.c2w[:3, 2]

    def surface_at(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The surface at the pixels of (N, 3) points: (N, 3) places, (N, 3) normals, and (N,) bool where it exists."""
        size = len(self.solid)
        pixels = np.floor(self.project(points)[0]).astype(int)
        inside = ((pixels >= 0) & (pixels < size)).all(1)
        x, y = pixels.clip(0, size - 1).T
        return self.points[y, x], self.normals[y, x], inside & self.solid[y, x]

    def towards(self, points: np.ndarray) -> np.ndarray:
        """(N, 3) unit directions from (N, 3) points to the camera."""
        offset = self.c2w[:3, 3] - points
        return offset / np.linalg.norm(offset, axis=1, keepdims=True)


def camera(azimuth: float) -> torch.Tensor:
    """(4, 4) camera to world; `azimuth` is in degrees from the front, counterclockwise seen from above."""
    return orbit(torch.tensor([270.0 + azimuth]))[0]


def picture(gaussians: Gaussians, azimuth: float, size: int) -> Image.Image:
    """The head on white."""
    rgb = render(gaussians, camera(azimuth), intrinsics(size), size, size)[0]
    return Image.fromarray((rgb.clamp(0, 1) * 255).round().byte().numpy())


def look(gaussians: Gaussians, azimuth: float, size: int) -> View:
    """The surface of the head from `azimuth`."""
    c2w = camera(azimuth)
    w2c = torch.linalg.inv(c2w).to(gaussians.positions.dtype)
    along = gaussians.positions @ w2c[2, :3] + w2c[2, 3]
    rgba = render_rgba(_painted(gaussians, (along - NEAR) / (FAR - NEAR)), c2w, intrinsics(size), size, size)[0].numpy()
    solid = rgba[..., 3] > OPAQUE
    depth = rgba[..., 0] / rgba[..., 3].clip(1e-4) * (FAR - NEAR) + NEAR
    # Blur only along the surface, not across its outline.
    weight = cv2.GaussianBlur(solid.astype(np.float32), (0, 0), SMOOTH * size)
    depth = cv2.GaussianBlur(np.where(solid, depth, 0).astype(np.float32), (0, 0), SMOOTH * size) / weight.clip(1e-4)
    focal = intrinsics(size)[0].item()
    across = (np.arange(size) + 0.5 - size / 2) / focal
    rays = np.stack([*np.meshgrid(across, across), np.ones((size, size))], -1)
    c2w = c2w.numpy()
    points = (rays * depth[..., None]) @ c2w[:3, :3].T + c2w[:3, 3]
    down, right = np.gradient(points, axis=(0, 1))
    normals = np.cross(down, right)
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True).clip(1e-12)
    facing = (normals * (c2w[:3, 3] - points)).sum(-1, keepdims=True)
    return View(c2w, focal, points, np.where(facing < 0, -normals, normals), solid)


def showing(inner: Gaussians, head: Gaussians, azimuth: float, size: int) -> np.ndarray:
    """(N,) how much of the pixel at which `azimuth` sees each of N `inner` Gaussians shows any of them, in [0, 1]."""
    both = concatenate([_painted(inner, torch.ones(len(inner))), _painted(head, torch.zeros(len(head)))])
    c2w = camera(azimuth)
    share = render_rgba(both, c2w, intrinsics(size), size, size)[0, ..., 0].numpy()
    pixels, _ = _projected(inner.positions.double().numpy(), c2w.numpy(), intrinsics(size)[0].item(), size)
    x, y = np.floor(pixels).astype(int).clip(0, size - 1).T
    return share[y, x]


def _projected(points: np.ndarray, c2w: np.ndarray, focal: float, size: int) -> tuple[np.ndarray, np.ndarray]:
    """(N, 2) pixels of a view of size² pixels, and (N,) depths, of (N, 3) points of the world."""
    own = (points - c2w[:3, 3]) @ c2w[:3, :3]
    return own[:, :2] / own[:, 2:] * focal + size / 2, own[:, 2]


def _painted(gaussians: Gaussians, gray: torch.Tensor) -> Gaussians:
    """The Gaussians in (N,) shades of gray from 0 to 1."""
    return replace(gaussians, sh=((gray - 0.5) / SH_C0)[:, None, None].expand(-1, 1, 3))

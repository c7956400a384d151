"""References for splats rendered in Blender: a synthetic head, and the renderer of facelift_core."""

from __future__ import annotations

import math

import numpy as np
import torch

from facelift_core.gaussians.files import SplatArrays
from facelift_core.gaussians.transforms import transform
from facelift_core.rendering import render_rgba

CAMERAS = {"front": (270.0, 0.0), "side": (340.0, 20.0), "back": (100.0, -10.0)}
"""Azimuth and elevation in degrees."""


def synthetic_head(count: int, sh_degree: int, seed: int = 0) -> SplatArrays:
    """Return flat splats on an ellipsoid with eyes, mouth and hair, and some large faint ones around it."""
    draw = np.random.default_rng(seed)
    around = draw.normal(size=(count, 3))
    around /= np.linalg.norm(around, axis=1, keepdims=True)
    radii = np.array([0.42, 0.5, 0.62])
    normal = around / radii
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    color = np.tile([0.82, 0.62, 0.52], (count, 1))
    color[(around[:, 2] > 0.5) | ((around[:, 1] > 0.3) & (around[:, 2] > -0.3))] = (0.2, 0.13, 0.08)
    for side in (-1, 1):
        distance = np.linalg.norm(around - [0.32 * side, -0.93, 0.15], axis=1)
        color[distance < 0.13] = 0.95
        color[distance < 0.06] = (0.1, 0.2, 0.35)
    mouth = (np.abs(around[:, 0]) < 0.3) & (np.abs(around[:, 2] + 0.45) < 0.06) & (around[:, 1] < 0)
    color[mouth] = (0.7, 0.2, 0.2)
    color += draw.normal(size=(count, 3)) * 0.04

    tangent = np.cross(normal, draw.normal(size=(count, 3)))
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    half = np.stack([np.ones(count), np.zeros(count), np.zeros(count), np.zeros(count)], axis=1)
    half[:, 1:] = np.cross([0.0, 0.0, 1.0], normal)  # turns Z into the normal
    half[:, 0] = 1.0 + normal[:, 2]
    spacing = math.sqrt(4.0 * math.pi * 0.5**2 / count)
    scales = spacing * np.exp(draw.normal(size=(count, 1)) * 0.3) * np.array([1.2, 0.7, 0.15])
    opacity = draw.uniform(0.3, 0.99, count)
    haze = draw.random(count) < 0.01
    scales[haze] *= 8.0
    opacity[haze] = 0.05
    sh = np.zeros((count, (sh_degree + 1) ** 2, 3))
    sh[:, 0] = (color - 0.5) / 0.28209479177387814
    sh[:, 1:] = draw.normal(size=sh[:, 1:].shape) * 0.08
    fields = (around * radii, sh, np.log(scales), half, np.log(opacity / (1.0 - opacity)))
    return SplatArrays(*(np.ascontiguousarray(values, np.float32) for values in fields))


def uneven() -> np.ndarray:
    """Return an object matrix with translation, rotation and nonuniform scale."""
    a, b = 0.5, 0.3
    turn_z = np.array([[math.cos(a), -math.sin(a), 0], [math.sin(a), math.cos(a), 0], [0, 0, 1]])
    turn_x = np.array([[1, 0, 0], [0, math.cos(b), -math.sin(b)], [0, math.sin(b), math.cos(b)]])
    matrix = np.eye(4)
    matrix[:3, :3] = turn_z @ turn_x @ np.diag([1.1, 0.7, 0.9])
    matrix[:3, 3] = (0.12, -0.1, 0.05)
    return matrix


def reference(splats: SplatArrays, matrix: np.ndarray, camera: dict, linear: bool) -> np.ndarray:
    """Render the reference, (H, W, 4) premultiplied."""
    moved = transform(splats, matrix)
    if linear:  # blend linear values instead of displayed ones
        colors = np.maximum(moved.colors, 0.0)
        colors = np.where(colors <= 0.04045, colors / 12.92, ((colors + 0.055) / 1.055) ** 2.4)
        moved = SplatArrays(
            moved.positions, ((colors - 0.5) / 0.28209479177387814)[:, None].astype(np.float32), moved.log_scales,
            moved.rotations, moved.opacity_logits,
        )  # fmt: skip
    c2w, focal, (width, height) = torch.tensor(camera["c2w"]), camera["focal"], camera["size"]
    intrinsics = torch.tensor([focal, focal, width / 2, height / 2])
    with torch.no_grad():
        return render_rgba(moved.to_gaussians(), c2w, intrinsics, width, height)[0].numpy()


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(-10.0 * np.log10(max(np.mean((a.astype(np.float64) - b) ** 2), 1e-12)))

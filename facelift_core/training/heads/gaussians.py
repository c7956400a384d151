"""Gaussians on the surface of a synthetic head: what a perfect reconstruction would be."""

from __future__ import annotations

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from ...gaussians.tensors import SH_C0, Gaussians
from .scene import Head

RADIUS, THICKNESS = 0.0065, 0.0005
"""Standard deviations of the discs, in world units."""
OPACITY_LOGIT = 4.0
FACE_SHARE = 3.0
"""Density in front of the plane y = FRONT, relative to the rest."""
FRONT = -0.3


def surface_gaussians(head: Head, count: int = 220_000, seed: int = 0) -> Gaussians:
    """`count` small discs at random places of the head's surface, with its diffuse colors."""
    rng = np.random.default_rng(seed)
    corners = head.vertices[head.triangles]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    area = np.linalg.norm(normals, axis=1)
    density = area * np.where(corners[..., 1].mean(1) < FRONT, FACE_SHARE, 1)
    chosen = rng.choice(len(corners), count, p=density / density.sum())
    shares = rng.dirichlet(np.ones(3), count)
    normal = normals[chosen] / area[chosen, None].clip(1e-12)
    across = np.cross(normal, np.eye(3)[np.abs(normal).argmin(1)])
    across /= np.linalg.norm(across, axis=1, keepdims=True)
    axes = np.stack([across, np.cross(normal, across), normal], -1)
    light = np.einsum("nk,nkc->nc", shares, head.colors[head.triangles[chosen]]).clip(0, 1)
    color = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return Gaussians(
        _tensor(np.einsum("nk,nkc->nc", shares, corners[chosen])),
        _tensor((color - 0.5) / SH_C0)[:, None],
        _tensor(np.log([RADIUS, RADIUS, THICKNESS])).expand(count, 3),
        _tensor(Rotation.from_matrix(axes).as_quat()[:, [3, 0, 1, 2]]),
        torch.full((count,), OPACITY_LOGIT),
    )


def _tensor(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, np.float32))

"""The cameras that the model was trained with (docs/model.md, 5).

``c2w`` maps camera to world, in the OpenCV convention (x right, y down, z forward). In the world, Z is up and the head
faces −Y. Intrinsics are ``fx, fy, cx, cy`` in pixels.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

VIEW_NAMES = ("front", "front_right", "right", "back", "left", "front_left")
VIEW_AZIMUTHS = (270.0, 225.0, 180.0, 90.0, 0.0, 315.0)
"""Degrees, counterclockwise seen from above; the camera at 270° looks at the face."""
RADIUS = 2.7
FIELD_OF_VIEW = math.radians(50.0)
"""Horizontal field of view of all cameras, in radians; fx = fy = 548.9937744140625 in float32 at 512 pixels."""


def intrinsics(width: int, height: int | None = None) -> Tensor:
    """Return fx, fy, cx, cy in pixels for a `width` × `height` image (square by default), (4,) float64."""
    height = width if height is None else height
    focal = 0.5 * width / math.tan(0.5 * FIELD_OF_VIEW)
    return torch.tensor([focal, focal, width / 2, height / 2], dtype=torch.float64)


def orbit(azimuths: Tensor, elevations: Tensor | float = 0.0, radius: float = RADIUS) -> Tensor:
    """Return upright cameras on a sphere around the origin that look at the origin.

    Args:
        azimuths: (V,) degrees, counterclockwise seen from above; 270 is in front of the face.
        elevations: (V,) or a number, degrees above the horizon, |elevation| < 90.
        radius: distance from the origin in world units.

    Returns:
        (V, 4, 4) float64 c2w.
    """
    azimuth = torch.deg2rad(torch.as_tensor(azimuths, dtype=torch.float64))
    elevation = torch.deg2rad(torch.as_tensor(elevations, dtype=torch.float64)).expand_as(azimuth)
    backward = torch.stack([azimuth.cos() * elevation.cos(), azimuth.sin() * elevation.cos(), elevation.sin()], dim=-1)
    right = torch.stack([-azimuth.sin(), azimuth.cos(), torch.zeros_like(azimuth)], dim=-1)
    down = torch.linalg.cross(-backward, right)
    c2w = torch.eye(4, dtype=torch.float64).repeat(len(azimuth), 1, 1)
    c2w[:, :3, :3] = torch.stack([right, down, -backward], dim=-1)
    c2w[:, :3, 3] = radius * backward
    return c2w


def six_views() -> Tensor:
    """Return the cameras of the six views, (6, 4, 4) float64 c2w: front, front right, right, back, left, front left."""
    return orbit(torch.tensor(VIEW_AZIMUTHS))


def turntable(frames: int, start: float = 270.0, elevation: float = 0.0) -> Tensor:
    """Return cameras once around the head, counterclockwise seen from above, (frames, 4, 4) float64 c2w.

    Args:
        frames: number of cameras.
        start: azimuth of the first camera in degrees; 270 is in front of the face.
        elevation: degrees above the horizon.
    """
    return orbit(start + 360.0 * torch.arange(frames, dtype=torch.float64) / frames, elevation)

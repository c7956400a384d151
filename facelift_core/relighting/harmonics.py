"""Light from all directions as spherical harmonics up to order 2, in the order of 3D Gaussian Splatting."""

from __future__ import annotations

import numpy as np

from ..gaussians.transforms import basis

ORDER = 2
COUNT = (ORDER + 1) ** 2


def directions(count: int) -> np.ndarray:
    """(count, 3) unit vectors, evenly spread over the sphere."""
    number = np.arange(count)
    z, turn = 1 - 2 * (number + 0.5) / count, number * np.pi * (3 - 5**0.5)
    ring = np.sqrt(1 - z * z)
    return np.stack([ring * np.cos(turn), ring * np.sin(turn), z], axis=1)


def projected(toward: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(9, 3) harmonics of light from (L, 3) unit vectors, given as (L, 3) radiance times solid angle."""
    return (basis(np.asarray(toward, np.float64), ORDER).T @ weights).astype(np.float32)


def radiance(light: np.ndarray, toward: np.ndarray) -> np.ndarray:
    """(N, 3) radiance that arrives from (N, 3) unit vectors."""
    return basis(np.asarray(toward, np.float64), ORDER) @ light

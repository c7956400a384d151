"""Smooth functions of position, used to paint and displace heads."""

from __future__ import annotations

import numpy as np


def smoothstep(start: float, end: float, x: np.ndarray) -> np.ndarray:
    """0 before `start`, 1 after `end`, smooth in between; decreasing if `start` > `end`."""
    t = np.clip((x - start) / (end - start), 0, 1)
    return t * t * (3 - 2 * t)


def bump(x: np.ndarray, center: float, width: float) -> np.ndarray:
    """Gaussian of height 1."""
    return np.exp(-(((x - center) / width) ** 2))


def noise(points: np.ndarray, rng: np.random.Generator, frequency: float, waves: int = 5) -> np.ndarray:
    """Smooth noise with a variance of about 1: a sum of random plane waves.

    Args:
        points: (N, D) positions; scale an axis to stretch the noise along it.
        frequency: angular frequency in radians per unit of length.
        waves: number of plane waves.
    """
    directions = rng.normal(0, frequency, (points.shape[1], waves)).astype(np.float32)
    phases = rng.uniform(0, 2 * np.pi, waves).astype(np.float32)
    return np.sin(points.astype(np.float32) @ directions + phases).sum(1) * np.sqrt(2 / waves, dtype=np.float32)


def blend(colors: np.ndarray, towards: np.ndarray, weight: np.ndarray) -> None:
    """Blend (N, 3) colors toward one color or (N, 3) colors by (N,) weights, in place."""
    colors += (towards - colors) * np.clip(weight, 0, 1)[:, None].astype(colors.dtype)


def linear(srgb: np.ndarray | list) -> np.ndarray:
    """Convert sRGB values in [0, 1] to linear light."""
    srgb = np.asarray(srgb, np.float32)
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4).astype(np.float32)

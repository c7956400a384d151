"""Smooth functions of position that paint and displace the heads."""

from __future__ import annotations

import numpy as np


def smoothstep(start: float, end: float, x: np.ndarray) -> np.ndarray:
    """0 before `start`, 1 after `end`, smooth between; falls instead of rises when `start` > `end`."""
    t = np.clip((x - start) / (end - start), 0, 1)
    return t * t * (3 - 2 * t)


def bump(x: np.ndarray, centre: float, width: float) -> np.ndarray:
    """Gaussian of height 1."""
    return np.exp(-(((x - centre) / width) ** 2))


def noise(points: np.ndarray, rng: np.random.Generator, frequency: float, waves: int = 5) -> np.ndarray:
    """Smooth noise of about unit variance: a sum of random plane waves.

    Args:
        points: (N, D) positions; stretch an axis beforehand to stretch the noise.
        frequency: angular, radians per unit of length.
    """
    directions = rng.normal(0, frequency, (points.shape[1], waves)).astype(np.float32)
    phases = rng.uniform(0, 2 * np.pi, waves).astype(np.float32)
    return np.sin(points.astype(np.float32) @ directions + phases).sum(1) * np.sqrt(2 / waves, dtype=np.float32)


def blend(colours: np.ndarray, towards: np.ndarray, weight: np.ndarray) -> None:
    """Moves (N, 3) colours towards a colour or (N, 3) colours by (N,) weights, in place."""
    colours += (towards - colours) * np.clip(weight, 0, 1)[:, None].astype(colours.dtype)


def linear(srgb: np.ndarray | list) -> np.ndarray:
    """Linear light from sRGB values in [0, 1]."""
    srgb = np.asarray(srgb, np.float32)
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4).astype(np.float32)

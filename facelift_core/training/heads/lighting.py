"""Lighting of a head: a soft environment and one to four lamps, all of them distant, with shadows.

The environment consists of a dozen directions with random radiance (sky, ground, a bright side, a tint). Environment
and lamps are summed at every vertex with shadow maps, which darkens areas under chin, nose and hair.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

import numpy as np

from ...compute.native import load, pointer

ENVIRONMENT = 12
_SCATTER = np.array([0.40, 0.22, 0.16], np.float32)
"""How far red, green and blue light reaches past the terminator in skin."""


@dataclass(frozen=True)
class Lighting:
    """Distant lights. The first `lamps` cause highlights; the others are the environment.

    Attributes:
        directions: (L, 3) float32 unit vectors toward the lights.
        radiance: (L, 3) float32 linear RGB.
        lamps: number of lamps.
    """

    directions: np.ndarray
    radiance: np.ndarray
    lamps: int


def sample_lighting(rng: np.random.Generator) -> Lighting:
    """Random portrait lighting: mostly from the front and above, sometimes hard, warm, colored or from behind."""
    lamps = int(rng.integers(1, 4))
    directions, radiance = [], []
    # Fraction of light from the environment: mostly soft light, sometimes one hard lamp.
    softness = rng.uniform(0.3, 0.9) if rng.random() < 0.75 else rng.uniform(0.12, 0.3)
    white = _white(rng, rng.choice([0.04, 0.10], p=[0.8, 0.2]))
    for lamp in range(lamps):
        azimuth = rng.normal(-np.pi / 2, 0.7) if lamp == 0 else rng.uniform(0, 2 * np.pi)
        elevation = rng.uniform(0.0, 1.0)
        directions.append(_direction(azimuth, elevation))
        colored = rng.random() < (0.2 if lamp else 0.04)
        tint = white * (1 + rng.normal(0, 0.35 if lamp else 0.15, 3)) if colored else white * _white(rng, 0.03)
        radiance.append(np.clip(tint, 0.1, None) * (1.0 if lamp == 0 else rng.uniform(0.1, 0.5)) * (1 - softness))
    if rng.random() < 0.2:  # a rim light from behind, on one side
        behind = np.pi / 2 + rng.choice([-1, 1]) * rng.uniform(0.3, 1.3)
        directions.append(_direction(behind, rng.uniform(0.0, 0.9)))
        tint = 1 + rng.normal(0, 0.3, 3) * (rng.random() < 0.3)
        radiance.append(white * np.clip(tint, 0.1, None) * rng.uniform(0.4, 1.4) * (1 - softness))
        lamps += 1
    sky, ground = rng.uniform(0.6, 1.4), rng.uniform(0.2, 0.8)
    side = _direction(rng.uniform(0, 2 * np.pi), rng.uniform(-0.2, 0.8))
    side_strength = rng.uniform(0, 1.2)
    tint = _white(rng, 0.03)
    cast = np.clip(1 + rng.normal(0, 0.35, 3), 0.3, None) if rng.random() < 0.12 else np.ones(3)  # a colored wall
    for k in range(ENVIRONMENT):
        z = 1 - 2 * (k + 0.5) / ENVIRONMENT
        direction = _direction(k * np.pi * (3 - np.sqrt(5)), np.arcsin(z))
        level = ground + (sky - ground) * 0.5 * (1 + z) + side_strength * cast * max(0.0, direction @ side) ** 2
        directions.append(direction)
        radiance.append(level * white * tint * softness * 4.0 / ENVIRONMENT)
    return Lighting(np.array(directions, np.float32), np.array(radiance, np.float32), lamps)


def _direction(azimuth: float, elevation: float) -> np.ndarray:
    return np.array([np.cos(azimuth) * np.cos(elevation), np.sin(azimuth) * np.cos(elevation), np.sin(elevation)])


def _white(rng: np.random.Generator, spread: float) -> np.ndarray:
    """A warmer or cooler white, rarely a greener one, like errors of a camera's white balance."""
    warmth, green = rng.normal(0, spread), rng.normal(0, 0.15 * spread)
    return np.array([1 + warmth, 1 + green, 1 - warmth])


def irradiance(
    vertices: np.ndarray, normals: np.ndarray, triangles: np.ndarray, scatter: np.ndarray, lighting: Lighting
) -> tuple[np.ndarray, np.ndarray]:
    """Incoming light at each vertex, (V, 3) linear RGB, and visibility of each light, (L, V) in [0, 1].

    Args:
        vertices, normals: (V, 3) float32 in world units.
        scatter: (V,) in [0, 1], 1 for subsurface scattering as in skin.
    """
    lights = len(lighting.directions)
    visibility = np.empty((lights, len(vertices)), np.float32)
    load("zbuffer").light_visibility(
        pointer(vertices, np.float32), len(vertices), pointer(triangles, np.int32), len(triangles),
        pointer(lighting.directions, np.float32), lights, ctypes.c_float(2.2), 160, ctypes.c_float(0.03),
        pointer(visibility, np.float32),
    )  # fmt: skip
    cosine = lighting.directions @ normals.T
    # The environment represents all directions, so its few samples are widened.
    widen = np.zeros((lights, 1), np.float32)
    widen[lighting.lamps :] = 0.35
    total = np.empty_like(vertices)
    for channel in range(3):
        wrap = widen + _SCATTER[channel] * scatter[None] * (1 - widen)
        lit = np.maximum(cosine + wrap, 0) / (1 + wrap) ** 2
        total[:, channel] = lighting.radiance[:, channel] @ (lit * visibility)
    return total, visibility

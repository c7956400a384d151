"""Headwear: caps with visors, beanies, brimmed hats, headbands and headscarves."""

from __future__ import annotations

import numpy as np

from .accessory_meshes import Piece, piece, strip, tube
from .anatomy import Anatomy
from .appearance import Look
from .clothes import cloth_color
from .fields import blend, linear, noise, smoothstep
from .people import Person
from .sheet import CENTER, combed_sheet, grid, hanging_ends, on_scalp


def cap(anatomy: Anatomy, person: Person, rng: np.random.Generator) -> list[Piece]:
    """A cap, a beanie or a brimmed hat."""
    kind = rng.choice(["cap", "beanie", "hat"], p=[0.45, 0.3, 0.25])
    azimuths, _ = grid()
    turn = np.degrees(np.abs(azimuths))
    low = rng.uniform(-0.008, 0.008) + (0.012 if kind == "hat" else 0.0)
    ends = np.interp(turn, [0, 60, 95, 130, 180], [0.782, 0.765, 0.745, 0.715, 0.700]) + low
    thickness = {"cap": rng.uniform(0.013, 0.020), "beanie": rng.uniform(0.014, 0.024), "hat": rng.uniform(0.02, 0.05)}
    color, other = linear(cloth_color(rng)), linear(cloth_color(rng))
    crown = combed_sheet(anatomy, person, color, rng, ends, thickness[kind], cloth=True)
    rim = _rim(azimuths, ends, thickness[kind])
    if kind == "beanie":
        fold = rng.uniform(0.006, 0.011)
        path = rim + np.array([0, 0, 0.6 * fold])
        vertices, triangles = tube(path[:-1], np.full(len(path) - 1, fold), 8, closed=True)
        band = other if rng.random() < 0.3 else color * 0.9
        return [crown, piece(on_scalp(anatomy, person, vertices), vertices[:, 2], band, triangles, 0.0, 0.0)]
    if kind == "hat":
        return [crown, _brim(anatomy, person, rim, color, np.full(len(rim), rng.uniform(0.03, 0.09)), rng)]
    # The visor extends over the forehead (or the nape), farthest in the middle.
    width = np.radians(rng.uniform(48, 60))
    center = 0.0 if rng.random() < 0.85 else np.pi
    distance = np.abs((azimuths - center + np.pi) % (2 * np.pi) - np.pi)
    reach = rng.uniform(0.05, 0.075) * np.sqrt(np.clip(1 - (distance / width) ** 2, 0, 1))
    return [crown, _brim(anatomy, person, rim, other if rng.random() < 0.35 else color, reach, rng)]


def head_band(anatomy: Anatomy, person: Person, rng: np.random.Generator) -> list[Piece]:
    """A band around the hair, level or tilted back."""
    angle = np.linspace(-np.pi, np.pi, 48, endpoint=False)
    tilt = rng.uniform(-0.02, 0.05)
    height = rng.uniform(0.785, 0.805) - tilt * np.cos(angle + np.pi)
    radius = np.interp(height, [0.70, 0.76, 0.80, 0.835], [0.094, 0.097, 0.088, 0.058]) + rng.uniform(0.006, 0.016)
    path = CENTER + np.stack([0.88 * radius * np.sin(angle), -1.12 * radius * np.cos(angle), height - CENTER[2]], 1)
    vertices, triangles = tube(path, np.full(48, rng.uniform(0.004, 0.010)), 8, closed=True)
    color = linear(cloth_color(rng))
    return [piece(on_scalp(anatomy, person, vertices), vertices[:, 2], color, triangles, 0.0, 0.0)]


def head_scarf(anatomy: Anatomy, person: Person, look: Look, rng: np.random.Generator) -> list[Piece]:
    """A headscarf: a sheet around the face down to the shoulders, and cloth painted under the chin."""
    color = linear(cloth_color(rng))
    template = anatomy.template
    azimuth = np.degrees(np.abs(np.arctan2(template[:, 0], -(template[:, 1] - CENTER[1]))))
    under = smoothstep(0.003, -0.003, template[:, 2] - 0.618 - 0.0012 * np.clip(azimuth - 25, 0, 60))
    around = smoothstep(60, 66, azimuth) + smoothstep(0.800, 0.806, template[:, 2])
    covered = np.clip(under + around, 0, 1) * (template[:, 2] > 0.50)
    covered[anatomy.vertices["eyes"]] = 0
    blend(look.albedo, color, covered)
    look.gloss *= 1 - covered
    look.scatter *= (1 - covered).astype(np.float32)
    look.displacement = np.maximum(look.displacement, 0.006 * covered * under).astype(np.float32)
    ends = hanging_ends(rng, rng.uniform(0.53, 0.60), rng.uniform(44, 52), fringe=False)
    return [combed_sheet(anatomy, person, color, rng, ends, rng.uniform(0.010, 0.018), cloth=True)]


def _rim(azimuths: np.ndarray, ends: np.ndarray, thickness: float) -> np.ndarray:
    """(AZIMUTHS, 3) template points where the edge of a hat goes around the head."""
    out = np.interp(ends, [0.70, 0.75, 0.785], [0.094, 0.098, 0.094]) + 0.35 * thickness
    return CENTER + np.stack([0.86 * out * np.sin(azimuths), -1.08 * out * np.cos(azimuths), ends - CENTER[2]], 1)


def _brim(
    anatomy: Anatomy, person: Person, rim: np.ndarray, color: np.ndarray, reach: np.ndarray, rng: np.random.Generator
) -> Piece:
    """A thin plate that extends `reach` (meters, per azimuth) outward from the rim, and slightly down or up."""
    away = rim - CENTER
    away[:, 2] = 0
    away /= np.linalg.norm(away, axis=1, keepdims=True)
    slope = rng.uniform(-0.35, 0.15)
    rings = []
    for share, lift in ((-0.1, 0.003), (0.5, 0.003), (1.0, 0.0), (0.5, -0.003), (-0.1, -0.003)):
        out = np.where(share > 0, share * reach, -0.01)
        rings.append(rim + away * out[:, None] + np.stack([0 * out, 0 * out, lift + slope * np.clip(out, 0, 1)], 1))
    vertices, triangles = strip(rings[::-1])
    shade = np.clip(1 + 0.05 * noise(vertices, rng, 60), 0.5, 1.5)[:, None]
    return piece(on_scalp(anatomy, person, vertices), vertices[:, 2], color * shade, triangles, 0.05, 0.0)

"""Clothes: painted and displaced on the torso, with collars, hoods, scarves and rings as separate meshes."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from .accessory_meshes import Piece, piece, strip, tube
from .anatomy import Anatomy, load_anatomy
from .appearance import Look
from .fields import blend, linear, noise, smoothstep
from .people import Person

NECK = np.array([0.0, -0.028, 0.59])
"""Center of the base of the neck on the template, in meters."""
NECK_RADIUS = np.array([0.058, 0.050])
"""Half the width and depth of the neck there, in meters."""
AROUND = 40


@dataclass(frozen=True)
class Outfit:
    """Parameters of an outfit, in meters on the template.

    Attributes:
        line: height of the neckline at the sides.
        front, width: how much lower the neckline is in front, as a V or scoop of half-width `width`.
        shoulder: |x| beyond which everything is covered, unless bare.
        thickness: thickness of the cloth.
        hem: additional thickness along the neckline.
        collar: "", "shirt", "roll", "hood", "ring", "scarf", "lapels".
    """

    line: float
    front: float = 0.0
    width: float = 0.08
    shoulder: float = 0.08
    thickness: float = 0.005
    hem: float = 0.002
    collar: str = ""


def sample_outfit(person: Person, rng: np.random.Generator) -> Outfit:
    kind = rng.choice(
        ["tee", "v", "shirt", "jacket", "roll", "hood", "puffy", "ring", "scarf", "bare"],
        p=[0.23, 0.10, 0.17, 0.14, 0.07, 0.09, 0.06, 0.03, 0.05, 0.06],
    )
    line, shoulder = rng.uniform(0.574, 0.598), rng.uniform(0.065, 0.10)
    thin, thick = rng.uniform(0.003, 0.008), rng.uniform(0.012, 0.034)
    if kind == "v":
        return Outfit(line, rng.uniform(0.02, 0.07), rng.uniform(0.05, 0.12), shoulder, thin)
    if kind == "shirt":
        return Outfit(rng.uniform(0.585, 0.600), rng.uniform(0.0, 0.04), 0.035, shoulder, thin, collar="shirt")
    if kind == "jacket":
        return Outfit(rng.uniform(0.590, 0.602), 0.0, 0.03, shoulder, rng.uniform(0.006, 0.014), collar="lapels")
    if kind == "roll":
        return Outfit(rng.uniform(0.612, 0.628), 0.0, 0.1, shoulder, thin, rng.uniform(0.004, 0.010), "roll")
    if kind == "hood":
        return Outfit(line, rng.uniform(0.0, 0.02), 0.06, shoulder, rng.uniform(0.008, 0.016), collar="hood")
    if kind == "puffy":
        return Outfit(rng.uniform(0.595, 0.615), 0.0, 0.1, shoulder, thick, rng.uniform(0.0, 0.01))
    if kind == "ring":
        return Outfit(rng.uniform(0.585, 0.60), 0.0, 0.1, shoulder, thick, collar="ring")
    if kind == "scarf":
        return Outfit(line, 0.0, 0.1, shoulder, rng.uniform(0.006, 0.016), collar="scarf")
    if kind == "bare" and person.female > 0.5:
        return Outfit(rng.uniform(0.50, 0.56), rng.choice([0.0, 0.04]), 0.08, rng.uniform(0.09, 0.3), thin)
    return Outfit(line, rng.choice([0.0, rng.uniform(0.0, 0.02)]), 0.1, shoulder, thin)


def dress(anatomy: Anatomy, person: Person, look: Look, rng: np.random.Generator) -> list[Piece]:
    """Paint and displace clothes on `look` in place; returns separate meshes: collar, hood, scarf or ring."""
    outfit = sample_outfit(person, rng)
    base, second = linear(cloth_color(rng)), linear(cloth_color(rng))
    template, skin = anatomy.template, anatomy.vertices["skin"]
    on_skin = np.zeros(len(template), np.float32)
    on_skin[skin] = 1
    x, y, z = np.abs(template[:, 0]), template[:, 1], template[:, 2]
    # The neckline lies on a tilted plane, higher at the back.
    ahead = smoothstep(0.02, -0.07, y)
    edge = outfit.line - (0.0 if outfit.collar == "roll" else 0.022) * ahead
    edge = edge - outfit.front * ahead * smoothstep(outfit.width, 0.0, x)
    edge = edge + 1.5 * np.clip(x - outfit.shoulder, 0, None)  # shoulders are covered at any height
    cover = smoothstep(0.004, -0.004, z - edge) * on_skin
    colors = _cloth(template, base, second, rng)
    if outfit.collar == "lapels":
        _open_front(colors, template, rng, second)
    elif outfit.collar == "shirt":
        buttons = smoothstep(0.006, 0.003, x) * (ahead > 0.5)
        colors *= (1 - 0.25 * buttons)[:, None]
    folds = noise(template * np.array([1, 1, 0.5], np.float32), rng, 35)
    strength = 0.06 + 2.0 * outfit.thickness
    look.albedo += (colors * (1 + strength * folds)[:, None] - look.albedo) * cover[:, None]
    shine = rng.choice([0.0, rng.uniform(0.05, 0.25)], p=[0.75, 0.25])
    look.gloss += cover * (shine - look.gloss)
    look.scatter *= 1 - cover
    hem = smoothstep(0.012, 0.0, np.abs(z - edge + 0.006)) * outfit.hem
    raised = outfit.thickness * (1 + 0.3 * folds) * smoothstep(0.0, 0.03 + outfit.thickness, edge - z + 0.012) + hem
    look.displacement = look.displacement * (1 - cover) + (cover * raised).astype(np.float32)
    make = {"shirt": _shirt_collar, "lapels": _shirt_collar, "hood": _hood, "ring": _ring, "scarf": _scarf}
    if outfit.collar not in make:
        return []
    color = second if outfit.collar == "lapels" or (outfit.collar == "scarf") else base
    return make[outfit.collar](_carry(anatomy, person), color, outfit, rng)


def _cloth(template: np.ndarray, base: np.ndarray, second: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(V, 3) linear colors of plain, striped, checked or printed cloth."""
    colors = np.tile(base, (len(template), 1)).astype(np.float32)
    x, z = template[:, 0], template[:, 2]
    kind, step = rng.random(), rng.uniform(120, 400)
    across, down = smoothstep(-0.2, 0.2, np.sin(x * step)), smoothstep(-0.2, 0.2, np.sin(z * step))
    if kind < 0.12:
        blend(colors, second, down)
    elif kind < 0.15:
        blend(colors, second, across)
    elif kind < 0.20:
        blend(colors, second, 0.5 * (across + down))
    elif kind < 0.27:
        blend(colors, second, smoothstep(0.2, 0.5, noise(template, rng, rng.uniform(50, 160))))
    elif kind < 0.33:  # a print on the chest
        blob = smoothstep(0.0, 0.3, noise(template, rng, 110) + 0.4)
        blend(colors, second, blob * smoothstep(0.08, 0.07, np.abs(x)) * smoothstep(0.54, 0.53, z))
    elif kind < 0.38:  # straps or a yoke of another color
        blend(colors, second, smoothstep(0.055, 0.06, np.abs(x)) * smoothstep(0.10, 0.095, np.abs(x)))
    return colors


def _open_front(colors: np.ndarray, template: np.ndarray, rng: np.random.Generator, shirt: np.ndarray) -> None:
    """Paint an open jacket with lapels over a shirt, sometimes with a tie, in place."""
    x, z = np.abs(template[:, 0]), template[:, 2]
    front = template[:, 1] < -0.02
    opening = rng.uniform(0.020, 0.034) + 0.25 * np.clip(z - rng.uniform(0.40, 0.50), 0, 1)
    lapel = smoothstep(0.018, 0.015, np.abs(x - opening - 0.016)) * front
    colors *= (1 - rng.uniform(0.1, 0.35) * lapel)[:, None]
    inside = smoothstep(0.003, -0.003, x - opening) * front
    blend(colors, shirt, inside)
    if rng.random() < 0.35:
        tie = smoothstep(0.003, -0.003, x - 0.010 - 0.06 * np.clip(0.57 - z, 0, 0.1)) * inside * (z < 0.59)
        blend(colors, linear(cloth_color(rng)), tie)


def _shirt_collar(carry, color: np.ndarray, outfit: Outfit, rng: np.random.Generator) -> list[Piece]:
    """A band around the neck, open in front, that folds down on the outside."""
    gap = np.radians(rng.uniform(6, 28))
    angle = np.linspace(gap, 2 * np.pi - gap, AROUND)  # 0 is the front
    front = 0.5 + 0.5 * np.cos(angle)
    stand, fall = rng.uniform(0.018, 0.034), rng.uniform(0.022, 0.04)
    low = outfit.line - 0.012 - 0.016 * front
    point = rng.uniform(0.0, 0.03) * front**6
    rings = [
        _ring_points(angle, low + stand - fall - point, 0.022 + 0.012 * (1 - front)),
        _ring_points(angle, low + stand + 0.002, 0.010),
        _ring_points(angle, low + stand, 0.004),
        _ring_points(angle, low, 0.006),
    ]
    return [_strip(carry, rings, color * rng.uniform(0.85, 1.1), rng)]


def _hood(carry, color: np.ndarray, outfit: Outfit, rng: np.random.Generator) -> list[Piece]:
    """A hood that lies on the back, thick at the back and thin in front, sometimes with cords."""
    angle = np.linspace(0, 2 * np.pi, AROUND, endpoint=False)
    behind = 0.5 - 0.5 * np.cos(angle)
    path = _ring_points(angle, outfit.line - 0.022 + 0.016 * behind, 0.014 + 0.018 * behind)
    radius = rng.uniform(0.010, 0.014) + rng.uniform(0.008, 0.024) * behind**1.5
    pieces = [_tube(carry, path, radius, color * rng.uniform(0.8, 1.1), True, rng)]
    if rng.random() < 0.4:
        cord = linear([0.85, 0.85, 0.83]) if rng.random() < 0.5 else color * 0.6
        for side in (-1, 1):
            steps = np.linspace(0, 1, 8)
            x = side * (0.022 + 0.006 * steps)
            fall = np.stack([x, np.full(8, -0.105) - 0.02 * steps, outfit.line - 0.02 - 0.09 * steps], 1)
            pieces.append(_tube(carry, fall, np.full(8, 0.0028), cord, False, rng))
    return pieces


def _ring(carry, color: np.ndarray, outfit: Outfit, rng: np.random.Generator) -> list[Piece]:
    """A rigid ring around the neck, as of a helmet, life jacket or neck rest."""
    angle = np.linspace(0, 2 * np.pi, AROUND, endpoint=False)
    out = rng.uniform(0.03, 0.055)
    height = outfit.line + rng.uniform(-0.005, 0.02) - 0.028 * (0.5 + 0.5 * np.cos(angle))
    metal = linear([0.5, 0.5, 0.52]) * rng.uniform(0.2, 1.2) if rng.random() < 0.5 else linear(cloth_color(rng))
    radius = np.full(AROUND, rng.uniform(0.006, 0.013))
    rings = [_ring_points(angle, height - drop, out + 0.3 * drop) for drop in (0.06, 0.03, 0.0)]
    wall = _strip(carry, [np.concatenate([ring, ring[:1]]) for ring in rings], color, rng)
    return [_tube(carry, _ring_points(angle, height, out), radius, metal, True, rng, gloss=0.4), wall]


def _scarf(carry, color: np.ndarray, outfit: Outfit, rng: np.random.Generator) -> list[Piece]:
    """Two thick loops around the neck."""
    pieces = []
    angle = np.linspace(0, 2 * np.pi, AROUND, endpoint=False)
    thick = rng.uniform(0.014, 0.024)
    for loop in range(2):
        tilt = 0.012 * np.cos(angle) + 0.006 * np.sin(angle * 2 + rng.uniform(0, 6))
        path = _ring_points(angle, 0.588 + 0.022 * loop - tilt, 0.012 - 0.006 * loop + 0.012 * np.cos(angle) ** 2)
        radius = thick * (1 + 0.15 * np.sin(angle * 5 + rng.uniform(0, 6)))
        pieces.append(_tube(carry, path, radius, color, True, rng))
    return pieces


def _ring_points(angle: np.ndarray, height: np.ndarray | float, out: np.ndarray | float) -> np.ndarray:
    """(N, 3) template points around the neck, `out` meters away from it; angle 0 is the front."""
    radius = NECK_RADIUS[:, None] + out
    x, y = radius[0] * np.sin(angle), NECK[1] - radius[1] * np.cos(angle)
    return np.stack([x, y, np.broadcast_to(height, angle.shape)], 1)


def _tube(carry, path, radius, color, closed: bool, rng: np.random.Generator, gloss: float = 0.0) -> Piece:
    vertices, triangles = tube(path, radius, 10, closed)
    shade = np.clip(1 + 0.10 * noise(vertices, rng, 90), 0.5, 1.5)[:, None]
    return piece(carry(vertices), vertices[:, 2], color * shade, triangles, gloss, 0.0)


def _strip(carry, rings: list[np.ndarray], color: np.ndarray, rng: np.random.Generator) -> Piece:
    """A piece through rings of points, ordered from bottom to top, that faces outward."""
    vertices, triangles = strip(rings)
    shade = np.clip(1 + 0.05 * noise(vertices, rng, 60), 0.5, 1.5)[:, None]
    return piece(carry(vertices), vertices[:, 2], color * shade, triangles, 0.0, 0.0)


@functools.cache
def _fit() -> tuple[np.ndarray, np.ndarray]:
    """Vertices around the neck, and the (4, n) matrix of their least-squares affine map."""
    anatomy = load_anatomy()
    skin = anatomy.vertices["skin"]
    x, _, z = anatomy.template[skin].T
    near = skin[(z > 0.55) & (z < 0.61) & (np.abs(x) < 0.10)]
    points = np.concatenate([anatomy.template[near], np.ones((len(near), 1))], 1)
    return near, np.linalg.pinv(points)


def _carry(anatomy: Anatomy, person: Person):
    """A function that maps template points to the person by the affine map that best fits the neck."""
    near, inverse = _fit()
    matrix = inverse @ person.vertices[near]
    return lambda points: points @ matrix[:3] + matrix[3]


def cloth_color(rng: np.random.Generator) -> np.ndarray:
    """A random sRGB color: mostly muted, dark or white, sometimes any color."""
    if rng.random() < 0.45:
        gray = rng.choice([rng.uniform(0.05, 0.25), rng.uniform(0.25, 0.6), rng.uniform(0.75, 0.90)])
        return np.clip(gray + rng.normal(0, 0.02, 3), 0, 1)
    color = rng.uniform(0.08, 0.85, 3)
    return np.clip(color.mean() + (color - color.mean()) * rng.uniform(0.3, 1.6), 0.03, 0.95)

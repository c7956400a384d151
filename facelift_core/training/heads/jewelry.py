"""Earrings and necklaces."""

from __future__ import annotations

import numpy as np

from .accessory_meshes import Piece, piece, tube
from .anatomy import Anatomy
from .clothes import NECK, NECK_RADIUS
from .fields import linear
from .people import Person

METALS = linear([[0.83, 0.65, 0.30], [0.75, 0.75, 0.77], [0.92, 0.90, 0.86], [0.15, 0.15, 0.16]])


def sample_jewelry(anatomy: Anatomy, person: Person, rng: np.random.Generator) -> list[Piece]:
    """Earrings for one woman in three and few men, necklaces for fewer people; otherwise an empty list."""
    female = person.female > 0.5
    pieces = []
    color = METALS[rng.integers(4)] if rng.random() < 0.8 else linear(rng.uniform(0.1, 0.9, 3))
    if rng.random() < (0.35 if female else 0.04):
        pieces += _earrings(anatomy, person, color, rng)
    if rng.random() < (0.22 if female else 0.06):
        pieces.append(_necklace(anatomy, person, color, rng))
    return pieces


def _earrings(anatomy: Anatomy, person: Person, color: np.ndarray, rng: np.random.Generator) -> list[Piece]:
    skin = anatomy.vertices["skin"]
    kind, size = rng.choice(["stud", "hoop", "drop"]), rng.uniform(0.6, 1.3)
    pieces = []
    for side in (-1, 1):
        x, _, z = anatomy.template[skin].T
        lobe = person.vertices[skin[(anatomy.masks["ears"][skin] > 0.5) & (x * side > 0) & (z < 0.688)]].mean(0)
        if kind == "hoop":
            radius = 0.013 * size
            angle = np.linspace(0, 2 * np.pi, 16, endpoint=False)
            path = lobe + np.stack([0 * angle, radius * np.sin(angle), radius * (np.cos(angle) - 1)], 1)
            mesh = tube(path, np.full(16, 0.0016), 5, closed=True)
        else:
            length = 0.008 * size if kind == "stud" else 0.035 * size
            steps = np.linspace(0, 1, 8)
            path = lobe + np.stack([side * 0.003 + 0 * steps, 0 * steps, 0.004 - length * steps], 1)
            mesh = tube(path, 0.0045 * size * np.sqrt(np.sin(np.pi * np.clip(steps, 0.02, 0.98))), 8)
        pieces.append(piece(mesh[0], np.full(len(mesh[0]), 0.69), color, mesh[1], 0.6, 0.0))
    return pieces


def _necklace(anatomy: Anatomy, person: Person, color: np.ndarray, rng: np.random.Generator) -> Piece:
    """A ring around the neck, lower in front, that lies on the skin of neck and chest."""
    count = 48
    angle = np.linspace(0, 2 * np.pi, count, endpoint=False)
    front = 0.5 + 0.5 * np.cos(angle)
    hang = rng.uniform(0.02, 0.06)
    wide = NECK_RADIUS[:, None] + 0.012 + 0.02 * front
    ring = np.stack(
        [wide[0] * np.sin(angle), NECK[1] - wide[1] * np.cos(angle), NECK[2] + 0.008 - hang * front**1.5], 1
    )
    skin = anatomy.vertices["skin"]
    near = skin[(anatomy.template[skin, 2] > 0.5) & (anatomy.template[skin, 2] < 0.615)]
    distance = ((anatomy.template[near][None] - ring[:, None]) ** 2).sum(-1)
    path = person.vertices[near[distance.argmin(1)]].astype(np.float64)
    for _ in range(2):
        path = 0.5 * path + 0.25 * (np.roll(path, 1, 0) + np.roll(path, -1, 0))
    path += (path - path.mean(0)) * [0.06, 0.06, 0]
    beads = 0.0014 + rng.choice([0.0, rng.uniform(0.001, 0.003)]) * (np.arange(count) % 2)
    vertices, triangles = tube(path, beads, 6, closed=True)
    heights = np.repeat(ring[:, 2], 6)
    return piece(vertices, heights, color, triangles, 0.5, 0.0)

"""Glasses: rims, bridge and temples as thin tubes, sometimes with dark lenses."""

from __future__ import annotations

import numpy as np

from .accessory_meshes import Piece, piece, tube
from .anatomy import Anatomy
from .fields import linear
from .people import Person

EYE_HEIGHT, EYE_APART = 0.727, 0.0325
"""Height of the eyes, and half the distance between them, on the template in meters."""


def sample_glasses(anatomy: Anatomy, person: Person, rng: np.random.Generator) -> list[Piece]:
    """Glasses that fit the person, for about one head in six; otherwise an empty list."""
    if rng.random() > 0.16:
        return []
    width, height = rng.uniform(0.021, 0.0285), rng.uniform(0.014, 0.023)
    roundness = rng.uniform(2.0, 4.5)  # exponent of the superellipse: 2 is an ellipse, more is squarer
    thickness = rng.choice([0.0007, 0.0013, 0.0021])
    front, middle = -0.1575, EYE_HEIGHT - rng.uniform(0.0, 0.005)
    apart = max(EYE_APART, width + 0.0075)
    angle = np.linspace(0, 2 * np.pi, 28, endpoint=False)
    cos, sin = np.cos(angle), np.sin(angle)
    outline = np.stack(
        [width * np.sign(cos) * np.abs(cos) ** (2 / roundness), height * np.sign(sin) * np.abs(sin) ** (2 / roundness)],
        1,
    )
    color = linear(
        [[0.05, 0.05, 0.05], [0.22, 0.13, 0.07], [0.55, 0.5, 0.45], [0.65, 0.55, 0.3], rng.uniform(0.05, 0.7, 3)]
    )[rng.choice(5, p=[0.45, 0.2, 0.15, 0.08, 0.12])]
    paths, discs = [], []
    for side in (-1, 1):
        x = side * apart + outline[:, 0]
        # Frames are curved backward toward the temples.
        rim = np.stack([x, front + 1.6 * x * x, middle + outline[:, 1]], 1)
        paths.append((rim, True))
        discs.append(rim)
        hinge = side * (apart + width)
        back = np.array([[hinge, front + 1.6 * hinge * hinge], [side * 0.079, -0.115], [side * 0.086, -0.045]])
        steps = np.linspace(0, 2, 12)
        temple = np.stack([np.interp(steps, [0, 1, 2], back[:, k]) for k in range(2)], 1)
        rise = middle + 0.5 * height + np.linspace(0, 1, 12) * (0.733 - middle - 0.5 * height)
        paths.append((np.column_stack([temple, rise]), False))
    inner = apart - width
    across = np.linspace(-inner, inner, 7)
    bow = middle + 0.35 * height + 0.002 * np.cos(across / max(inner, 1e-4) * np.pi / 2)
    paths.append((np.column_stack([across, front + 1.6 * across**2, bow]), False))

    carry = _face_fit(anatomy, person)
    pieces = []
    for path, closed in paths:
        vertices, triangles = tube(path, np.full(len(path), thickness), 5, closed)
        pieces.append(piece(carry(vertices), vertices[:, 2], color, triangles, 0.5, 0.0))
    if rng.random() < 0.15:  # sunglasses
        tint = linear(rng.uniform(0.03, 0.16, 3))
        for rim in discs:
            vertices = np.concatenate([rim, rim.mean(0, keepdims=True)])
            around = np.arange(len(rim))
            triangles = np.stack([around, np.roll(around, -1), np.full(len(rim), len(rim))], 1)
            pieces.append(piece(carry(vertices), vertices[:, 2], tint, triangles, 0.7, 0.0))
    return pieces


def _face_fit(anatomy: Anatomy, person: Person):
    """A function that maps template points to the person by the affine map that best fits eyes, nose and temples."""
    skin = anatomy.vertices["skin"]
    x, y, z = anatomy.template[skin].T
    near = skin[(z > 0.715) & (z < 0.75) & (y < -0.02) & (anatomy.masks["inside-mouth"][skin] < 0.5)]
    points = np.concatenate([anatomy.template[near], np.ones((len(near), 1))], 1)
    matrix = np.linalg.lstsq(points, person.vertices[near], rcond=None)[0]
    bridge = skin[(np.abs(x) < 0.004) & (z > 0.722) & (z < 0.735) & (y < -0.13)]
    fitted = anatomy.template[bridge] @ matrix[:3] + matrix[3]
    # A high nasal bridge pushes the frame forward.
    forward = min(0.0, float((person.vertices[bridge, 1] - fitted[:, 1]).min()))

    def carry(template_points: np.ndarray) -> np.ndarray:
        carried = template_points @ matrix[:3] + matrix[3]
        carried[:, 1] += forward
        return carried

    return carry

"""Hairstyles: a painted and displaced scalp, combed sheets over it, buns, ponytails and braids."""

from __future__ import annotations

import numpy as np

from . import headwear
from .accessory_meshes import Piece, piece, tube
from .anatomy import Anatomy
from .appearance import Look
from .fields import blend, noise, smoothstep
from .people import CHILD, Person
from .sheet import CENTER, combed_sheet, grid, hairline, hanging_ends, on_scalp


def grow(anatomy: Anatomy, person: Person, look: Look, rng: np.random.Generator) -> list[Piece]:
    """Paint and displace the scalp of `look` in place; returns separate meshes: hair, a hat or a scarf."""
    female = person.female > 0.5
    cover = rng.random()
    if female and cover < 0.06:
        return headwear.head_scarf(anatomy, person, look, rng)
    if cover > 0.90:
        _scalp(anatomy, look, rng, 0.002, 1.0, recede=0.0)
        below = []
        if female or rng.random() < 0.2:
            ends = hanging_ends(rng, rng.uniform(0.45, 0.68), rng.uniform(60, 85), fringe=False)
            below = [_sheet(anatomy, person, look, rng, ends, rng.uniform(0.003, 0.006))]
        return below + headwear.cap(anatomy, person, rng)
    if rng.random() < (0.015 if female else 0.09) and person.age > CHILD:
        _scalp(anatomy, look, rng, 0.0, rng.choice([0.0, 0.25, 0.45]), recede=0.0)
        return []
    band = headwear.head_band(anatomy, person, rng) if rng.random() < (0.06 if female else 0.015) else []
    if rng.random() < (0.72 if female else 0.12):
        return _long_hair(anatomy, person, look, rng) + band
    return _short_hair(anatomy, person, look, rng) + band


def _long_hair(anatomy: Anatomy, person: Person, look: Look, rng: np.random.Generator) -> list[Piece]:
    if rng.random() < 0.25:
        _scalp(anatomy, look, rng, rng.uniform(0.004, 0.009), 1.0, recede=0.0)
        return _gathered(anatomy, person, look, rng)
    _scalp(anatomy, look, rng, 0.002, 1.0, recede=0.0)
    length = rng.choice([rng.uniform(0.60, 0.69), rng.uniform(0.50, 0.60), rng.uniform(0.40, 0.50)], p=[0.4, 0.3, 0.3])
    face = rng.uniform(50, 78) if rng.random() < 0.7 else rng.uniform(82, 108)
    curly = rng.random() < max(0.7 * person.ancestry[0], 0.12)
    thickness = rng.uniform(0.020, 0.05) if curly or rng.random() < 0.3 else rng.uniform(0.010, 0.028)
    ends = hanging_ends(rng, length, face, fringe=rng.random() < 0.45)
    return [_sheet(anatomy, person, look, rng, ends, thickness, curly)]


def _short_hair(anatomy: Anatomy, person: Person, look: Look, rng: np.random.Generator) -> list[Piece]:
    balding = person.female < 0.5 and person.age > CHILD and rng.random() < 0.25 + 0.6 * (person.age - 0.6)
    recede = rng.choice([rng.uniform(0.0, 0.045), rng.uniform(0.05, 0.2)], p=[0.7, 0.3]) if balding else 0.0
    kind = rng.choice(["buzz", "short", "full", "top"], p=[0.13, 0.27, 0.46, 0.14])
    if kind == "buzz":
        _scalp(anatomy, look, rng, 0.002, rng.uniform(0.55, 0.95), recede)
        return []
    if kind == "short" or recede > 0.02:
        _scalp(anatomy, look, rng, rng.uniform(0.005, 0.013), 1.0, recede)
        return []
    curly = rng.random() < max(person.ancestry[0], 0.15)
    thickness = rng.uniform(0.022, 0.06) if curly else rng.uniform(0.012, 0.038)
    if kind == "top":  # short sides
        _scalp(anatomy, look, rng, rng.uniform(0.001, 0.004), rng.uniform(0.6, 1.0), 0.0)
        azimuths, _ = grid()
        ends = np.maximum(hairline(azimuths), rng.uniform(0.785, 0.802)) + 0.003 * np.sin(3 * azimuths)
        return [_sheet(anatomy, person, look, rng, ends, min(thickness, 0.04), curly)]
    if curly and rng.random() < 0.25:  # an afro
        thickness = rng.uniform(0.06, 0.10)
    _scalp(anatomy, look, rng, 0.003, 1.0, 0.0)
    ends = hanging_ends(rng, None, 0.0, fringe=rng.random() < 0.4)
    if rng.random() < 0.3:  # over the ears
        turn = np.degrees(np.abs(grid()[0]))
        ends = np.where(turn > 58, np.minimum(ends, rng.uniform(0.675, 0.715)), ends)
    return [_sheet(anatomy, person, look, rng, ends, thickness, curly)]


def _sheet(
    anatomy: Anatomy,
    person: Person,
    look: Look,
    rng: np.random.Generator,
    ends: np.ndarray,
    thickness: float,
    curly: bool = False,
) -> Piece:
    """Combed hair, sometimes with lighter or dyed ends."""
    tips = None
    if rng.random() < 0.2:
        tips = look.hair * rng.uniform(1.2, 2.2) if rng.random() < 0.8 else rng.uniform(0.02, 0.6, 3)
        tips = np.clip(tips, 0.0, 0.75)
    return combed_sheet(anatomy, person, look.hair, rng, ends, thickness, curly, gloss=_gloss(rng), tips=tips)


def _gathered(anatomy: Anatomy, person: Person, look: Look, rng: np.random.Generator) -> list[Piece]:
    """A bun, a ponytail, or two ponytails or braids beside the neck."""
    height = rng.uniform(0.73, 0.84)
    back = CENTER + 0.098 * np.array([0.0, np.cos((height - CENTER[2]) / 0.1), np.sin((height - CENTER[2]) / 0.1)])
    kind = rng.choice(["bun", "tail", "two"], p=[0.42, 0.36, 0.22])
    steps = np.linspace(0, 1, 26)
    if kind == "bun":
        size = rng.uniform(0.022, 0.042)
        turn = np.linspace(0, np.pi, 14)
        away = (back - CENTER) / np.linalg.norm(back - CENTER)
        locks = [(back + (0.4 - np.cos(turn))[:, None] * 0.8 * size * away, size * np.sin(turn) + 1e-4)]
    elif kind == "tail":
        drop = rng.uniform(0.12, 0.28)
        path = np.stack(
            [rng.normal(0, 0.01) * steps, back[1] + 0.035 * np.sin(np.minimum(steps * 4, 2.4)), back[2] - drop * steps],
            1,
        )
        path[:, 2] += 0.02 * np.sin(np.minimum(steps * 6, np.pi))
        locks = [(path, rng.uniform(0.014, 0.026) * np.sqrt(np.sin(np.pi * np.clip(0.12 + 0.85 * steps, 0, 1))))]
    else:
        top, drop = rng.uniform(0.68, 0.80), rng.uniform(0.12, 0.30)
        behind, ahead = rng.uniform(-0.05, 0.0), rng.uniform(0.0, 0.09)
        plait = 1 + rng.choice([0.0, 0.25]) * np.cos(np.arange(26) * 2.2)
        radius = rng.uniform(0.012, 0.022) * np.sqrt(np.sin(np.pi * np.clip(0.12 + 0.85 * steps, 0, 1))) * plait
        locks = []
        for side in (-1, 1):
            out = 0.080 + 0.022 * np.sin(np.minimum(steps * 4, np.pi))
            path = np.stack([side * out, behind - ahead * smoothstep(0.2, 1.0, steps), top - drop * steps], 1)
            locks.append((path, radius))
    pieces = []
    for path, radius in locks:
        vertices, triangles = tube(path, radius, 18)
        streaks = noise(vertices * np.array([1, 1, 0.2]), rng, 250)
        center_line = np.repeat(path, 18, axis=0)
        vertices = center_line + (vertices - center_line) * (1 + 0.1 * streaks)[:, None]
        albedo = look.hair * np.clip(1 + 0.22 * streaks, 0.4, 1.8)[:, None]
        pieces.append(piece(on_scalp(anatomy, person, vertices), vertices[:, 2], albedo, triangles, _gloss(rng), 0.3))
    return pieces


def _gloss(rng: np.random.Generator) -> float:
    return 0.05 * rng.uniform(0.3, 2.4)


def _scalp(
    anatomy: Anatomy, look: Look, rng: np.random.Generator, thickness: float, opacity: float, recede: float
) -> None:
    template = anatomy.template
    azimuth = np.arctan2(template[:, 0], -(template[:, 1] - CENTER[1]))
    height = hairline(azimuth) + rng.normal(0, 0.004)
    front = smoothstep(1.2, 0.5, np.abs(azimuth))
    height = height + recede * front * (1 - 0.4 * smoothstep(0.35, 0.0, np.abs(azimuth)))
    cover = smoothstep(-0.004, 0.009, template[:, 2] - height + 0.004 * noise(template, rng, 130))
    cover = cover * (1 - np.clip(1.6 * anatomy.masks["ears"], 0, 1))
    on_skin = np.zeros(len(template))
    on_skin[anatomy.vertices["skin"]] = 1
    cover = cover * on_skin * (template[:, 2] > 0.64)
    streaks = 1 + 0.2 * noise(template * np.array([1, 1, 0.35], np.float32), rng, 300) + 0.12 * noise(template, rng, 90)
    blend(
        look.albedo, look.hair * np.clip(streaks, 0.3, 1.8)[:, None], cover * opacity * (1.8 if opacity == 1 else 1.0)
    )
    look.gloss *= 1 - 0.7 * cover * opacity
    look.scatter *= (1 - cover * opacity).astype(np.float32)
    raised = thickness * (0.75 + 0.35 * smoothstep(0.72, 0.82, template[:, 2]) + 0.22 * noise(template, rng, 55))
    look.displacement += (np.maximum(raised, 0.0) * cover).astype(np.float32)

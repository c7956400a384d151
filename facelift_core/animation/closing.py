"""Make the eyes of a fitted face close when it blinks, and its lips when it is neutral.

On the template, the lids meet when `eyeBlink` is at full strength, and slide over the eyeballs; without expression, the
lips meet. A fitted face has other openings and other eyeballs, so the displacements of the template alone would stop
short, overshoot, or pass through the eyeballs.
"""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

from .rig import BONES, SHAPES
from .template import Template

CLOSED, LIDS_OPEN, LIPS_OPEN = 0.003, 0.005, 0.004
"""Vertices of two lids or lips are opposite if they are nearer than this when closed, and farther apart when open."""
UPPER_LIP = 0.010
"""Vertices that `jawOpen` moves by less than this, in meters, belong to the upper lip."""
NEAR_LIDS, NEAR_LIPS = 0.006, 0.010
"""Distances over which the corrections at the margins fade, in meters."""
PRESSED, SHUT = 0.001, 0.0007
"""How far closed lips and lids reach into each other, in meters, so that nothing shows between them."""
LOWER_LIP = 0.6
"""Weight of the jaw from which skin belongs to the lower lip."""
CORNER = 5.0
"""Weight of the corners of the eye, where nothing is missing, relative to one pair of vertices."""
MOVING = 0.15
"""Vertices that move by more than this fraction of the largest displacement belong to the lids."""
BLINKS = ("eyeBlinkLeft", "eyeBlinkRight")
SLIDING = ("eyeBlink", "eyeSquint", "eyeWide", "eyeLookDown", "eyeLookUp", "eyeLookIn", "eyeLookOut", "cheekSquint")
LEAST_GAP = 0.8
"""The least distance of lids from the eyeball, as a fraction of the template's."""


def fit_lids(template: Template, neutral: np.ndarray, shapes: np.ndarray, scale: float) -> np.ndarray:
    """The (52, V, 3) shapes of a face with (V, 3) `neutral` vertices, corrected at the eyelids.

    Args:
        scale: world units per meter of the template.
    """
    shapes = shapes.copy()
    for side, sign in (("Left", 1), ("Right", -1)):
        blink = SHAPES.index("eyeBlink" + side)
        shapes[blink] += _closing(template, neutral, shapes[blink], "eyeBlink" + side, scale)
        eyes = template.parts["eyes"]
        ball = eyes[template.vertices[eyes, 0] * sign > 0]
        for name in SLIDING:
            index = SHAPES.index(name + side)
            shapes[index] += _lifting(template, neutral, shapes[index], index, ball, scale)
    return shapes


def close_lips(template: Template, vertices: np.ndarray, scale: float) -> np.ndarray:
    """(V, 3) displacement that brings the lips of a face with (V, 3) `vertices` together as on the template."""
    opened = template.vertices + template.shapes[SHAPES.index("jawOpen")]
    outside = template.parts["outside"]
    stays = _travel(template, "jawOpen") < UPPER_LIP
    upper, lower = _meeting(template.vertices, opened, outside[stays[outside]], outside, LIPS_OPEN)
    offset = scale * (template.vertices[upper] - template.vertices[lower])
    missing = vertices[lower] + offset - vertices[upper]
    missing[:, 2] -= scale * PRESSED
    skin = template.parts["skin"]
    # Each lip moves on its own; the corners move with both.
    down = (template.bone_weights[BONES.index("jaw"), skin, None] / LOWER_LIP).clip(0, 1)
    result = np.zeros_like(vertices)
    result[skin] += (1 - down) * _spread(template.vertices, skin, upper, missing / 2, NEAR_LIPS)
    result[skin] -= down * _spread(template.vertices, skin, lower, missing / 2, NEAR_LIPS)
    return result


def lids_in_photo(
    template: Template, vertices: np.ndarray, neutral: np.ndarray, shapes: np.ndarray
) -> dict[int, float]:
    """How far the lids are closed in the photo, in [0, 1], by the index of `eyeBlink` of each side.

    Args:
        vertices: (V, 3), with the expression of the photo; `neutral` without it.
        shapes: (52, V, 3) as of :func:`fit_lids`.
    """
    closed = {}
    for name in BLINKS:
        shape = shapes[SHAPES.index(name)]
        upper, lower = margins_of_lids(template, name)
        along = shape[upper].mean(0)
        shut, wide, own = (((at[lower] - at[upper]) @ along).mean() for at in (neutral + shape, neutral, vertices))
        closed[SHAPES.index(name)] = float(np.clip((wide - own) / (wide - shut), 0, 1))
    return closed


def margins_of_lids(template: Template, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Opposite vertices at the margins of the upper and the lower lid."""
    closed, travel = template.vertices + template.shapes[SHAPES.index(name)], _travel(template, name)
    outside = template.parts["outside"]
    lids = outside[travel[outside] > MOVING * travel.max()]
    upper, lower = _meeting(closed, template.vertices, lids, outside, LIDS_OPEN)
    more = travel[upper] > travel[lower]
    return upper[more], lower[more]


def _closing(template: Template, neutral: np.ndarray, shape: np.ndarray, name: str, scale: float) -> np.ndarray:
    """(V, 3) what is missing from the displacement `shape` for the margins of the lids to meet."""
    closed, travel = template.vertices + template.shapes[SHAPES.index(name)], _travel(template, name)
    upper, lower = margins_of_lids(template, name)
    offset = scale * (closed[upper] - closed[lower])
    missing = (neutral + shape)[lower] + offset - (neutral + shape)[upper]
    along = shape[upper].mean(0) / np.linalg.norm(shape[upper].mean(0))
    # A smooth curve from corner to corner, because neighboring pairs differ.
    across = template.vertices[:, 0]
    eye = template.parts["eyelids"]
    eye = eye[across[eye] * across[upper].mean() > 0]
    corners = across[eye].min(), across[eye].max()
    unit = (corners[1] - corners[0]) / 2
    curve = np.polynomial.Polynomial.fit(
        np.concatenate([across[upper], corners]), np.concatenate([missing @ along + scale * SHUT, [0, 0]]), 2,
        w=np.concatenate([np.ones(len(upper)), np.full(2, CORNER)]),
    )  # fmt: skip
    skin = template.parts["skin"][travel[template.parts["skin"]] > MOVING * travel.max()]
    near = np.linalg.norm(template.vertices[skin][:, None] - template.vertices[upper], axis=-1).min(1) / NEAR_LIDS
    fade = np.exp(-(near**2)) * (np.abs(across[skin] - np.mean(corners)) < unit)
    result = np.zeros_like(shape)
    result[skin] = (fade * curve(across[skin]))[:, None] * along
    return result


def _meeting(closed: np.ndarray, opened: np.ndarray, some: np.ndarray, others: np.ndarray, apart: float):
    """Pairs, one of `some` and one of `others`, that are near each other if closed, and apart if opened."""
    distances, found = cKDTree(closed[others]).query(closed[some], k=16)
    partner = others[found]
    suits = (distances < CLOSED) & (np.linalg.norm(opened[some][:, None] - opened[partner], axis=-1) > apart)
    margin = np.flatnonzero(suits.any(1))
    return some[margin], partner[margin, suits[margin].argmax(1)]


def _spread(rest: np.ndarray, region: np.ndarray, margin: np.ndarray, values: np.ndarray, reach: float) -> np.ndarray:
    """(n, 3) smooth values in a region from those at its margin, which fade with the distance from it."""
    near = np.exp(-((np.linalg.norm(rest[region][:, None] - rest[margin], axis=-1) / reach) ** 2))
    return near.max(1, keepdims=True) * (near @ values) / near.sum(1, keepdims=True).clip(1e-9)


def _travel(template: Template, name: str) -> np.ndarray:
    return np.linalg.norm(template.shapes[SHAPES.index(name)], axis=1)


def _lifting(
    template: Template, neutral: np.ndarray, shape: np.ndarray, index: int, ball: np.ndarray, scale: float
) -> np.ndarray:
    """(V, 3) the displacement that keeps the lids as far outside the eyeball as they are on the template."""
    travel = np.linalg.norm(template.shapes[index], axis=1)
    lids = np.setdiff1d(np.flatnonzero(travel > MOVING * travel.max()), template.parts["eyes"])
    least = LEAST_GAP * scale * _gap(template.vertices[ball], (template.vertices + template.shapes[index])[lids])
    moved = (neutral + shape)[lids]
    outward = moved - _middle(neutral[ball])
    outward /= np.linalg.norm(outward, axis=1, keepdims=True)
    result = np.zeros_like(shape)
    gap = _gap(neutral[ball], moved)
    near = least < scale * NEAR_LIDS  # the rest is cheek and brow
    result[lids] = outward * (np.where(near, least - gap, 0).clip(0, None))[:, None]
    return result


def _gap(ball: np.ndarray, points: np.ndarray) -> np.ndarray:
    """(n,) distances of points from the sphere around an eyeball with (m, 3) vertices."""
    middle = _middle(ball)
    return np.linalg.norm(points - middle, axis=1) - np.linalg.norm(ball - middle, axis=1).max()


def _middle(ball: np.ndarray) -> np.ndarray:
    return (ball.min(0) + ball.max(0)) / 2

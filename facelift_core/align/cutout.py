"""Cutting a person out: a rough segmentation, and closed-form matting where it may be wrong.

Lengths are in face sizes (half of the face box's width + height).
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from .closed_form import solve_alpha
from .crop import MAX_CUTOUT, Box, face_size, visible_region
from .segmentation import clipped, person_probability

CONTEXT = 0.1
"""How much more than the portrait shows is cut out, on each side."""
SURE, ABSENT = 0.9, 0.1
"""The person's probability beyond which a pixel counts as known …"""
INSIDE, OUTSIDE = 0.035, 0.08
"""… if there is none that is not within this of it."""
PULL, NEAR = 0.004, 0.03
"""How much a certain segmentation counts against the colours at its outline, and how far from there several times as
much: hair strays far, but smoke of a like-coloured background does as well."""
WHITE, DEEP = 248, 0.15
"""Channels of a white background, and how far inside a certain person white is a shirt."""
EDGE = 2.5
"""Pixels from a white background that may be mixed with it."""
HOLE = 0.05
"""Smaller gaps inside the person, in squared face sizes, belong to the person: a badge, a green collar on a meadow."""
LEAST, MOST = 0.06, 0.97
"""Alpha below and above counts as none and all."""


def cut_out(
    pixels: np.ndarray,
    box: Box | None,
    others: Sequence[Box] = (),
    *,
    around_face: bool = False,
    on_white: bool = False,
) -> np.ndarray:
    """The matte of the person in a photo.

    Args:
        pixels: (H, W, 3) uint8 RGB.
        box: the face, in pixels; None if unknown: whoever is there is cut out.
        others: faces of people to leave out.
        around_face: only what the portrait around `box` shows; nothing elsewhere.
        on_white: the background is white, and whatever else hangs together with the face is the person.

    Returns:
        (H, W) uint8 alpha, 255 = person. Deterministic.
    """
    height, width = pixels.shape[:2]
    person = person_probability(pixels, box, others)
    # Boxes may be larger than the picture.
    size = min(face_size(box) if box is not None else np.inf, 0.7 * min(height, width))
    if on_white:
        person = np.float32(1) - _white_ground(pixels, person, size)
    if box is not None:
        person = _hanging_together(person, box)
    x0, x1, y0, y1 = 0, width, 0, height
    longest = MAX_CUTOUT
    if around_face and box is not None:
        edges = visible_region(box, CONTEXT)
        (x0, x1), (y0, y1) = clipped(edges[0::2], width), clipped(edges[1::2], height)
        shown = visible_region(box)
        longest = MAX_CUTOUT * (edges[2] - edges[0]) / (shown[2] - shown[0])
    pixels, person = pixels[y0:y1, x0:x1], person[y0:y1, x0:x1]
    scale = min(1.0, longest / max(person.shape))
    if scale < 1:
        shape = max(3, round((x1 - x0) * scale)), max(3, round((y1 - y0) * scale))
        pixels, person = (cv2.resize(part, shape, interpolation=cv2.INTER_AREA) for part in (pixels, person))
    alpha = _edged(pixels, person) if on_white else refined(pixels, person, size * scale)
    result = np.zeros((height, width), np.uint8)
    alpha = cv2.resize((alpha * 255).round().astype(np.uint8), (x1 - x0, y1 - y0), interpolation=cv2.INTER_LINEAR)
    result[y0:y1, x0:x1] = alpha
    return result


def _hanging_together(person: np.ndarray, box: Box) -> np.ndarray:
    """(H, W) float32: `person` (H, W) with the middle of the face `box` for sure, and nothing that is apart from it."""
    core = np.zeros(person.shape, np.uint8)
    size = face_size(box)
    centre = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    cv2.ellipse(core, (centre, (0.5 * size, 0.7 * size), 0), 1, -1)
    person = np.maximum(person, core)
    _, parts = cv2.connectedComponents((person > ABSENT).astype(np.uint8))
    kept = np.unique(parts[core > 0])
    if not len(kept):
        return person
    person = np.where(np.isin(parts, kept), person, 0)
    _, holes, stats, _ = cv2.connectedComponentsWithStats((person <= 0.5).astype(np.uint8), connectivity=4)
    small = np.flatnonzero(stats[:, cv2.CC_STAT_AREA] < HOLE * size**2)
    return np.where((person <= 0.5) & np.isin(holes, small), 1, person).astype(np.float32)


def refined(pixels: np.ndarray, person: np.ndarray, size: float) -> np.ndarray:
    """(H, W) float32 alpha of (H, W, 3) uint8 from the `person`'s probability (H, W); `size` of the face in pixels."""
    inside = _distance(person > SURE) > INSIDE * size
    outside = _distance(person <= ABSENT) > OUTSIDE * size
    alpha = np.where(inside, np.float32(1), np.where(outside, np.float32(0), person))
    away = (_distance(person > 0.5) + _distance(person <= 0.5)) / (NEAR * size)
    alpha = solve_alpha(pixels, alpha, ~(inside | outside), PULL * (2 * person - 1) ** 2 * (1 + away**2))
    return ((alpha - LEAST) / (MOST - LEAST)).clip(0, 1)


def _white_ground(pixels: np.ndarray, person: np.ndarray, size: float) -> np.ndarray:
    """(H, W) float32, 1 where white hangs together with the picture's border, not at the bottom, where shirts are, and
    is not deep inside the person."""
    white = (pixels.min(axis=-1) >= WHITE).astype(np.uint8)
    _, parts = cv2.connectedComponents(white, connectivity=4)
    border = np.concatenate([parts[0], parts[:, 0], parts[:, -1]])
    ground = (white > 0) & np.isin(parts, np.unique(border))
    return (ground & (_distance(person > SURE) <= DEEP * size)).astype(np.float32)


def _edged(pixels: np.ndarray, person: np.ndarray) -> np.ndarray:
    """(H, W) float32 alpha of (H, W, 3) uint8 whose `person` (H, W) is known but for the pixels at the outline."""
    inside, outside = _distance(person > 0.5) > EDGE, _distance(person <= 0.5) > 1
    alpha = np.where(inside, np.float32(1), np.where(outside, np.float32(0), person))
    return solve_alpha(pixels, alpha, ~(inside | outside), np.full_like(alpha, PULL)).clip(0, 1)


def _distance(mask: np.ndarray) -> np.ndarray:
    """(H, W) float32: how far each pixel of `mask` (H, W) is from the nearest one that is not in it, in pixels."""
    distance = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5)
    return distance.clip(0, sum(mask.shape))  # infinite if every pixel is in it

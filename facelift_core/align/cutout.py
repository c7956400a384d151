"""Cut out a person: a coarse segmentation, refined by closed-form matting where it is uncertain.

Lengths are in face sizes (the mean of the face box's width and height).
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from .closed_form import solve_alpha
from .crop import MAX_CUTOUT, Box, face_size, visible_region
from .segmentation import clipped, person_probability

CONTEXT = 0.1
"""Margin around the region of the portrait that is also cut out, on each side."""
SURE, ABSENT = 0.9, 0.1
"""Probabilities of the person above and below which a pixel counts as known …"""
INSIDE, OUTSIDE = 0.035, 0.08
"""… if it is at least this far inside or outside such an area."""
PULL, NEAR = 0.004, 0.03
"""Weight of a certain segmentation against the colors at its outline, and the distance from it at which the weight has
doubled. Hair extends far from the outline, but so does haze where the background has a similar color."""
WHITE, DEEP = 248, 0.15
"""Minimum channel value of a white background, and the depth inside the person at which white counts as clothing."""
EDGE = 2.5
"""Width in pixels of the border with a white background in which pixels may be mixed with it."""
HOLE = 0.05
"""Holes in the person smaller than this, in squared face sizes, are filled: a badge, a green collar on a meadow."""
LEAST, MOST = 0.06, 0.97
"""Alpha values that are mapped to 0 and 1."""


def cut_out(
    pixels: np.ndarray,
    box: Box | None,
    others: Sequence[Box] = (),
    *,
    around_face: bool = False,
    on_white: bool = False,
) -> np.ndarray:
    """Compute the matte of the person in a photo.

    Args:
        pixels: (H, W, 3) uint8 RGB.
        box: the face, in pixels; None if unknown, to cut out everyone.
        others: faces of people to leave out.
        around_face: cut out only the region that the portrait of `box` shows; alpha is 0 elsewhere.
        on_white: the background is white; everything else that is connected to the face is the person.

    Returns:
        (H, W) uint8 alpha, 255 = person. Deterministic.
    """
    height, width = pixels.shape[:2]
    person = person_probability(pixels, box, others)
    # Boxes may be larger than the image.
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
    """Keep only what is connected to the face.

    Sets the probability to 1 in the middle of the face `box` and in small holes, and to 0 in parts that are not
    connected to the face. `person` and the result are (H, W) float32.
    """
    core = np.zeros(person.shape, np.uint8)
    size = face_size(box)
    center = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    cv2.ellipse(core, (center, (0.5 * size, 0.7 * size), 0), 1, -1)
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
    """Refine a segmentation by matting.

    Args:
        pixels: (H, W, 3) uint8 RGB.
        person: (H, W) float32, probability of the person.
        size: face size in pixels.

    Returns:
        (H, W) float32 alpha.
    """
    inside = _distance(person > SURE) > INSIDE * size
    outside = _distance(person <= ABSENT) > OUTSIDE * size
    alpha = np.where(inside, np.float32(1), np.where(outside, np.float32(0), person))
    away = (_distance(person > 0.5) + _distance(person <= 0.5)) / (NEAR * size)
    alpha = solve_alpha(pixels, alpha, ~(inside | outside), PULL * (2 * person - 1) ** 2 * (1 + away**2))
    return ((alpha - LEAST) / (MOST - LEAST)).clip(0, 1)


def _white_ground(pixels: np.ndarray, person: np.ndarray, size: float) -> np.ndarray:
    """Find a white background: white, connected to the left, right or top border, and not deep inside the person.

    The bottom border is ignored because a white shirt may touch it. Returns (H, W) float32, 1 for background.
    """
    white = (pixels.min(axis=-1) >= WHITE).astype(np.uint8)
    _, parts = cv2.connectedComponents(white, connectivity=4)
    border = np.concatenate([parts[0], parts[:, 0], parts[:, -1]])
    ground = (white > 0) & np.isin(parts, np.unique(border))
    return (ground & (_distance(person > SURE) <= DEEP * size)).astype(np.float32)


def _edged(pixels: np.ndarray, person: np.ndarray) -> np.ndarray:
    """Solve for alpha only at the outline of `person` (H, W). Returns (H, W) float32."""
    inside, outside = _distance(person > 0.5) > EDGE, _distance(person <= 0.5) > 1
    alpha = np.where(inside, np.float32(1), np.where(outside, np.float32(0), person))
    return solve_alpha(pixels, alpha, ~(inside | outside), np.full_like(alpha, PULL)).clip(0, 1)


def _distance(mask: np.ndarray) -> np.ndarray:
    """Return the distance of each pixel of `mask` to the nearest pixel outside it, (H, W) float32 in pixels."""
    distance = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5)
    return distance.clip(0, sum(mask.shape))  # infinite if the mask covers everything

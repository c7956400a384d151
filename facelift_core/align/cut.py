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
PULL = 0.005
"""How much a certain segmentation counts against what the colours say."""
LEAST, MOST = 0.03, 0.97
"""Alpha below and above counts as none and all."""


def cut_out(
    pixels: np.ndarray, box: Box | None, others: Sequence[Box] = (), *, around_face: bool = False
) -> np.ndarray:
    """The matte of the person in a photo.

    Args:
        pixels: (H, W, 3) uint8 RGB.
        box: the face, in pixels; None if unknown: whoever is there is cut out.
        others: faces of people to leave out.
        around_face: only what the portrait around `box` shows; nothing elsewhere.

    Returns:
        (H, W) uint8 alpha, 255 = person. Deterministic.
    """
    height, width = pixels.shape[:2]
    person = person_probability(pixels, box, others)
    x0, x1, y0, y1 = 0, width, 0, height
    longest = MAX_CUTOUT
    if around_face and box is not None:
        edges = visible_region(box, CONTEXT)
        (x0, x1), (y0, y1) = clipped(edges[0::2], width), clipped(edges[1::2], height)
        shown = visible_region(box)
        longest = MAX_CUTOUT * (edges[2] - edges[0]) / (shown[2] - shown[0])
    # Boxes may be larger than the picture.
    size = min(face_size(box) if box is not None else np.inf, 0.7 * min(height, width))

    pixels, person = pixels[y0:y1, x0:x1], person[y0:y1, x0:x1]
    scale = min(1.0, longest / max(person.shape))
    if scale < 1:
        shape = max(3, round((x1 - x0) * scale)), max(3, round((y1 - y0) * scale))
        pixels, person = (cv2.resize(part, shape, interpolation=cv2.INTER_AREA) for part in (pixels, person))
    alpha = refined(pixels, person, size * scale)
    result = np.zeros((height, width), np.uint8)
    alpha = cv2.resize((alpha * 255).round().astype(np.uint8), (x1 - x0, y1 - y0), interpolation=cv2.INTER_LINEAR)
    result[y0:y1, x0:x1] = alpha
    return result


def refined(pixels: np.ndarray, person: np.ndarray, size: float) -> np.ndarray:
    """(H, W) float32 alpha of (H, W, 3) uint8 from the `person`'s probability (H, W); `size` of the face in pixels."""
    inside = _distance(person > SURE) > INSIDE * size
    outside = _distance(person <= ABSENT) > OUTSIDE * size
    alpha = np.where(inside, np.float32(1), np.where(outside, np.float32(0), person))
    alpha = solve_alpha(pixels, alpha, ~(inside | outside), PULL * (2 * person - 1) ** 2)
    return ((alpha - LEAST) / (MOST - LEAST)).clip(0, 1)


def _distance(mask: np.ndarray) -> np.ndarray:
    """(H, W) float32: how far each pixel of `mask` (H, W) is from the nearest one that is not in it, in pixels."""
    return cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5)

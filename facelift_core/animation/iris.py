"""Where the eyes look: the dark middle of each eye in a picture whose face landmarks are known.

MediaPipe's 468 landmarks have none for the iris.
"""

from __future__ import annotations

import cv2
import numpy as np

# Landmarks around the eyes: from the outer corner along the lower lid to the inner corner, back along the upper lid.
OUTLINES = (
    (263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466),  # the person's left eye
    (33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246),
)
INNER_CORNER = 8
WIDTH = 48
"""Width of an eye in the enlarged crop, in pixels."""
CLOSED = 0.1
"""Height of an eye's opening, relative to its width, below which no iris shows."""
DARKEST = 30
"""The iris is in this percentage of the darkest pixels."""


def iris_centers(pixels: np.ndarray, points: np.ndarray) -> np.ndarray:
    """(2, 2) x and y of the irises in pixels, the person's left eye first; the middle of a closed eye.

    Args:
        pixels: (H, W, 3) uint8 RGB.
        points: (468, 3) landmarks in it.
    """
    return np.stack([_center(pixels, points[list(outline), :2].astype(np.float64)) for outline in OUTLINES])


def _center(pixels: np.ndarray, outline: np.ndarray) -> np.ndarray:
    corners = outline[[0, INNER_CORNER]]
    middle, along = corners.mean(0), corners[1] - corners[0]
    width = max(float(np.linalg.norm(along)), 1e-6)
    across = np.array([-along[1], along[0]]) / width
    if np.ptp(outline @ across) < CLOSED * width:
        return middle
    zoom, side = WIDTH / width, int(WIDTH * 1.25)
    shift = side / 2 - zoom * (middle - 0.5) - 0.5
    crop = cv2.warpAffine(
        pixels, np.array([[zoom, 0, shift[0]], [0, zoom, shift[1]]]), (side, side), flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )  # fmt: skip
    inside = np.zeros((side, side), np.uint8)
    polygon = (outline - middle) * zoom + side / 2
    cv2.fillPoly(inside, [np.round(polygon).astype(np.int32)], 1)
    gray = cv2.GaussianBlur(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY), (0, 0), 1.5).astype(np.float64)
    if inside.sum() < WIDTH:
        return middle
    dark = np.clip(np.percentile(gray[inside > 0], DARKEST) - gray, 0, None) * inside
    if not dark.sum() > 0:
        return middle
    y, x = np.mgrid[:side, :side] + 0.5
    found = np.array([(dark * x).sum(), (dark * y).sum()]) / dark.sum()
    return middle + (found - side / 2) / zoom

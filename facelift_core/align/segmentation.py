"""Segment the person with a given face coarsely, by MediaPipe Selfie Segmentation run around the face."""

from __future__ import annotations

import cv2
import numpy as np

from .closed_form import solve_alpha
from .crop import Box, face_size, visible_region
from .networks import load_network

WEIGHTS = "selfie_segmentation.tflite"
SHA256 = "9ee168ec7c8f2a16c56fe8e1cfbc514974cbbb7e434051b455635f1bd1462f5c"
SIDE = 256
"""Side of the network's input in pixels."""
MARGINS = (0.0, 0.25, 0.8, 2.0)
"""Margins of the regions given to the network: beyond the region of the portrait, in face sizes on each side."""

SPLIT_SIDE = 200
"""Maximum length in pixels of the longer side of the image in which people are told apart."""
SPLIT_SURE = 1.0
"""Log odds from position above which a pixel certainly belongs to one person rather than another."""
HEAD_FIRST = 3.0
"""Additional log odds of a head over a body: bodies are more often behind heads than in front of them."""
NEAR_FIRST = 6.0
"""Additional log odds of a body whose chin is one face size lower than another's: it is nearer and in front."""


def person_probability(pixels: np.ndarray, box: Box | None, others: list[Box] | tuple[Box, ...] = ()) -> np.ndarray:
    """Estimate the probability that each pixel shows the person with the face `box`.

    Args:
        pixels: (H, W, 3) uint8 RGB.
        box: the face, in pixels; None if unknown, to include everyone.
        others: faces of people to leave out.

    Returns:
        (H, W) float32 in [0, 1].

    Raises:
        FaceLiftError: the network file is missing or damaged.
    """
    if box is None:
        return _look(pixels)
    height, width = pixels.shape[:2]
    looks = np.full((len(MARGINS), height, width), np.nan, np.float32)
    for look, margin in zip(looks, MARGINS, strict=True):
        edges = visible_region(box, margin)
        x0, x1 = clipped(edges[0::2], width)
        y0, y1 = clipped(edges[1::2], height)
        look[y0:y1, x0:x1] = _look(pixels[y0:y1, x0:x1])
    # A single pass more often marks something else as the person than the reverse, and the other passes then do not.
    looks.sort(axis=0)
    least, second, *_ = looks
    person = np.where(np.isnan(second), least, (least + second) / 2)
    if np.isnan(least).any():
        person = np.where(np.isnan(least), _look(pixels), person)
    near = [other for other in others if _overlap(visible_region(other), visible_region(box))]
    return person * _share(pixels, person, box, near) if near else person


def clipped(edges: tuple[float, float], length: int) -> tuple[int, int]:
    """Return an integer start and end within 0…length; the range is never empty."""
    start = min(max(int(edges[0]), 0), length - 1)
    return start, min(max(int(edges[1]), start + 1), length)


def _look(pixels: np.ndarray) -> np.ndarray:
    """Run the network on all of `pixels` (H, W, 3), of any aspect ratio. Returns (H, W) float32."""
    network = load_network(WEIGHTS, SHA256, "finds the person in the photo")
    network.setInput(cv2.dnn.blobFromImage(cv2.resize(pixels, (SIDE, SIDE), interpolation=cv2.INTER_AREA), 1 / 255))
    answer = network.forward().reshape(SIDE, SIDE)
    return cv2.resize(answer, pixels.shape[1::-1], interpolation=cv2.INTER_LINEAR).clip(0, 1)


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _share(pixels: np.ndarray, person: np.ndarray, box: Box, others: list[Box]) -> np.ndarray:
    """Return (H, W) float32, 1 where a pixel belongs to the face `box`, 0 where it belongs to one of the others.

    Where the positions of the faces leave it uncertain, matting decides by color.
    """
    height, width = person.shape
    scale = min(1.0, SPLIT_SIDE / max(height, width))
    size = max(3, round(width * scale)), max(3, round(height * scale))
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    odds = _by_place(box, pixels.shape[:2], size, 0.0)
    lower = [(other[3] - box[3]) / min(face_size(other), face_size(box)) for other in others]
    rivals = np.max(
        [
            _by_place(other, pixels.shape[:2], size, NEAR_FIRST * min(max(below, -1), 1))
            for other, below in zip(others, lower, strict=True)
        ],
        axis=0,
    )
    lead = odds - rivals
    somebody = cv2.resize(person, size, interpolation=cv2.INTER_AREA) > 0.1
    unknown = (np.abs(lead) < SPLIT_SURE) & somebody
    share = solve_alpha(small, (lead > 0).astype(np.float32), unknown)
    return cv2.resize(share, (width, height), interpolation=cv2.INTER_LINEAR)


def _by_place(box: Box, shape: tuple[int, int], size: tuple[int, int], nearer: float) -> np.ndarray:
    """Return the log odds (h, w) of the person with the face `box` from position alone: a head above shoulders.

    Args:
        box: the face, in pixels of the photo.
        shape: (H, W) of the photo.
        size: (w, h) of the result.
        nearer: additional log odds for the body.
    """
    x = (np.arange(size[0], dtype=np.float32) + 0.5) * (shape[1] / size[0])
    y = (np.arange(size[1], dtype=np.float32) + 0.5) * (shape[0] / size[1])
    face = face_size(box)
    u = (x[None] - (box[0] + box[2]) / 2) / face
    v = (y[:, None] - (box[1] + box[3]) / 2) / face
    head = 1 - np.sqrt((u / 0.62) ** 2 + ((v + 0.18) / 0.85) ** 2)
    half_width = np.interp(v, [0.35, 0.6, 0.8, 1.2, 3.0], [0.3, 0.4, 0.8, 1.25, 1.6])
    body = np.minimum(half_width - np.abs(u), 2 * (v - 0.35))
    return np.maximum(3.5 * head + HEAD_FIRST * (head > 0), 3.5 * body + nearer)

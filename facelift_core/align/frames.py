"""Tell a frame, such as rounded corners or a white margin, from the outline of a person."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image

from .crop import Box, visible_region
from .cutout import ABSENT, WHITE
from .matting import is_on_white, on_white
from .segmentation import clipped, person_probability

LOOK_SIDE = 512
"""Side in pixels of the picture that is looked at."""
SOLID, FRAME_SHARE = (0.90, 0.99), (0.10, 0.005)
"""Share of its convex hull that the inside fills, and the share of the inside near the face that has to be background
for it to be a frame. Measured: people fill .70 to .99, because there is a bay on each side of the neck, with at most
.02 of background; circles and rectangles fill .99 and more."""
OPEN_SHARE = 0.03
"""The same share where transparency hardly reaches the border of the photo, whatever its outline."""
TRANSPARENT = "The photo's transparency does not separate the person, so the background is removed as well."
MARGIN = "The photo has a white margin, so the background inside of it is removed as well."


@dataclass(frozen=True)
class Frame:
    """A frame around a photo that has a background of its own.

    Attributes:
        image: the photo, RGB, on white.
        inside: mode L, the size of the photo; 0 where the frame is.
        note: one sentence for the user.
    """

    image: Image.Image
    inside: Image.Image
    note: str


def find_frame(image: Image.Image, box: Box | None) -> Frame | None:
    """Return the frame of a photo, or None if what surrounds the person is no frame.

    Args:
        image: RGB, or RGBA.
        box: the face, in pixels; None if unknown.
    """
    transparent = image.mode == "RGBA"
    if not transparent and not is_on_white(image):
        return None
    step = max(1, max(image.size) // LOOK_SIDE)
    small = image.reduce(step) if step > 1 else image
    pixels = np.asarray(on_white(small) if transparent else small.convert("RGB"))
    inside = np.asarray(small.getchannel("A")) >= 128 if transparent else ~_white_ground(pixels)
    near = tuple(edge / step for edge in box) if box is not None else None
    if transparent and _border_share(inside) > 0.5:
        limit = OPEN_SHARE
    elif (solidity := _solidity(inside)) > SOLID[0]:
        limit = np.interp(solidity, SOLID, FRAME_SHARE)
    else:
        return None
    if _background_share(pixels, inside, near) <= limit:
        return None
    if transparent:
        shown = image.getchannel("A").point(lambda value: 255 if value else 0)
        return Frame(on_white(image), shown, TRANSPARENT)
    mask = Image.fromarray(inside.astype(np.uint8) * 255).resize(image.size, Image.Resampling.NEAREST)
    return Frame(image, mask, MARGIN)


def _white_ground(pixels: np.ndarray) -> np.ndarray:
    """Return (H, W) bool: white, and connected to the border of the picture."""
    _, parts = cv2.connectedComponents((pixels.min(axis=-1) >= WHITE).astype(np.uint8), connectivity=4)
    border = np.concatenate([parts[0], parts[-1], parts[:, 0], parts[:, -1]])
    return (parts > 0) & np.isin(parts, np.unique(border))


def _border_share(inside: np.ndarray) -> float:
    """Return the share of the border above the shoulders that is `inside` (H, W)."""
    half = len(inside) // 2
    return float(np.concatenate([inside[0], inside[:half, 0], inside[:half, -1]]).mean())


def _solidity(inside: np.ndarray) -> float:
    """Return the share of its convex hull that the largest part of `inside` (H, W) fills, without its holes."""
    outlines, _ = cv2.findContours(inside.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    outline = max(outlines, key=cv2.contourArea, default=None)
    hull = 0.0 if outline is None else cv2.contourArea(cv2.convexHull(outline))
    return cv2.contourArea(outline) / hull if hull else 0.0


def _background_share(pixels: np.ndarray, inside: np.ndarray, box: Box | None) -> float:
    """Return the share of `inside` (H, W), in the region of the portrait, that is certainly not the person."""
    person = person_probability(pixels, box)
    height, width = inside.shape
    x0, y0, x1, y1 = visible_region(box) if box is not None else (0, 0, width, height)
    (left, right), (top, bottom) = clipped((x0, x1), width), clipped((y0, y1), height)
    shown = inside[top:bottom, left:right]
    return float((person[top:bottom, left:right] <= ABSENT)[shown].mean()) if shown.any() else 0.0

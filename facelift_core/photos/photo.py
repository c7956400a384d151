"""A decoded photo, and the bounds within which photos are decoded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image

from ..errors import FaceLiftError

MIN_SIDE = 32
"""Minimum length of a photo's shorter side, in pixels."""
MAX_PIXELS = 256_000_000
"""Maximum number of pixels to decode; larger photos are refused before anything is allocated."""
MAX_JPEG_PIXELS = 1_000_000_000
"""Maximum number of pixels of a JPEG file, which can be decoded at an eighth of its size."""
WORKING_PIXELS = 36_000_000
"""Larger photos are reduced by an integer factor when opened, to save memory; the portrait is only 512 × 512."""

ALL_TRANSPARENT = "The file marks the whole photo as transparent; this is ignored."
"""Note on a fully transparent photo."""


@dataclass(frozen=True)
class Photo:
    """A decoded photo.

    Attributes:
        image: mode RGB, or RGBA if parts are transparent; 8-bit sRGB, upright, straight alpha.
        name: file name for messages.
        notes: notes for the user on how the file was read, one sentence each.
    """

    image: Image.Image
    name: str
    notes: tuple[str, ...] = ()


def check_size(name: str, size: tuple[int, int], max_pixels: int = MAX_PIXELS) -> None:
    """Raise FaceLiftError if a photo of `size` (width, height) has too few or too many pixels."""
    width, height = size
    if width * height > max_pixels:
        raise FaceLiftError(
            f"{name} has {width} × {height} pixels, more than {max_pixels // 10**6} megapixels; reduce its size first."
        )
    if min(width, height) < MIN_SIDE:
        raise FaceLiftError(f"{name} has only {width} × {height} pixels; the shorter side needs at least {MIN_SIDE}.")


def rescaled(image: Image.Image, scale: Callable[[Image.Image], Image.Image]) -> Image.Image:
    """Apply `scale` to `image` and keep the colors of transparent pixels, which Pillow alone would turn black."""
    result = scale(image)
    if image.mode != "RGBA":
        return result
    alpha = result.getchannel("A")
    some = alpha.point(lambda value: 255 if value else 0)
    colors = Image.composite(result.convert("RGB"), scale(image.convert("RGB")), some)
    colors.putalpha(alpha)
    return colors


def as_image(photo: object) -> object:
    """Make an image of a photo that is given as a uint8 array. Raises FaceLiftError for other arrays."""
    if not isinstance(photo, np.ndarray):
        return photo
    if photo.dtype != np.uint8 or not (photo.ndim == 2 or (photo.ndim == 3 and photo.shape[2] in (3, 4))):
        raise FaceLiftError(
            f"A photo given as an array should be uint8 of shape (H, W), (H, W, 3) or (H, W, 4), not {photo.dtype} "
            f"{photo.shape}."
        )
    if 0 in photo.shape:
        raise FaceLiftError("The photo is empty.")
    return Image.fromarray(photo)

"""Decode an opened picture of any mode to an upright 8-bit sRGB photo."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image

from ..errors import FaceLiftError
from . import png
from .colors import to_srgb
from .photo import ALL_TRANSPARENT, MAX_JPEG_PIXELS, MAX_PIXELS, WORKING_PIXELS, Photo, check_size, rescaled

OPAQUE = 250
"""Alpha from which a photo counts as opaque: some programs write 254 everywhere."""

_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def decode(opened: Image.Image, name: str, content: bytes = b"", orientation: int = 1) -> Photo:
    """Decode an image that was opened lazily, or take one that is in memory. The image is left unchanged.

    Args:
        opened: of any mode.
        name: for messages.
        content: the file that it was opened from, if any.
        orientation: EXIF orientation of a file that states none.

    Raises:
        FaceLiftError: the image is damaged, too small, or too large.
    """
    size = width, height = opened.size
    is_jpeg = content.startswith(b"\xff\xd8")
    check_size(name, size, MAX_JPEG_PIXELS if is_jpeg else MAX_PIXELS)
    step = math.ceil(math.sqrt(width * height / WORKING_PIXELS))
    notes: list[str] = []
    try:
        # The second image in an MPO file is of the same moment, not part of an animation.
        if getattr(opened, "is_animated", False) and opened.format != "MPO":
            notes.append("The file has several images; the first one is used.")
            opened.seek(0)
        if is_jpeg and step > 1:
            opened.draft(None, (width // step, height // step))
            check_size(name, opened.size)
        image, alpha = _split_alpha(_loaded(opened))
        image = to_srgb(image, opened.info, png.coding_independent_code_points(content), notes)
    except FaceLiftError:
        raise
    except MemoryError as error:
        raise FaceLiftError(f"{name} ({width} × {height} pixels) does not fit into memory; reduce its size.") from error
    except Exception as error:  # decoders raise all kinds of errors on damaged data
        raise FaceLiftError(_problem(name, content)) from error
    if alpha is not None:
        darkest, brightest = alpha.getextrema()
        if brightest == 0:
            notes.append(ALL_TRANSPARENT)
        elif darkest < OPAQUE:
            image.putalpha(alpha)
    image = _reduced(image)
    turn = _TURNS.get(_orientation(opened) or orientation)
    if turn is not None:
        image = image.transpose(turn)
        width, height = (height, width) if image.size != (0, 0) and turn in _SIDEWAYS else (width, height)
    if step > 1:
        notes.append(
            f"The photo is large ({width} × {height} pixels) and was reduced to {image.width} × {image.height}."
        )
    return Photo(image, name, tuple(notes))


_SIDEWAYS = {_TURNS[number] for number in (5, 6, 7, 8)}


def _loaded(opened: Image.Image) -> Image.Image:
    opened.load()
    # Large photos of the usual modes are reduced before anything copies them.
    return _reduced(opened) if opened.mode in ("L", "RGB", "CMYK") and "transparency" not in opened.info else opened


def _reduced(image: Image.Image) -> Image.Image:
    step = math.ceil(math.sqrt(image.width * image.height / WORKING_PIXELS))
    return rescaled(image, lambda whole: whole.reduce(step)) if step > 1 else image


def _problem(name: str, content: bytes) -> str:
    if not content:
        return f"The image {name} cannot be read, because it was closed or its file is gone; open it again."
    return f"{name} is damaged or incomplete; save or download it again."


def _orientation(image: Image.Image) -> int | None:
    """Return the EXIF orientation, or None if there is none. The image itself may be fine if its EXIF is damaged."""
    try:
        return image.getexif().get(_ORIENTATION)
    except Exception:  # Pillow raises all kinds of errors on damaged data
        return None


def _split_alpha(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """Convert to 8-bit L, RGB, CMYK or LAB. Return the result, and its alpha (L) if it has one."""
    if image.mode in ("I", "F") or image.mode.startswith("I;"):
        return _to_8_bit(image), None
    if image.mode in ("P", "PA", "RGBa", "La") or "transparency" in image.info:
        transparent = image.mode != "P" or "transparency" in image.info
        image = image.convert("RGBA" if transparent else "RGB")
    if image.mode in ("RGBA", "LA"):
        return image.convert(image.mode[:-1]), image.getchannel("A")
    return (image if image.mode in ("L", "RGB", "CMYK", "LAB") else image.convert("RGB")), None


def _to_8_bit(image: Image.Image) -> Image.Image:
    """Convert 16-bit, 32-bit or float grayscale to L. The range of floats is 0…1, 0…255 or 0…65535, whichever fits."""
    values = np.asarray(image, dtype=np.float32)
    values = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
    brightest = float(values.max())
    if image.mode.startswith("I;16"):
        white = 65535.0
    else:
        white = next((w for w in ((1.0,) if image.mode == "F" else ()) + (255.0, 65535.0) if brightest <= w), brightest)
    return Image.fromarray((values * (255 / white)).clip(0, 255).round().astype(np.uint8))

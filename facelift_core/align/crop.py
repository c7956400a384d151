"""Crop a photo so that the face is at its standard place in the 512 × 512 portrait (docs/model.md, 2.3 and 2.4)."""

from __future__ import annotations

import numpy as np
from PIL import Image

from ..photos import rescaled

SIZE = 512
"""Side of the portrait in pixels."""

# Statistics of the training set, measured with MTCNN boxes in 512 × 512 portraits.
FACE_SIZE = 194.2749650813705
"""Mean of the face box's width and height, in pixels of the portrait."""
FACE_CENTER = (251.83270369057132, 280.0133630862363)
"""Center (x, y) of the face box, in pixels of the portrait."""

MAX_CUTOUT = 2 * SIZE
"""Maximum side of a cut-out in pixels."""

MAX_SCALED_PIXELS = 64_000_000

Box = tuple[float, float, float, float]
"""(x0, y0, x1, y1) in pixels, x right, y down. May extend beyond the image."""


def face_size(box: Box) -> float:
    """Return the mean of width and height of `box`, in pixels. Computed in float32, the detector's dtype."""
    x0, y0, x1, y1 = np.float32(box)
    return float(((x1 - x0) + (y1 - y0)) / 2)


def visible_region(box: Box, margin: float = 0.0) -> Box:
    """Return the region of a photo that the portrait of a face shows.

    Args:
        box: the face, in pixels of the photo.
        margin: enlarge the region by this many face sizes on each side.
    """
    size = face_size(box)
    scale = size / FACE_SIZE
    center = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    x0, y0 = (c - target * scale - margin * size for c, target in zip(center, FACE_CENTER, strict=True))
    side = SIZE * scale + 2 * margin * size
    return x0, y0, x0 + side, y0 + side


def crop_to_face(image: Image.Image, box: Box) -> Image.Image:
    """Scale and shift `image` so that the face is at its standard place in a 512 × 512 portrait.

    Args:
        image: RGB, any size, already on white.
        box: the face box from MTCNN, in pixels of `image`.

    Returns:
        RGB, 512 × 512; white outside the photo.
    """
    size, offset = _placement(image.size, box)
    start = [int(max(-o, 0)) for o in offset]
    end = [int(min(SIZE - o, side)) for o, side in zip(offset, size, strict=True)]

    portrait = Image.new("RGB", (SIZE, SIZE), "white")
    shown = [b - a for a, b in zip(start, end, strict=True)]
    if min(shown) > 0:
        if size[0] * size[1] <= MAX_SCALED_PIXELS:
            scaled = image.resize(size).crop((*start, *end))
        else:
            # A small face in a large photo: resize only the visible part. Single pixels differ by rounding.
            step = [side / scaled for side, scaled in zip(image.size, size, strict=True)]
            scaled = image.resize(shown, box=[edge * step[i % 2] for i, edge in enumerate((*start, *end))])
        portrait.paste(scaled, tuple(int(max(o, 0)) for o in offset))
    return portrait


def shown_region(size: tuple[int, int], box: Box) -> Box:
    """Return the region that :func:`crop_to_face` shows of a photo of `size` (width, height), in pixels of the photo.

    It may extend beyond the photo.
    """
    scaled, offset = _placement(size, box)
    step = [side / length for side, length in zip(size, scaled, strict=True)]
    start = [-int(o) for o in offset]
    return start[0] * step[0], start[1] * step[1], (start[0] + SIZE) * step[0], (start[1] + SIZE) * step[1]


def _placement(size: tuple[int, int], box: Box) -> tuple[list[int], list[float]]:
    """Return the size to scale a photo of `size` to, and the position of its corner in the portrait (x, y)."""
    # All in float32, like the boxes, because the truncations depend on it.
    x0, y0, x1, y1 = np.float32(box)
    ratio = np.float32(FACE_SIZE) / np.float32(face_size(box))
    scaled = [max(1, int(side * ratio)) for side in size]
    offset = [target - int((a + b) / 2 * ratio) for target, a, b in zip(FACE_CENTER, (x0, y0), (x1, y1), strict=True)]
    return scaled, offset


def cutout_side(region: Box) -> int:
    """Return the side of the cut-out of `region`, in pixels: that of the region, limited to 512 to 1024."""
    pixels = ((region[2] - region[0]) + (region[3] - region[1])) / 2
    return 2 * round(min(max(pixels, SIZE), MAX_CUTOUT) / 2)


def resample(image: Image.Image, region: Box, side: int) -> tuple[Image.Image, Image.Image]:
    """Resample `region` of an image to `side` × `side` pixels.

    Args:
        image: any mode that Pillow can resize.
        region: in pixels of `image`; may extend beyond it.
        side: side of the result in pixels.

    Returns:
        The resampled image in the mode of `image`, with the border repeated outside `image`; and a mask (mode L) that
        is 255 inside `image` and 0 outside.
    """
    spans = [_span(region[axis], region[axis + 2], length, side) for axis, length in enumerate(image.size)]
    (left, right, x0, x1), (top, bottom, y0, y1) = spans
    size, box = (right - left, bottom - top), (x0, y0, x1, y1)
    scaled = np.asarray(rescaled(image, lambda whole: whole.resize(size, box=box)))
    inside = np.ones(scaled.shape[:2], np.uint8) * 255
    margins = ((top, side - bottom), (left, side - right))
    scaled = np.pad(scaled, (*margins, (0, 0))[: scaled.ndim], mode="edge")
    return Image.fromarray(scaled, image.mode), Image.fromarray(np.pad(inside, margins))


def _span(start: float, end: float, length: int, side: int) -> tuple[int, int, float, float]:
    """Return, for one axis, the range of result pixels that an image of `length` fills, and the part that fills it."""
    step = (end - start) / side
    # At least one pixel, even if the region is outside the image.
    first = min(max(round(-start / step), 0), side - 1)
    last = max(min(round((length - start) / step), side), first + 1)
    x0 = min(max(start + first * step, 0.0), length - 1.0)
    return first, last, x0, max(min(start + last * step, float(length)), x0 + 1.0)

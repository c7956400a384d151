"""Where the face goes in the 512² portrait (docs/model.md, 2.3 and 2.4)."""

from __future__ import annotations

import numpy as np
from PIL import Image

from .photo import rescaled

SIZE = 512
"""Side of the portrait in pixels."""

# Statistics of the training set, measured with MTCNN boxes in 512² portraits.
FACE_SIZE = 194.2749650813705
"""Half of the face box's width + height, in pixels of the portrait."""
FACE_CENTRE = (251.83270369057132, 280.0133630862363)
"""x, y of the face box's centre in pixels of the portrait."""

MAX_CUTOUT = 2 * SIZE
"""The longest side of a cut-out in pixels."""

MAX_SCALED_PIXELS = 64_000_000

Box = tuple[float, float, float, float]
"""x0, y0, x1, y1 in pixels, x right, y down; may reach beyond the picture."""


def face_size(box: Box) -> float:
    """Half of width + height of `box`, in pixels. float32 inside, as detectors give boxes."""
    x0, y0, x1, y1 = np.float32(box)
    return float(((x1 - x0) + (y1 - y0)) / 2)


def visible_region(box: Box, margin: float = 0.0) -> Box:
    """The part of a photo that its portrait around the face `box` shows.

    Args:
        margin: grown by this many face sizes on each side.
    """
    size = face_size(box)
    scale = size / FACE_SIZE
    centre = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    x0, y0 = (c - target * scale - margin * size for c, target in zip(centre, FACE_CENTRE, strict=True))
    side = SIZE * scale + 2 * margin * size
    return x0, y0, x0 + side, y0 + side


def crop_to_face(image: Image.Image, box: Box) -> Image.Image:
    """Scale and shift `image` so that the face fills its standard place in a white 512² portrait.

    Args:
        image: RGB, any size, already on white.
        box: the face as MTCNN measures it, in pixels of `image`.

    Returns:
        RGB, 512 × 512; white where the photo does not reach.
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
            # A small face in a large photo: only the part that is seen; differs by rounding in single pixels.
            step = [side / scaled for side, scaled in zip(image.size, size, strict=True)]
            scaled = image.resize(shown, box=[edge * step[i % 2] for i, edge in enumerate((*start, *end))])
        portrait.paste(scaled, tuple(int(max(o, 0)) for o in offset))
    return portrait


def shown_region(size: tuple[int, int], box: Box) -> Box:
    """What :func:`crop_to_face` shows of a photo of `size` (width, height), in its pixels; may reach beyond it."""
    scaled, offset = _placement(size, box)
    step = [side / length for side, length in zip(size, scaled, strict=True)]
    start = [-int(o) for o in offset]
    return start[0] * step[0], start[1] * step[1], (start[0] + SIZE) * step[0], (start[1] + SIZE) * step[1]


def _placement(size: tuple[int, int], box: Box) -> tuple[list[int], list[float]]:
    """Width and height to scale a photo of `size` to, and where its corner then goes in the portrait (x, y)."""
    # All in float32, as the boxes are: the truncations depend on it.
    x0, y0, x1, y1 = np.float32(box)
    ratio = np.float32(FACE_SIZE) / np.float32(face_size(box))
    scaled = [max(1, int(side * ratio)) for side in size]
    offset = [target - int((a + b) / 2 * ratio) for target, a, b in zip(FACE_CENTRE, (x0, y0), (x1, y1), strict=True)]
    return scaled, offset


def cutout_side(region: Box) -> int:
    """Side of the cut-out that shows `region` of a photo: as many pixels as the photo has there, 512 to 1024."""
    pixels = ((region[2] - region[0]) + (region[3] - region[1])) / 2
    return 2 * round(min(max(pixels, SIZE), MAX_CUTOUT) / 2)


def resample(image: Image.Image, region: Box, side: int) -> tuple[Image.Image, Image.Image]:
    """`region` of a photo at `side` × `side` pixels.

    Args:
        image: any mode that can be resized.
        region: in pixels of `image`; may reach beyond it.

    Returns:
        the picture in the mode of `image`, its border repeated where the photo does not reach; and where the photo
        does reach (L, 255 or 0).
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
    """Along one axis: the pixels of the result that a photo of `length` fills, and which part of it fills them."""
    step = (end - start) / side
    # At least one pixel, even of a region that lies outside.
    first = min(max(round(-start / step), 0), side - 1)
    last = max(min(round((length - start) / step), side), first + 1)
    x0 = min(max(start + first * step, 0.0), length - 1.0)
    return first, last, x0, max(min(start + last * step, float(length)), x0 + 1.0)

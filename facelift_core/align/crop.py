"""Where the face goes in the 512² portrait (spec §2, steps 3 and 4)."""

from __future__ import annotations

import numpy as np
from PIL import Image

SIZE = 512
"""Side of the portrait in pixels."""

# Statistics of the training set, measured with MTCNN boxes in 512² portraits.
FACE_SIZE = 194.2749650813705
"""Half of the face box's width + height, in pixels of the portrait."""
FACE_CENTRE = (251.83270369057132, 280.0133630862363)
"""x, y of the face box's centre in pixels of the portrait."""

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
    # All in float32, as the boxes are: the truncations depend on it.
    x0, y0, x1, y1 = np.float32(box)
    ratio = np.float32(FACE_SIZE) / np.float32(face_size(box))
    size = [max(1, int(side * ratio)) for side in image.size]
    offset = [target - int((a + b) / 2 * ratio) for target, a, b in zip(FACE_CENTRE, (x0, y0), (x1, y1), strict=True)]
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

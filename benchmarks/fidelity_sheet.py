"""Show a reference, a render, and their amplified difference side by side."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from PIL import Image, ImageDraw, ImageFont

GAIN = 10.0
MARGIN, CAPTION = 6, 20


def sheet(reference: np.ndarray, renders: Mapping[str, np.ndarray], linear: bool) -> Image.Image:
    """Return an image with a row of three images per render, on white.

    Args:
        reference: (H, W, 4) premultiplied.
        renders: renders of the same shape, by title.
        linear: whether the values are linear light instead of displayed colors.
    """
    enlarged = max(1, round(256 / reference.shape[1]))
    height, width = (side * enlarged for side in reference.shape[:2])
    line = height + CAPTION + MARGIN
    page = Image.new("RGB", (3 * width + 4 * MARGIN, line * len(renders) + MARGIN), "white")
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(13)
    for row, (title, render) in enumerate(renders.items()):
        top = MARGIN + row * line
        difference = GAIN * np.abs(render[..., :3].astype(np.float64) - reference[..., :3])
        shown = (_over_white(reference, linear), _over_white(render, linear), difference)
        captions = ("Reference", title, f"Difference, {GAIN:g} times")
        for column, (picture, caption) in enumerate(zip(shown, captions, strict=True)):
            left = MARGIN + column * (width + MARGIN)
            draw.text((left, top), caption, fill="black", font=font)
            picture = Image.fromarray(_bytes(picture)).resize((width, height), Image.Resampling.NEAREST)
            page.paste(picture, (left, top + CAPTION))
    return page


def _over_white(rgba: np.ndarray, linear: bool) -> np.ndarray:
    color = np.clip(rgba[..., :3] + (1.0 - rgba[..., 3:]), 0.0, 1.0)
    if linear:
        color = np.where(color <= 0.0031308, color * 12.92, 1.055 * color ** (1 / 2.4) - 0.055)
    return color


def _bytes(picture: np.ndarray) -> np.ndarray:
    return np.rint(np.clip(picture, 0.0, 1.0) * 255.0).astype(np.uint8)

"""Show transparent images on a checkerboard. Needs only NumPy, which Blender has too."""

from __future__ import annotations

import numpy as np

LIGHT, DARK, SQUARE = 150, 110, 16
"""Gray values of the squares and their side in pixels. Both black hair and white collars stand out against them."""


def on_checker(pixels: np.ndarray, side: int) -> np.ndarray:
    """Return a small, opaque copy of a cut-out on a checkerboard.

    Args:
        pixels: (H, W, 4) uint8 RGBA, straight alpha.
        side: approximate side of the copy in pixels; the image is reduced by an integer factor.

    Returns:
        (h, w, 3) uint8.
    """
    factor = max(1, min(pixels.shape[:2]) // side)
    height, width = (length // factor for length in pixels.shape[:2])
    blocks = pixels[: height * factor, : width * factor].astype(np.float32)
    blocks = blocks.reshape(height, factor, width, factor, 4)
    weight = blocks[..., 3:] / 255.0
    colors, cover = (blocks[..., :3] * weight).mean((1, 3)), weight.mean((1, 3))
    rows, columns = np.arange(height)[:, None] // SQUARE, np.arange(width) // SQUARE
    ground = np.where((rows + columns) % 2 == 0, LIGHT, DARK)[..., None]
    return (colors + (1 - cover) * ground).round().astype(np.uint8)

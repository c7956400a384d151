"""Writes pixels to a PNG unchanged; Blender's own image saving may alter the color of transparent pixels."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np

_COLOURS = {3: 2, 4: 6}
"""PNG color type by number of channels."""


def write_png(pixels: np.ndarray, path: Path) -> None:
    """Write a PNG file.

    Args:
        pixels: (H, W, 3 or 4) uint8, straight alpha, top row first.

    Raises:
        OSError: the file cannot be written.
    """
    height, width, channels = pixels.shape
    rows = np.zeros((height, 1 + width * channels), np.uint8)  # each row begins with its filter type
    rows[:, 1:] = pixels.reshape(height, -1)
    header = struct.pack(">IIBBBBB", width, height, 8, _COLOURS[channels], 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes(), 3)), (b"IEND", b""))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*chunk) for chunk in chunks))


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

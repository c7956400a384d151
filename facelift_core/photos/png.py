"""What Pillow does not check or read of PNG files: whether all rows are there, and the color chunk cICP."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

SIGNATURE = b"\x89PNG\r\n\x1a\n"
MAX_RATIO = 1032
"""Most bytes that one compressed byte stands for in a deflate stream."""
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
"""Adam7: first column, first row, and the steps between columns and rows of each pass."""
_PIECE = 1 << 20


def chunks(content: bytes) -> Iterator[tuple[bytes, memoryview]]:
    """Yield kind and data of the chunks of a PNG file, up to the first that is cut off."""
    view, start = memoryview(content), len(SIGNATURE)
    while start + 12 <= len(view):
        length, kind = struct.unpack_from(">I4s", view, start)
        if start + 12 + length > len(view):
            return
        yield kind, view[start + 8 : start + 8 + length]
        start += 12 + length


def has_all_rows(content: bytes) -> bool:
    """Return whether the compressed data of a PNG file ends after its last row, not before.

    Pillow takes a stream that ends early for a whole picture. Files that are damaged otherwise, which Pillow notices,
    also count as whole.
    """
    parts, header = [], b""
    for kind, data in chunks(content):
        if kind == b"IHDR":
            header = bytes(data)
        elif kind == b"IDAT":
            parts.append(data)
    if len(header) != 13 or header[9] not in _CHANNELS:
        return True
    missing = _bytes_of_rows(*struct.unpack(">IIBB", header[:10]), interlaced=header[12] == 1)
    if sum(map(len, parts)) * MAX_RATIO < missing:
        return False
    stream = zlib.decompressobj()
    try:
        for part in parts:
            data = bytes(part)
            while data and not stream.eof:
                missing -= len(stream.decompress(data, _PIECE))
                if missing <= 0:
                    return True
                data = stream.unconsumed_tail
    except zlib.error:
        return True
    return False


def _bytes_of_rows(width: int, height: int, depth: int, color: int, interlaced: bool) -> int:
    bits = depth * _CHANNELS[color]
    if not interlaced:
        return height * (1 + (width * bits + 7) // 8)
    total = 0
    for x, y, across, down in _PASSES:
        columns, rows = -(-max(width - x, 0) // across), -(-max(height - y, 0) // down)
        total += rows * (1 + (columns * bits + 7) // 8) if columns else 0
    return total


def coding_independent_code_points(content: bytes) -> tuple[int, int] | None:
    """Return color primaries and transfer function of a cICP chunk, as ITU-T H.273 numbers them, or None."""
    for kind, data in chunks(content):
        if kind == b"cICP" and len(data) == 4:
            return data[0], data[1]
        if kind == b"IDAT":
            return None
    return None

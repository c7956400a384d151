"""Find the JPEG preview that cameras embed in their raw files."""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass

from PIL import Image

MIN_PREVIEW = 1_000_000
"""Pixels that a preview needs to be used in place of the photo."""
SUFFIXES = frozenset(".3fr .arw .cr2 .cr3 .dng .erf .iiq .nef .nrw .orf .pef .raf .raw .rw2 .srw .x3f".split())
_TIFF = b"II*\0", b"MM\0*"
_RAW = b"FUJIFILMCCD-RAW", b"IIRO", b"IIRS", b"MMOR", b"IIU\0", b"FOVb"
_DNG_VERSION, _ORIENTATION, _NEW_SUBFILE_TYPE = 0xC612, 0x0112, 0x00FE
_REDUCED = 1
_JPEG = b"\xff\xd8\xff"
_FRAMES = {0xC0, 0xC1, 0xC2}
"""Baseline, extended, and progressive; the sensor's own data are often lossless JPEG (0xC3)."""
_DIRECTORY = 1 << 20
"""Bytes at the start of a file in which the first directory is expected."""


@dataclass(frozen=True)
class Preview:
    """An embedded preview.

    Attributes:
        content: a JPEG file, with some bytes of the raw file behind it.
        size: width and height in pixels, as stored.
        orientation: EXIF orientation, 1 to 8, which the raw file states for all its pictures.
    """

    content: bytes
    size: tuple[int, int]
    orientation: int


def is_raw(content: bytes, suffix: str) -> bool:
    """Return whether a file is a camera raw file: by its signature, or a TIFF file with the name or tags of one."""
    if content.startswith(_RAW) or content[4:12] == b"ftypcrx " or content[8:10] == b"CR":
        return True
    if not content.startswith(_TIFF):
        return False
    tags = _tags(content)
    return suffix.lower() in SUFFIXES or _DNG_VERSION in tags or tags.get(_NEW_SUBFILE_TYPE) == _REDUCED


def largest_preview(content: bytes) -> Preview | None:
    """Return the embedded JPEG picture with the most pixels, or None if there is none."""
    best, start = ((0, 0), -1), content.find(_JPEG)
    while start >= 0:
        size = _jpeg_size(content, start)
        if size[0] * size[1] > best[0][0] * best[0][1]:
            best = size, start
        start = content.find(_JPEG, start + 1)
    size, start = best
    return Preview(content[start:], size, _orientation(content)) if start >= 0 else None


def _jpeg_size(content: bytes, start: int) -> tuple[int, int]:
    """Return the size that the JPEG file at `start` states, or (0, 0) if it is none that can be used."""
    place = start + 2
    while place + 9 <= len(content) and content[place] == 0xFF:
        marker, length = content[place + 1], struct.unpack_from(">H", content, place + 2)[0]
        if marker in _FRAMES and length >= 8 and content[place + 4] == 8:
            height, width = struct.unpack_from(">HH", content, place + 5)
            return width, height
        if marker == 0xDA or (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xCC)):
            break
        place += 2 + max(length, 2)
    return 0, 0


def _orientation(content: bytes) -> int:
    tiff = content if content.startswith(_TIFF) else content[content.find(b"CMT1") + 4 :][:_DIRECTORY]
    stated = _tags(tiff).get(_ORIENTATION, 1)
    return stated if stated in range(1, 9) else 1


def _tags(tiff: bytes) -> dict[int, object]:
    """Return the tags of the first directory of a TIFF file; those of damaged ones as far as they can be read."""
    exif = Image.Exif()
    try:
        exif.load_from_fp(io.BytesIO(tiff[:_DIRECTORY]))
        return dict(exif)
    except Exception:  # Pillow raises all kinds of errors on damaged data
        return {}

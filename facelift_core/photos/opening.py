"""Open files and PIL images as photos."""

from __future__ import annotations

import io
import struct
import warnings
from pathlib import Path

from PIL import Image, JpegImagePlugin, UnidentifiedImageError

from ..errors import FaceLiftError
from . import apart, png, raw
from .decoding import decode
from .photo import MAX_JPEG_PIXELS, MAX_PIXELS, Photo, check_size

MAX_BYTES = 500 * 2**20
"""Largest file that is read."""
HERE_PIXELS = 50_000_000
"""Larger pictures are decoded in a process of their own, except JPEG files, which can be decoded at a smaller size."""
HERE_SCANS = 64
"""JPEG files with more scans are decoded apart: each passes over the whole picture, however little it holds."""

# No EPS, WMF or similar formats, because their plug-ins run other programs.
_FORMATS = "JPEG MPO PNG WEBP TIFF HEIF AVIF JXL BMP GIF PPM TGA JPEG2000 ICO PSD DDS SGI PCX QOI".split()
_HEIF_BRANDS = {b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1"}
_JXL = b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n"
_READABLE = "use a JPEG, PNG, WebP, TIFF or HEIC photo"


def open_photo(source: str | Path | Image.Image) -> Photo:
    """Read a photo from a file or a PIL image (docs/model.md, 2).

    Applies the EXIF orientation, converts colors to sRGB as the file states them, and converts every Pillow mode to
    RGB or RGBA. Of an animation, the first frame is used; of a camera raw file, the preview that it contains.

    Files in formats whose decoders may take long, need much memory, or write to the terminal are decoded in a process
    of their own with limits of memory and time.

    Raises:
        FaceLiftError: the file is missing, unreadable, not an image, damaged, too small or too large.
    """
    if isinstance(source, Image.Image):
        name = Path(getattr(source, "filename", "") or "photo").name
        return decode(source, name)
    if not isinstance(source, str | Path):
        raise FaceLiftError(f"A photo must be a path or a PIL image, not {type(source).__name__}.")
    path = Path(source)
    content, notes, orientation = _read(path), (), 1
    if raw.is_raw(content, path.suffix):
        preview = raw.largest_preview(content)
        pixels = preview.size[0] * preview.size[1] if preview else 0
        if pixels < raw.MIN_PREVIEW:
            raise FaceLiftError(
                f"{path.name} is a camera raw file without a large preview; export it as JPEG or TIFF with the "
                "camera's software or a photo editor."
            )
        content, orientation = preview.content, preview.orientation
        notes = (f"{path.name} is a camera raw file; the preview that it contains is used.",)
    if _is_quick(content, path.name):
        photo = decode_content(content, path.name, orientation)
    else:
        photo = apart.decode(content, path.name, orientation)
    return Photo(photo.image, photo.name, notes + photo.notes)


def decode_content(content: bytes, name: str, orientation: int = 1) -> Photo:
    """Decode a file in this process. Arguments and errors as of :func:`.decoding.decode`."""
    if content.startswith(png.SIGNATURE) and not png.has_all_rows(content):
        raise FaceLiftError(f"{name} is incomplete, or damaged; save or download it again.")
    with warnings.catch_warnings():
        # Pillow warns about damage that it can recover from, and about sizes below our own limit.
        warnings.simplefilter("ignore")
        return decode(_identify(content, name), name, content, orientation)


def _read(path: Path) -> bytes:
    try:
        if path.is_dir():
            raise FaceLiftError(f"{path} is a folder; give a photo file.")
        if not path.exists():
            raise FaceLiftError(f"{path} does not exist.")
        if not path.is_file():
            raise FaceLiftError(f"{path} is not a regular file; give a photo file.")
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1) if path.stat().st_size <= MAX_BYTES else None
    except PermissionError as error:
        raise FaceLiftError(f"{path} cannot be read: permission denied.") from error
    except (OSError, ValueError) as error:  # ValueError: the path contains a null byte
        raise FaceLiftError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}.") from error
    if content is None or len(content) > MAX_BYTES:
        raise FaceLiftError(f"{path} is larger than {MAX_BYTES >> 20} MB; save the photo as a JPEG first.")
    if not content:
        raise FaceLiftError(f"{path} is empty (0 bytes); save or download it again.")
    return content


def _is_quick(content: bytes, name: str) -> bool:
    """Return whether decoding a file takes time and memory in proportion to its pixels, and these are not too many.

    Raises:
        FaceLiftError: its header states too many or too few pixels.
    """
    if content.startswith(b"\xff\xd8\xff"):
        return content.count(b"\xff\xda") <= HERE_SCANS
    size = _stated_size(content)
    if size is None or 0 in size:
        return size is not None
    check_size(name, size)
    return size[0] * size[1] <= HERE_PIXELS


def _stated_size(content: bytes) -> tuple[int, int] | None:
    """Return width and height in the header of a PNG, WebP, GIF or BMP file, or None."""
    kind, part = content[:4], content[12:16]
    if len(content) < 30:
        return None
    if content.startswith(png.SIGNATURE):
        return struct.unpack_from(">II", content, 16)
    if kind == b"RIFF" and content[8:12] == b"WEBP":
        if part == b"VP8X":
            width, height = (int.from_bytes(content[i : i + 3], "little") + 1 for i in (24, 27))
            return width, height
        if part == b"VP8L":
            bits = int.from_bytes(content[21:25], "little")
            return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        width, height = struct.unpack_from("<HH", content, 26)
        return width & 0x3FFF, height & 0x3FFF
    if kind == b"GIF8":
        return struct.unpack_from("<HH", content, 6)
    if kind[:2] == b"BM" and int.from_bytes(content[14:18], "little") >= 40:
        width, height = struct.unpack_from("<ii", content, 18)
        return abs(width), abs(height)
    return None


def _identify(content: bytes, name: str) -> Image.Image:
    """Open the image lazily; only its header is read."""
    if content[4:8] == b"ftyp" and content[8:12] in _HEIF_BRANDS:
        try:
            from pillow_heif import register_heif_opener
        except ImportError as error:
            raise FaceLiftError(
                f"{name} is a HEIC photo, which this runtime cannot read; install the runtime again, or save the photo "
                "as a JPEG."
            ) from error
        register_heif_opener()
    Image.init()
    try:
        if content.startswith(b"\xff\xd8\xff"):
            return JpegImagePlugin.jpeg_factory(io.BytesIO(content))  # without Pillow's limit of 178 megapixels
        return Image.open(io.BytesIO(content), formats=[f for f in _FORMATS if f in Image.OPEN])
    except Image.DecompressionBombError as error:
        limit = (MAX_JPEG_PIXELS if content.startswith(b"\xff\xd8") else MAX_PIXELS) // 10**6
        raise FaceLiftError(f"{name} has more than {limit} megapixels; reduce its size first.") from error
    except UnidentifiedImageError as error:
        if content.startswith(_JXL):
            raise FaceLiftError(f"{name} is a JPEG XL photo, which cannot be read; save it as JPEG or PNG.") from error
        raise FaceLiftError(
            f"{name} is not an image in a supported format, or its header is damaged; {_READABLE}."
        ) from error
    except Exception as error:  # decoders raise all kinds of errors on damaged data
        raise FaceLiftError(f"{name} is damaged and cannot be opened; save or download it again.") from error

"""Read photos of any format as upright 8-bit sRGB, with alpha if there is one."""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from ..errors import FaceLiftError

MIN_SIDE = 32
"""Minimum length of a photo's shorter side, in pixels."""
MAX_PIXELS = 178_000_000
"""Maximum number of pixels; larger photos are refused before they are decoded."""
WORKING_PIXELS = 36_000_000
"""Larger photos are reduced by an integer factor when opened, to save memory; the portrait is only 512 × 512."""

ALL_TRANSPARENT = "The file marks the whole photo as transparent; this is ignored."
"""Note on a fully transparent photo."""

# No EPS, WMF or similar formats, because their plug-ins run other programs.
_FORMATS = "JPEG MPO PNG WEBP TIFF HEIF AVIF BMP GIF PPM TGA JPEG2000 ICO PSD DDS SGI PCX QOI".split()
_HEIF_BRANDS = {b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1"}
_READABLE = "use a JPEG, PNG, WebP, TIFF or HEIC photo"


@dataclass(frozen=True)
class Photo:
    """A decoded photo.

    Attributes:
        image: mode RGB, or RGBA if parts are transparent; 8-bit sRGB, upright, straight alpha.
        name: file name for messages.
        notes: notes for the user on how the file was read, one sentence each.
    """

    image: Image.Image
    name: str
    notes: tuple[str, ...] = ()


def open_photo(source: str | Path | Image.Image) -> Photo:
    """Read a photo from a file or a PIL image (docs/model.md, 2).

    Applies the EXIF orientation, converts an embedded color profile to sRGB, and converts every Pillow mode to RGB or
    RGBA. Of an animation, the first frame is used.

    Raises:
        FaceLiftError: the file is missing, unreadable, not an image, damaged, too small or too large.
    """
    if isinstance(source, Image.Image):
        name = Path(getattr(source, "filename", "") or "photo").name
        return _decode(source, name)
    if not isinstance(source, str | Path):
        raise FaceLiftError(f"A photo must be a path or a PIL image, not {type(source).__name__}.")
    path = Path(source)
    content = _read(path)
    with warnings.catch_warnings():
        # Pillow warns about damage that it can recover from, and about sizes below our own limit.
        warnings.simplefilter("ignore")
        return _decode(_identify(content, path), path.name)


def _read(path: Path) -> bytes:
    try:
        if path.is_dir():
            raise FaceLiftError(f"{path} is a folder; give a photo file.")
        if not path.exists():
            raise FaceLiftError(f"{path} does not exist.")
        if not path.is_file():
            raise FaceLiftError(f"{path} is not a regular file; give a photo file.")
        content = path.read_bytes()
    except PermissionError as error:
        raise FaceLiftError(f"{path} cannot be read: permission denied.") from error
    except (OSError, ValueError) as error:  # ValueError: the path contains a null byte
        raise FaceLiftError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}.") from error
    if not content:
        raise FaceLiftError(f"{path} is empty (0 bytes); save or download it again.")
    return content


def _identify(content: bytes, path: Path) -> Image.Image:
    """Open the image lazily; only its header is read."""
    heif = content[4:8] == b"ftyp" and content[8:12] in _HEIF_BRANDS
    if heif:
        try:
            from pillow_heif import register_heif_opener
        except ImportError as error:
            raise FaceLiftError(
                f"{path} is a HEIC photo; install pillow-heif (pip install pillow-heif) or convert it to JPEG."
            ) from error
        register_heif_opener()
    Image.init()
    try:
        return Image.open(io.BytesIO(content), formats=[f for f in _FORMATS if f in Image.OPEN])
    except Image.DecompressionBombError as error:
        raise FaceLiftError(f"{path} has more than {MAX_PIXELS // 10**6} megapixels; reduce its size first.") from error
    except UnidentifiedImageError as error:
        raise FaceLiftError(
            f"{path} is not an image in a supported format, or its header is damaged; {_READABLE}."
        ) from error
    except Exception as error:  # decoders raise all kinds of errors on damaged data
        raise FaceLiftError(f"{path} is damaged and cannot be opened; save or download it again.") from error


def _decode(opened: Image.Image, name: str) -> Photo:
    width, height = opened.size
    if width * height > MAX_PIXELS:
        raise FaceLiftError(
            f"{name} has {width} × {height} pixels, more than {MAX_PIXELS // 10**6} megapixels; reduce its size first."
        )
    if min(width, height) < MIN_SIDE:
        raise FaceLiftError(f"{name} has only {width} × {height} pixels; the shorter side needs at least {MIN_SIDE}.")
    notes = []
    try:
        # The second image in an MPO file is of the same moment, not part of an animation.
        if getattr(opened, "is_animated", False) and opened.format != "MPO":
            notes.append("The file has several images; the first one is used.")
            opened.seek(0)
        opened.load()
        image = _upright(opened)
        colour, alpha = _split_alpha(image)
        image = _to_srgb(colour, image.info.get("icc_profile"), notes)
    except FaceLiftError:
        raise
    except MemoryError as error:
        raise FaceLiftError(f"{name} ({width} × {height} pixels) does not fit into memory; reduce its size.") from error
    except Exception as error:  # decoders raise all kinds of errors on damaged data
        raise FaceLiftError(f"{name} is damaged or incomplete; save or download it again.") from error
    if alpha is not None:
        darkest, brightest = alpha.getextrema()
        if brightest == 0:
            notes.append(ALL_TRANSPARENT)
        elif darkest < 255:
            image.putalpha(alpha)
    if width * height > WORKING_PIXELS:
        step = math.ceil(math.sqrt(width * height / WORKING_PIXELS))
        image = rescaled(image, lambda whole: whole.reduce(step))
        notes.append(
            f"The photo is large ({width} × {height} pixels) and was reduced to {image.width} × {image.height}."
        )
    return Photo(image, name, tuple(notes))


def rescaled(image: Image.Image, scale: Callable[[Image.Image], Image.Image]) -> Image.Image:
    """Apply `scale` to `image` and keep the colors of transparent pixels, which Pillow alone would turn black."""
    result = scale(image)
    if image.mode != "RGBA":
        return result
    alpha = result.getchannel("A")
    some = alpha.point(lambda value: 255 if value else 0)
    colours = Image.composite(result.convert("RGB"), scale(image.convert("RGB")), some)
    colours.putalpha(alpha)
    return colours


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # the image itself may be fine even if its EXIF data is damaged
        return image


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


def _to_srgb(image: Image.Image, profile: bytes | None, notes: list[str]) -> Image.Image:
    """Convert L, RGB, CMYK or LAB to sRGB, with the embedded `profile` if it is usable."""
    try:
        if image.mode == "LAB":
            embedded = ImageCms.createProfile("LAB")
        elif profile:
            embedded = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            if "srgb" in ImageCms.getProfileDescription(embedded).lower():
                return image.convert("RGB")
        else:
            return image.convert("RGB")
        return ImageCms.profileToProfile(image, embedded, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError):
        notes.append("The file's color profile cannot be used; sRGB is assumed.")
        return image.convert("RGB")


def as_image(photo: str | Path | Image.Image | np.ndarray) -> str | Path | Image.Image:
    """Make an image of a photo that is given as a uint8 array. Raises FaceLiftError for other arrays."""
    if not isinstance(photo, np.ndarray):
        return photo
    if photo.dtype != np.uint8 or not (photo.ndim == 2 or (photo.ndim == 3 and photo.shape[2] in (3, 4))):
        raise FaceLiftError(
            f"A photo given as an array should be uint8 of shape (H, W), (H, W, 3) or (H, W, 4), not {photo.dtype} "
            f"{photo.shape}."
        )
    if 0 in photo.shape:
        raise FaceLiftError("The photo is empty.")
    return Image.fromarray(photo)

"""Convert colors to sRGB as the file states them: by an ICC profile, or by the chunks of a PNG file."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageCms

UNUSABLE = "The file's color profile cannot be used; sRGB is assumed."
UNKNOWN = "The file's color space is not known; sRGB is assumed."
SAME = 2
"""Levels of 255 by which a profile may differ from sRGB and still count as sRGB, so that pixels stay as stored."""
_LATTICE = 9
_ROWS = 1 << 22
"""Pixels converted at a time."""

Chromaticities = tuple[float, ...]
"""x and y of white, red, green and blue."""

_D65 = 0.3127, 0.3290
SRGB = (*_D65, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06)
_PRIMARIES: dict[int, Chromaticities] = {
    1: SRGB,
    5: (*_D65, 0.64, 0.33, 0.29, 0.60, 0.15, 0.06),
    6: (*_D65, 0.63, 0.34, 0.31, 0.595, 0.155, 0.07),
    9: (*_D65, 0.708, 0.292, 0.170, 0.797, 0.131, 0.046),
    11: (0.314, 0.351, 0.68, 0.32, 0.265, 0.69, 0.15, 0.06),
    12: (*_D65, 0.68, 0.32, 0.265, 0.69, 0.15, 0.06),
}
"""By their numbers in ITU-T H.273."""
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
_PAPER_WHITE = 203.0
"""Luminance in nits that HDR pictures give to diffuse white (ITU-R BT.2408)."""
_SRGB_GAMMA, _NEARLY = 0.45455, 0.01
"""The gAMA chunk that goes with sRGB, and how near it has to be."""


@dataclass(frozen=True)
class Encoding:
    """A color space of three channels.

    Attributes:
        primaries: chromaticities.
        linear: from encoded values in [0, 1] to linear light, 1 = white.
    """

    primaries: Chromaticities
    linear: Callable[[np.ndarray], np.ndarray]


def to_srgb(image: Image.Image, info: dict, code_points: tuple[int, int] | None, notes: list[str]) -> Image.Image:
    """Convert a picture to sRGB; appends to `notes` if what the file states cannot be used.

    Args:
        image: mode L, RGB, CMYK or LAB.
        info: Pillow's information on the file.
        code_points: primaries and transfer function of a PNG file's cICP chunk, which comes before all others.
    """
    if code_points is not None and image.mode in ("L", "RGB"):
        encoding = by_code_points(*code_points)
        if encoding is not None:
            return convert(image.convert("RGB"), encoding)
        notes.append(UNKNOWN)
        return image.convert("RGB")
    if image.mode == "LAB" or info.get("icc_profile"):
        return _by_profile(image, info.get("icc_profile"), notes)
    gamma = info.get("gamma")
    if image.mode in ("L", "RGB") and "srgb" not in info and isinstance(gamma, int | float) and gamma > 0:
        primaries = info.get("chromaticity", SRGB)
        if abs(gamma - _SRGB_GAMMA) > _NEARLY or not np.allclose(primaries, SRGB, atol=_NEARLY):
            encoding = Encoding(primaries, lambda values: values ** (1 / gamma))
            return convert(image.convert("RGB"), encoding) if _matrix(primaries) is not None else image.convert("RGB")
    return image.convert("RGB")


def _by_profile(image: Image.Image, profile: bytes | None, notes: list[str]) -> Image.Image:
    try:
        if image.mode == "LAB":
            embedded = ImageCms.createProfile("LAB")
        else:
            embedded = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            if image.mode == "L" and embedded.profile.xcolor_space.strip() == "RGB":
                image = image.convert("RGB")
        srgb = ImageCms.createProfile("sRGB")
        transform = ImageCms.buildTransform(embedded, srgb, image.mode, "RGB")
        if image.mode in ("L", "RGB") and _changes_nothing(transform, image.mode):
            return image.convert("RGB")
        return ImageCms.applyTransform(image, transform)
    except (ImageCms.PyCMSError, OSError, ValueError):
        notes.append(UNUSABLE)
        return image.convert("RGB")


def _changes_nothing(transform: ImageCms.ImageCmsTransform, mode: str) -> bool:
    """Return whether a transform from `mode` to sRGB leaves colors as they are: the profile is sRGB by what it does.

    Its name says nothing: editors write names such as “sRGB-elle-V4-g10” for linear color spaces.
    """
    levels = np.linspace(0, 255, _LATTICE).round().astype(np.uint8)
    if mode == "L":
        lattice = Image.fromarray(np.arange(256, dtype=np.uint8)[None])
    else:
        lattice = Image.fromarray(np.stack(np.meshgrid(levels, levels, levels), -1).reshape(1, -1, 3))
    before = np.asarray(lattice.convert("RGB"), np.int16)
    after = np.asarray(ImageCms.applyTransform(lattice, transform), np.int16)
    return int(np.abs(after - before).max()) <= SAME


def by_code_points(primaries: int, transfer: int) -> Encoding | None:
    """Return the encoding of two numbers of ITU-T H.273, or None if it is not known."""
    linear = {
        1: srgb_to_linear,
        4: lambda v: v**2.2,
        5: lambda v: v**2.8,
        6: srgb_to_linear,
        8: lambda v: v,
        13: srgb_to_linear,
        16: _pq_to_linear,
        18: _hlg_to_linear,
    }.get(transfer)
    known = primaries in _PRIMARIES and linear is not None
    return Encoding(_PRIMARIES[primaries], linear) if known else None


def convert(image: Image.Image, encoding: Encoding) -> Image.Image:
    """Convert an RGB image of another encoding to sRGB; colors outside of sRGB are clipped."""
    if encoding.primaries == SRGB and encoding.linear is srgb_to_linear:
        return image
    table = encoding.linear(np.arange(256) / 255).astype(np.float32)
    matrix = np.linalg.inv(_matrix(SRGB)) @ _matrix(encoding.primaries)
    pixels = np.array(image)
    rows = max(1, _ROWS // image.width)
    for start in range(0, image.height, rows):
        linear = table[pixels[start : start + rows]] @ matrix.T.astype(np.float32)
        pixels[start : start + rows] = (linear_to_srgb(linear.clip(0, 1)) * 255).round()
    return Image.fromarray(pixels)


def _matrix(chromaticities: Chromaticities) -> np.ndarray | None:
    """Return the (3, 3) matrix from linear RGB to XYZ adapted to D65; None for chromaticities that are impossible."""
    xy = np.asarray(chromaticities, np.float64).reshape(-1, 2)
    if xy.shape != (4, 2) or not np.isfinite(xy).all() or (xy[:, 1] <= 0).any():
        return None
    white, *primaries = np.column_stack([xy, 1 - xy.sum(1)]) / xy[:, 1:]
    columns = np.transpose(primaries)
    try:
        matrix = columns * np.linalg.solve(columns, white)
    except np.linalg.LinAlgError:
        return None
    d65 = np.array([_D65[0], _D65[1], 1 - sum(_D65)]) / _D65[1]
    adapt = np.linalg.inv(_BRADFORD) @ np.diag((_BRADFORD @ d65) / (_BRADFORD @ white)) @ _BRADFORD
    return adapt @ matrix


def srgb_to_linear(values: np.ndarray) -> np.ndarray:
    """Linear light of sRGB values of at least 0."""
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def linear_to_srgb(values: np.ndarray) -> np.ndarray:
    """sRGB values of linear light of at least 0."""
    return np.where(values <= 0.0031308, values * 12.92, 1.055 * values ** np.float32(1 / 2.4) - np.float32(0.055))


def _pq_to_linear(values: np.ndarray) -> np.ndarray:
    """SMPTE ST 2084."""
    power = values ** (1 / 78.84375)
    light = (np.maximum(power - 0.8359375, 0) / (18.8515625 - 18.6875 * power)) ** (1 / 0.1593017578125)
    return light * (10_000 / _PAPER_WHITE)


def _hlg_to_linear(values: np.ndarray) -> np.ndarray:
    """ITU-R BT.2100 for a display of 1000 nits, with the system gamma on each channel."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    scene = np.where(values <= 0.5, values**2 / 3, (np.exp((values - c) / a) + b) / 12)
    return scene**1.2 * (1000 / _PAPER_WHITE)

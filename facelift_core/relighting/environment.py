"""Lights around a head: distant lamps, and light from all directions."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from ..errors import FaceLiftError
from ..photos import open_photo
from ..photos.colors import srgb_to_linear
from .harmonics import COUNT, directions, projected

SAMPLES = 4096
"""Directions in which a picture of the surroundings is read."""
MAX_BYTES, MAX_PIXELS = 256 << 20, 1 << 26
"""Largest .hdr file, and most pixels in it."""
LARGEST = 1024
"""Larger pictures are reduced to this side."""


@dataclass(frozen=True)
class Sun:
    """A distant lamp.

    Attributes:
        direction: toward the lamp, of any length, in the world of the Gaussians (Z up, head facing −Y).
        color: linear RGB that a white surface has which faces the lamp.
    """

    direction: tuple[float, float, float]
    color: tuple[float, float, float] = (1.0, 1.0, 1.0)

    @classmethod
    def at(cls, azimuth: float, elevation: float, color: tuple[float, float, float] = (1.0, 1.0, 1.0)) -> Sun:
        """A lamp in a direction seen from the head.

        Args:
            azimuth: degrees from straight ahead, positive toward the head's left.
            elevation: degrees above the horizon.
        """
        turn, height = np.radians(azimuth), np.radians(elevation)
        return cls((np.sin(turn) * np.cos(height), -np.cos(turn) * np.cos(height), np.sin(height)), color)


@dataclass(frozen=True)
class Environment:
    """What lights a head.

    Attributes:
        suns: distant lamps, which cast shadows.
        around: (9, 3) radiance from all directions, linear RGB, as spherical harmonics up to order 2 in the order of 3D
            Gaussian Splatting; None without.

    Raises:
        FaceLiftError: a direction is zero, or a number is negative where it must not be, infinite, or missing.
    """

    suns: tuple[Sun, ...] = ()
    around: np.ndarray | None = None

    def __post_init__(self) -> None:
        for sun in self.suns:
            direction, color = np.asarray(sun.direction, np.float64), np.asarray(sun.color, np.float64)
            if direction.shape != (3,) or not np.isfinite(direction).all() or not np.linalg.norm(direction) > 0:
                raise FaceLiftError("The direction of a lamp must be three numbers that are not all zero.")
            if color.shape != (3,) or not np.isfinite(color).all() or (color < 0).any():
                raise FaceLiftError("The color of a lamp must be three numbers of at least 0.")
        if self.around is not None and (np.shape(self.around) != (COUNT, 3) or not np.isfinite(self.around).all()):
            raise FaceLiftError(f"Light from all directions must be {COUNT} × 3 finite numbers.")

    @classmethod
    def uniform(cls, color: tuple[float, float, float] = (1.0, 1.0, 1.0), suns: tuple[Sun, ...] = ()) -> Environment:
        """The same radiance from everywhere: a white surface has this color."""
        toward = directions(SAMPLES)
        return cls(suns, projected(toward, np.tile(color, (SAMPLES, 1)) * (4 * np.pi / SAMPLES)))

    @classmethod
    def of_picture(cls, picture: np.ndarray, suns: tuple[Sun, ...] = ()) -> Environment:
        """Light of an equirectangular picture, placed as Blender places it: its middle is in the direction +X.

        Only large differences of brightness are kept; a sun in the picture makes no sharp shadows.

        Args:
            picture: (H, W, 3) linear RGB radiance of at least 0, top row first.

        Raises:
            FaceLiftError: the picture has another shape, or values that are negative or not finite.
        """
        if picture.ndim != 3 or picture.shape[2] != 3 or not min(picture.shape):
            raise FaceLiftError(f"A picture of the surroundings has the shape (H, W, 3), not {picture.shape}.")
        if not np.isfinite(picture).all() or (picture < 0).any():
            raise FaceLiftError("A picture of the surroundings has finite values of at least 0.")
        height, width, _ = picture.shape
        # Each row's pixels cover less of the sphere toward the poles.
        polar = (np.arange(height) + 0.5) * np.pi / height
        turn = np.pi - (np.arange(width) + 0.5) * 2 * np.pi / width
        ring, z = np.sin(polar), np.cos(polar)
        around = np.zeros((COUNT, 3))
        for row in range(height):
            toward = np.stack([ring[row] * np.cos(turn), ring[row] * np.sin(turn), np.full(width, z[row])], axis=1)
            around += projected(toward, picture[row] * (ring[row] * 2 * np.pi**2 / (height * width)))
        return cls(suns, around.astype(np.float32))

    @classmethod
    def of_file(cls, path: str | Path, suns: tuple[Sun, ...] = ()) -> Environment:
        """Light of an equirectangular picture in a file: .hdr, or any photo format; see :meth:`of_picture`.

        Raises:
            FaceLiftError: the file is missing, too large, or not a picture.
        """
        path = Path(path)
        if path.suffix.lower() == ".hdr":
            picture = _radiance_file(path)
        else:
            photo = open_photo(path).image.convert("RGB")
            picture = srgb_to_linear(np.asarray(photo, np.float32) / 255)
        height, width = picture.shape[:2]
        scale = min(1.0, LARGEST / max(height, width))
        size = max(1, round(width * scale)), max(1, round(height * scale))
        picture = cv2.resize(np.nan_to_num(picture, nan=0.0, posinf=0.0), size, interpolation=cv2.INTER_AREA)
        return cls.of_picture(picture.clip(0), suns)


def _radiance_file(path: Path) -> np.ndarray:
    """(H, W, 3) float32 linear RGB of an .hdr file."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise FaceLiftError(f"Cannot read {path}: {error.strerror or error}.") from None
    stated = re.search(rb"[-+][XY] (\d{1,9}) [-+][XY] (\d{1,9})", content[:65536])
    if stated is None or not content.startswith(b"#?"):
        raise FaceLiftError(f"{path} is not an .hdr picture.")
    if len(content) > MAX_BYTES or int(stated[1]) * int(stated[2]) > MAX_PIXELS:
        raise FaceLiftError(f"{path} has too many pixels; a picture of 2048 × 1024 pixels is enough.")
    try:
        found = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_ANYDEPTH | cv2.IMREAD_COLOR)
    except cv2.error:
        found = None
    if found is None or found.dtype != np.float32:
        raise FaceLiftError(f"{path} is damaged; download or save it again.")
    return found[..., ::-1]

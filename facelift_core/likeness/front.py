"""Make the front of a head from its photo."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from ..align import AlignedPortrait
from ..align.crop import SIZE
from ..align.landmarks import find_landmarks
from ..gaussians.filters import filter_gaussians
from ..gaussians.tensors import Gaussians, concatenate
from ..progress import Monitor
from .depth import portrait_depth
from .harmony import harmonized
from .skin import carve, skin, skin_weight
from .surface import front_surface

NO_LANDMARKS = "The features of the face could not be located; its depth is only estimated."


@dataclass(frozen=True)
class Front:
    """A head with its front made from the photo.

    Attributes:
        gaussians: the head.
        notes: sentences for the user.
    """

    gaussians: Gaussians
    notes: tuple[str, ...]


def with_photo_front(head: Gaussians, portrait: AlignedPortrait, limit: int, monitor: Monitor) -> Front:
    """Replace the front of `head` by the photo.

    Args:
        head: the filtered head from the six views of `portrait`, on the CPU.
        portrait: the aligned portrait.
        limit: maximum number of Gaussians of the result.
        monitor: called before each part.
    """
    monitor(0.0, "Finding the features of the face")
    landmarks = find_landmarks(portrait.image)
    small = pixels_of(portrait.cutout, SIZE)
    surface = front_surface(head, landmarks, portrait_depth(small))
    weight = skin_weight(surface, small[..., 3])
    monitor(0.4, "Matching colors")
    rest = harmonized(carve(head, surface, weight, small[..., 3]), head, surface, small)
    monitor(0.7, "Laying the photo on the head")
    cutout = pixels_of(portrait.cutout, portrait.cutout.width)
    front = filter_gaussians(skin(surface, cutout, weight, limit - len(rest), head.sh.shape[1]))
    return Front(concatenate([rest, front]), () if landmarks else (NO_LANDMARKS,))


def pixels_of(cutout: Image.Image, side: int) -> np.ndarray:
    """Return an RGBA image as (side, side, 4) float32 in [0, 1], straight alpha. Resizing weights colors by alpha."""
    image = cutout if cutout.width == side else cutout.resize((side, side), Image.Resampling.BOX)
    return np.asarray(image, np.float32) / 255

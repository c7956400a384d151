"""The front view of a head at rest, from which what it hides takes its colors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .rig import FaceMesh
from .samples import front_pixels, front_quads

SIDE = 1024
NOMINAL = 0.55
"""Brightness of skin in an evenly lit portrait; colors that are made up are scaled by how bright the skin is."""


@dataclass(frozen=True)
class FrontView:
    """A head from the front.

    Attributes:
        picture: (1024, 1024, 3) float32 sRGB in [0, 1].
        quads: (1024, 1024) int32, the quad of the face mesh that each pixel shows, −1 where there is none.
        light: brightness of the skin relative to that of an evenly lit portrait.
    """

    picture: np.ndarray
    quads: np.ndarray
    light: float

    def colors(self, points: np.ndarray) -> np.ndarray:
        """(N, 3) colors of the pixels at which the camera sees the places of `points`."""
        return self.picture[self._pixels(points)]

    def quads_at(self, points: np.ndarray) -> np.ndarray:
        """(N,) the quads that the camera sees at the places of `points`."""
        return self.quads[self._pixels(points)]

    def _pixels(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        pixels, _ = front_pixels(points, SIDE)
        column, row = np.clip(np.floor(pixels), 0, SIDE - 1).astype(int).T
        return row, column


def front_view(picture: np.ndarray, mesh: FaceMesh) -> FrontView:
    """The front view of a head, of which `picture` is the render, (1024, 1024, 3)."""
    pixels, _ = front_pixels(mesh.vertices[mesh.parts["face"]], SIDE)
    column, row = np.clip(np.floor(pixels), 0, SIDE - 1).astype(int).T
    light = float(np.median(picture[row, column].mean(1))) / NOMINAL
    return FrontView(picture, front_quads(mesh, SIDE), min(max(light, 0.15), 1.3))

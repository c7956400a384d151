"""What a head reflects: normals and albedo of its Gaussians, and the light of its photo."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..files import replacing


@dataclass(frozen=True)
class Reflectance:
    """The surface of a head's Gaussians without light, and the light of the photo.

    Attributes:
        normals: (N, 3) float32 unit vectors in the world of the Gaussians, outward.
        albedo: (N, 3) float32 linear sRGB in [0, 1].
        light: (9, 3) float32 radiance of the photo's surroundings, linear RGB, as spherical harmonics up to order 2 in
            the order of 3D Gaussian Splatting.
    """

    normals: np.ndarray
    albedo: np.ndarray
    light: np.ndarray

    def __len__(self) -> int:
        return len(self.normals)

    def save(self, path: str | Path) -> None:
        """Write the three arrays to an .npz file, atomically.

        Raises:
            FaceLiftError: the file cannot be written.
        """
        with replacing(path) as temporary:
            np.savez(temporary, normals=self.normals, albedo=self.albedo, light=self.light)

"""Gaussians as NumPy arrays: what the file formats read and write, so that they work where PyTorch is missing."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np

from ..errors import FaceLiftError

if TYPE_CHECKING:
    from .tensors import Gaussians

SH_C0 = 0.28209479177387814
"""Zeroth real spherical-harmonic basis function; colour = .5 + SH_C0 · f_dc."""


def check_shapes(splats: Gaussians | SplatArrays) -> None:
    """Refuse fields whose shapes do not belong together.

    Raises:
        FaceLiftError: which field is wrong, and what its shape should be.
    """
    n = splats.positions.shape[0]
    bases = splats.sh.shape[1] if splats.sh.ndim == 3 else 0
    expected = {
        "positions": (n, 3),
        "sh": (n, bases, 3),
        "log_scales": (n, 3),
        "rotations": (n, 4),
        "opacity_logits": (n,),
    }
    for name, shape in expected.items():
        found = tuple(getattr(splats, name).shape)
        if found != shape:
            raise FaceLiftError(f"Gaussians: {name} has shape {found}, expected {shape}.")
    if bases not in (1, 4, 9, 16):
        raise FaceLiftError(f"Gaussians: {bases} spherical-harmonic features per colour; expected 1, 4, 9 or 16.")


@dataclass(frozen=True)
class SplatArrays:
    """The same raw fields as :class:`facelift_core.gaussians.tensors.Gaussians`, as float32 arrays.

    Attributes:
        positions: (N, 3) world units.
        sh: (N, K, 3) spherical-harmonic colour features, K = (degree + 1)²; display-referred sRGB.
        log_scales: (N, 3) natural logarithm of the standard deviations.
        rotations: (N, 4) quaternions w, x, y, z, not necessarily normalised.
        opacity_logits: (N,) opacity before the sigmoid.

    Raises:
        FaceLiftError: the shapes do not belong together.
    """

    positions: np.ndarray
    sh: np.ndarray
    log_scales: np.ndarray
    rotations: np.ndarray
    opacity_logits: np.ndarray

    def __post_init__(self) -> None:
        check_shapes(self)

    def __len__(self) -> int:
        return self.positions.shape[0]

    def __getitem__(self, index) -> SplatArrays:
        """The Gaussians selected by a boolean mask, an index array or a slice."""
        return SplatArrays(**{f.name: getattr(self, f.name)[index] for f in fields(self)})

    @property
    def sh_degree(self) -> int:
        return int(self.sh.shape[1] ** 0.5) - 1

    @property
    def colors(self) -> np.ndarray:
        """(N, 3) view-independent sRGB, display-referred, not clamped."""
        return 0.5 + SH_C0 * self.sh[:, 0]

    @classmethod
    def from_gaussians(cls, gaussians: Gaussians) -> SplatArrays:
        """The values of `gaussians` as they are, in float32."""
        return cls(**{f.name: getattr(gaussians, f.name).detach().cpu().float().numpy() for f in fields(cls)})

    def to_gaussians(self) -> Gaussians:
        """The same as CPU tensors that share this memory."""
        import torch

        from .tensors import Gaussians

        return Gaussians(**{f.name: torch.from_numpy(getattr(self, f.name)) for f in fields(self)})

"""Gaussians as NumPy arrays. File formats read and write these, so they work without PyTorch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np

from ..errors import FaceLiftError

if TYPE_CHECKING:
    from .tensors import Gaussians

SH_C0 = 0.28209479177387814
"""Spherical-harmonic basis function of degree 0; color = .5 + SH_C0 · f_dc."""


def check_shapes(splats: Gaussians | SplatArrays) -> None:
    """Check that the shapes of all fields are consistent.

    Raises:
        FaceLiftError: a field has the wrong shape. The message names the field and the expected shape.
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
        raise FaceLiftError(f"Gaussians: {bases} spherical-harmonic features per color; expected 1, 4, 9 or 16.")


@dataclass(frozen=True)
class SplatArrays:
    """The same raw fields as :class:`facelift_core.gaussians.tensors.Gaussians`, as float32 arrays.

    Attributes:
        positions: (N, 3) world units.
        sh: (N, K, 3) spherical-harmonic color features, K = (degree + 1)²; display-referred sRGB.
        log_scales: (N, 3) natural logarithm of the standard deviations.
        rotations: (N, 4) quaternions w, x, y, z, not necessarily normalized.
        opacity_logits: (N,) opacity before the sigmoid.

    Raises:
        FaceLiftError: the shapes are inconsistent.
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
        """Select Gaussians by a boolean mask, an index array or a slice."""
        return SplatArrays(**{f.name: getattr(self, f.name)[index] for f in fields(self)})

    @property
    def nbytes(self) -> int:
        return sum(getattr(self, f.name).nbytes for f in fields(self))

    @property
    def sh_degree(self) -> int:
        return int(self.sh.shape[1] ** 0.5) - 1

    @property
    def colors(self) -> np.ndarray:
        """(N, 3) view-independent colors, display-referred sRGB, not clamped."""
        return 0.5 + SH_C0 * self.sh[:, 0]

    @classmethod
    def from_gaussians(cls, gaussians: Gaussians) -> SplatArrays:
        """Convert tensors to float32 arrays."""
        return cls(**{f.name: getattr(gaussians, f.name).detach().cpu().float().numpy() for f in fields(cls)})

    def to_gaussians(self) -> Gaussians:
        """Convert to CPU tensors that share memory with these arrays."""
        import torch

        from .tensors import Gaussians

        return Gaussians(**{f.name: torch.from_numpy(getattr(self, f.name)) for f in fields(self)})


def concatenated(parts: Sequence[SplatArrays]) -> SplatArrays:
    """Join `parts` in their order; lower spherical-harmonic degrees are filled up with zeros."""
    bases = max(part.sh.shape[1] for part in parts)
    sh = [np.pad(part.sh, ((0, 0), (0, bases - part.sh.shape[1]), (0, 0))) for part in parts]
    names = ("positions", "log_scales", "rotations", "opacity_logits")
    return SplatArrays(
        sh=np.concatenate(sh), **{n: np.concatenate([getattr(part, n) for part in parts]) for n in names}
    )

"""A set of 3D Gaussians as tensors: the output of GS-LRM and of all later stages (docs/model.md, 4.6 and 6)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import torch
from torch import Tensor

from .arrays import SH_C0, check_shapes


@dataclass(frozen=True)
class Gaussians:
    """N anisotropic 3D Gaussians in world space (Z up, head facing −Y).

    Stores raw (pre-activation) parameters, as .ply files do, so that saving and loading is lossless.

    Attributes:
        positions: (N, 3) float, world units (the six cameras are at radius 2.7).
        sh: (N, K, 3) float, spherical-harmonic color features, K = (degree + 1)²; display-referred sRGB.
        log_scales: (N, 3) float, natural logarithm of the standard deviation along each local axis.
        rotations: (N, 4) float, quaternions w, x, y, z, not necessarily normalized.
        opacity_logits: (N,) float, opacity before the sigmoid.

    Raises:
        FaceLiftError: the shapes are inconsistent.
    """

    positions: Tensor
    sh: Tensor
    log_scales: Tensor
    rotations: Tensor
    opacity_logits: Tensor

    def __post_init__(self) -> None:
        check_shapes(self)

    def __len__(self) -> int:
        return self.positions.shape[0]

    def __getitem__(self, index) -> Gaussians:
        """Select Gaussians by a boolean mask, an index tensor or a slice."""
        return Gaussians(**{f.name: getattr(self, f.name)[index] for f in fields(self)})

    @property
    def sh_degree(self) -> int:
        return int(self.sh.shape[1] ** 0.5) - 1

    @property
    def scales(self) -> Tensor:
        """(N, 3) standard deviations in world units."""
        return self.log_scales.exp()

    @property
    def opacities(self) -> Tensor:
        """(N,) opacities in (0, 1)."""
        return self.opacity_logits.sigmoid()

    @property
    def colors(self) -> Tensor:
        """(N, 3) view-independent colors, display-referred sRGB, not clamped."""
        return 0.5 + SH_C0 * self.sh[:, 0]

    def to(self, *args, **kwargs) -> Gaussians:
        """Apply ``Tensor.to`` to every field."""
        return Gaussians(**{f.name: getattr(self, f.name).to(*args, **kwargs) for f in fields(self)})

    def save(self, path: str | Path) -> None:
        """Write to `path` atomically, in the format of its suffix.

        Raises:
            FaceLiftError: the suffix is unknown, values are not finite, or the file cannot be written.
        """
        from .files import save

        save(self, path)


def concatenate(parts: Sequence[Gaussians]) -> Gaussians:
    """Concatenate sets of Gaussians of the same spherical-harmonic degree."""
    return Gaussians(**{f.name: torch.cat([getattr(part, f.name) for part in parts]) for f in fields(Gaussians)})

"""A set of 3D Gaussians: the plain data that every stage after GS-LRM passes on (docs/model.md, 4.6 and 6)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import torch
from torch import Tensor

from .arrays import SH_C0, check_shapes


@dataclass(frozen=True)
class Gaussians:
    """N anisotropic 3D Gaussians in world space (Z up, the head looks along −Y).

    Raw (pre-activation) parameters are stored, as in .ply files, so that saving and loading is lossless.

    Attributes:
        positions: (N, 3) float, world units (the six cameras stand at radius 2.7).
        sh: (N, K, 3) float, spherical-harmonic colour features, K = (degree + 1)²; display-referred sRGB.
        log_scales: (N, 3) float, natural logarithm of the standard deviation along each local axis.
        rotations: (N, 4) float, quaternions w, x, y, z, not necessarily normalised.
        opacity_logits: (N,) float, opacity before the sigmoid.

    Raises:
        FaceLiftError: the shapes do not belong together.
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
        """The Gaussians selected by a boolean mask, an index tensor or a slice."""
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
        """(N,) in (0, 1)."""
        return self.opacity_logits.sigmoid()

    @property
    def colors(self) -> Tensor:
        """(N, 3) view-independent sRGB, display-referred, not clamped."""
        return 0.5 + SH_C0 * self.sh[:, 0]

    def to(self, *args, **kwargs) -> Gaussians:
        """As ``Tensor.to`` on every field."""
        return Gaussians(**{f.name: getattr(self, f.name).to(*args, **kwargs) for f in fields(self)})

    def save(self, path: str | Path) -> None:
        """Write to `path` in the format of its suffix; the file appears whole or not at all.

        Raises:
            FaceLiftError: unknown suffix, or the file cannot be written.
        """
        from .files import save

        save(self, path)


def concatenate(parts: Sequence[Gaussians]) -> Gaussians:
    """All Gaussians of `parts`, which have the same degree, one after the other."""
    return Gaussians(**{f.name: torch.cat([getattr(part, f.name) for part in parts]) for f in fields(Gaussians)})

"""Which of GS-LRM's Gaussians belong to the head (docs/model.md, 6.1)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from .tensors import Gaussians


@dataclass(frozen=True)
class FilterLimits:
    """Limits in world units (Z up, the head looks along −Y); the defaults are those of the reference's command line.

    Attributes:
        min_opacity: a Gaussian must be more opaque than this.
        max_scale: below `chin`, the largest standard deviation must be less than this.
        chin: z above which Gaussians may have any size.
        column: side of the four vertical corner columns, |x| and |y| beyond this, that are cut off …
        column_top: … below this z.
        half_width: x and y within ± this.
        half_height: z within ± this.
    """

    min_opacity: float = 0.04
    max_scale: float = 0.1
    chin: float = 0.0
    column: float = 0.6
    column_top: float = -0.6
    half_width: float = 0.91
    half_height: float = 1.0


CLI_LIMITS = FilterLimits()
"""What the reference's command line keeps."""
WEB_LIMITS = FilterLimits(max_scale=0.2, column=0.75)
"""What the reference's web demo keeps: larger splats and more of the shoulders."""


def keep_indices(gaussians: Gaussians, limits: FilterLimits = CLI_LIMITS) -> Tensor:
    """(M,) int64 indices, ascending, of the Gaussians within `limits`; NaN is outside every limit."""
    x, y, z = gaussians.positions.unbind(-1)
    visible = gaussians.opacities > limits.min_opacity
    small = (gaussians.scales.amax(dim=-1) < limits.max_scale) | (z > limits.chin)
    corner = (x.abs() > limits.column) & (y.abs() > limits.column) & (z < limits.column_top)
    inside = (x.abs() <= limits.half_width) & (y.abs() <= limits.half_width) & (z.abs() <= limits.half_height)
    return (visible & small & ~corner & inside).nonzero().squeeze(-1)


def filter_gaussians(gaussians: Gaussians, limits: FilterLimits = CLI_LIMITS) -> Gaussians:
    """The Gaussians within `limits`, in their order."""
    return gaussians[keep_indices(gaussians, limits)]

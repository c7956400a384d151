"""Filter GS-LRM's Gaussians to those of the head (docs/model.md, 6.1)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from .tensors import Gaussians


@dataclass(frozen=True)
class FilterLimits:
    """Filter limits in world units (Z up, head facing −Y). The defaults are those of the reference's command line.

    Attributes:
        min_opacity: minimum opacity, exclusive.
        max_scale: maximum of the largest standard deviation, exclusive; applies only at or below `chin`.
        chin: z above which Gaussians may have any size.
        column: Gaussians with both |x| and |y| above this are removed …
        column_top: … if their z is below this.
        half_width: maximum |x| and |y|.
        half_height: maximum |z|.
    """

    min_opacity: float = 0.04
    max_scale: float = 0.1
    chin: float = 0.0
    column: float = 0.6
    column_top: float = -0.6
    half_width: float = 0.91
    half_height: float = 1.0


CLI_LIMITS = FilterLimits()
"""The limits of the reference's command line."""
WEB_LIMITS = FilterLimits(max_scale=0.2, column=0.75)
"""The limits of the reference's web demo, which keeps larger splats and more of the shoulders."""


def keep_indices(gaussians: Gaussians, limits: FilterLimits = CLI_LIMITS) -> Tensor:
    """Return the indices (M,) int64, ascending, of the Gaussians within `limits`. NaN is outside every limit."""
    x, y, z = gaussians.positions.unbind(-1)
    visible = gaussians.opacities > limits.min_opacity
    small = (gaussians.scales.amax(dim=-1) < limits.max_scale) | (z > limits.chin)
    corner = (x.abs() > limits.column) & (y.abs() > limits.column) & (z < limits.column_top)
    inside = (x.abs() <= limits.half_width) & (y.abs() <= limits.half_width) & (z.abs() <= limits.half_height)
    return (visible & small & ~corner & inside).nonzero().squeeze(-1)


def filter_gaussians(gaussians: Gaussians, limits: FilterLimits = CLI_LIMITS) -> Gaussians:
    """Return the Gaussians within `limits`, in their original order."""
    return gaussians[keep_indices(gaussians, limits)]

"""Move a head that is not where the published cameras look, such as one that was moved or scaled in Blender."""

from __future__ import annotations

import math
from dataclasses import replace

import torch

from ..gaussians.tensors import Gaussians
from .cameras import FIELD_OF_VIEW, RADIUS

VISIBLE = 0.1
"""Minimum opacity of Gaussians that count."""
MOST = 0.98
"""Share of the visible Gaussians that a picture has to show."""
IN_VIEW = RADIUS * math.tan(0.5 * FIELD_OF_VIEW)
"""Half the width of what the published cameras show at the origin, in world units."""
LARGE, SMALL = 1.15 * IN_VIEW, 0.3 * IN_VIEW
"""Farthest and nearest extent from the origin of a head that is at its usual place; usually .92 to .98 of
IN_VIEW."""


def framed(gaussians: Gaussians) -> Gaussians:
    """Return `gaussians` where the published cameras show all of them.

    A head at its usual place is returned unchanged, so that pictures equal those of the published cameras. Others are
    moved to the origin and scaled.
    """
    visible = gaussians.positions[gaussians.opacities > VISIBLE].float()
    if len(visible) == 0:
        return gaussians
    if SMALL < _extent(visible) < LARGE:
        return gaussians
    few = max(1, math.floor((1 - MOST) * len(visible)))
    center = (visible.kthvalue(few, 0).values + visible.kthvalue(len(visible) + 1 - few, 0).values) / 2
    extent = _extent(visible - center)
    scale = 0.85 * IN_VIEW / extent if extent > 0 else 1.0
    return replace(
        gaussians,
        positions=(gaussians.positions - center.to(gaussians.positions)) * scale,
        log_scales=gaussians.log_scales + math.log(scale),
    )


def _extent(positions: torch.Tensor) -> float:
    """Return the distance from the origin within which :data:`MOST` of `positions` (N, 3) are."""
    distances = positions.norm(dim=1)
    return float(distances.kthvalue(max(1, math.ceil(MOST * len(distances)))).values)

"""Makes what a file holds drawable: leaves out broken Gaussians, and replaces infinite values that have a meaning."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..errors import FaceLiftError
from .arrays import SplatArrays
from .quantization import MAX_LOGIT

MIN_LOG_SCALE = -40.0
"""Stands for the logarithm of 0, of axes that are flat. Its square is still a normal float32."""


def repaired(splats: SplatArrays, path: Path, tell: Callable[[str], None]) -> SplatArrays:
    """Return the Gaussians that can be drawn, with finite values.

    Infinite logits of opacities 0 and 1 and logarithms of the scale 0 become finite. Gaussians with NaN, with other
    infinite values, or with a rotation of zeros, as unused rows have it, are left out.

    Args:
        splats: as read from `path`.
        path: the file, for messages.
        tell: called with a sentence that says how many were left out, and why.

    Raises:
        FaceLiftError: none is left.
    """
    limit, flat = np.float32(MAX_LOGIT), np.isneginf(splats.log_scales)
    logits = splats.opacity_logits
    if np.isinf(logits).any():
        splats = replace(splats, opacity_logits=np.nan_to_num(logits, nan=np.nan, posinf=limit, neginf=-limit))
    if flat.any():
        splats = replace(splats, log_scales=np.where(flat, np.float32(MIN_LOG_SCALE), splats.log_scales))
    count = len(splats)
    finite = np.isfinite(splats.opacity_logits)
    for values in (splats.positions, splats.sh.reshape(count, -1), splats.log_scales, splats.rotations):
        finite &= np.isfinite(values).all(axis=1)
    turned = splats.rotations.any(axis=1)
    keep = finite & turned
    if keep.all():
        return splats
    counts = {"with NaN or infinity": (~finite).sum(), "without a rotation": (finite & ~turned).sum()}
    reasons = " and ".join(f"{n:,} {why}" for why, n in counts.items() if n)
    if not keep.any():
        raise FaceLiftError(f"{path} has no Gaussians that can be drawn: {reasons}.")
    tell(f"{path}: {count - int(keep.sum()):,} of {count:,} Gaussians were left out: {reasons}.")
    return splats[keep]

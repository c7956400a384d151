"""A small picture of a file of splats, shown before it is imported."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import bpy
import numpy as np
from bpy.utils import previews
from facelift_core import FaceLiftError
from facelift_core.gaussians import files as formats
from facelift_core.gaussians import transforms

from . import importing, loading
from .attributes import SplatArrays

SIDE = 192
"""Pixels."""
_MOST = 60_000
"""Gaussians that are drawn, the largest."""
_FAINT = 0.3
_REACH = 3
"""Largest radius of a Gaussian in the picture, in pixels."""

_collection: previews.ImagePreviewCollection | None = None


def icon_of(path: Path, up_axis: str) -> int:
    """Number of an icon that shows the file; 0 for files that are large, damaged, or need the runtime."""
    try:
        state = path.stat()
    except (OSError, ValueError):
        return 0
    if not path.is_file() or state.st_size > loading.LARGE:
        return 0
    return _icon(path, up_axis, state.st_mtime_ns)


@lru_cache(maxsize=64)
def _icon(path: Path, up_axis: str, changed: int) -> int:
    global _collection
    try:
        splats = transforms.transform(formats.read(path, tell=print), importing.upright(up_axis))
    except (FaceLiftError, MemoryError):
        return 0
    if _collection is None:
        _collection = previews.new()
    preview = _collection.new(f"{path} {up_axis} {changed}")
    preview.image_size = (SIDE, SIDE)
    preview.image_pixels_float = picture(splats)[::-1].ravel().tolist()
    return preview.icon_id


def picture(splats: SplatArrays) -> np.ndarray:
    """(SIDE, SIDE, 4) float32 straight alpha, top row first: what is seen along Y, drawn as opaque discs."""
    with np.errstate(over="ignore", under="ignore"):
        opacity = 1.0 / (1.0 + np.exp(-splats.opacity_logits))
        sigma = np.exp(splats.log_scales).max(axis=1)
    chosen = np.flatnonzero(opacity > _FAINT)
    if len(chosen) > _MOST:
        chosen = chosen[np.argpartition(sigma[chosen], -_MOST)[-_MOST:]]
    image = np.zeros((SIDE, SIDE, 4), np.float32)
    if len(chosen) == 0:
        return image
    positions = splats.positions[chosen]
    low, high = np.percentile(positions, [1, 99], axis=0)
    scale = 0.9 * SIDE / max(float((high - low)[[0, 2]].max()), 1e-9)
    order = np.argsort(-positions[:, 1])  # far to near
    positions, chosen = positions[order], chosen[order]
    middle = 0.5 * (low + high)
    column = (0.5 * SIDE + scale * (positions[:, 0] - middle[0])).clip(-1e6, 1e6)
    row = (0.5 * SIDE - scale * (positions[:, 2] - middle[2])).clip(-1e6, 1e6)
    radius = (scale * sigma[chosen]).clip(1.0, _REACH)
    offsets = np.stack(np.meshgrid(*[np.arange(-_REACH, _REACH + 1)] * 2), axis=-1).reshape(-1, 2)
    inside = (offsets**2).sum(axis=1) <= radius[:, None] ** 2
    which, offset = np.nonzero(inside)  # in order of depth: what is painted last is nearest
    x = column[which].astype(int) + offsets[offset, 0]
    y = row[which].astype(int) + offsets[offset, 1]
    seen = (x >= 0) & (x < SIDE) & (y >= 0) & (y < SIDE)
    colors = splats.colors[chosen[which[seen]]].clip(0.0, 1.0)
    image[y[seen], x[seen]] = np.column_stack([colors, np.ones(len(colors), np.float32)])
    return image


def detach() -> None:
    """Free the pictures."""
    global _collection
    _icon.cache_clear()
    if _collection is not None:
        previews.remove(_collection)
        _collection = None


def shown_file(operator: bpy.types.Operator, context: bpy.types.Context) -> Path | None:
    """The file that is selected in the file browser, or else the operator's first one."""
    params = getattr(context.space_data, "params", None)
    if params is not None and hasattr(params, "directory"):
        directory = params.directory.decode(errors="replace") if isinstance(params.directory, bytes) else ""
        return Path(directory) / params.filename if params.filename else None
    try:
        return importing.paths_of(operator)[0]
    except FaceLiftError:
        return None

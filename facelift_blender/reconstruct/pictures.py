"""Thumbnails of image files in panels."""

from __future__ import annotations

import os

import bpy.utils.previews
import numpy as np

_collection: bpy.utils.previews.ImagePreviewCollection | None = None
_shown: dict[str, str] = {}
"""Preview key by path, so that only the current version of a changed file is kept."""


def icon(path: str) -> int:
    """Icon ID of the picture at `path`, or 0 if it cannot be read. Reloads the picture when the file changes."""
    global _collection
    path = bpy.path.abspath(path)
    try:
        key = f"{path}\n{os.stat(path).st_mtime_ns}"
    except (OSError, ValueError):
        return 0
    if _collection is None:
        _collection = bpy.utils.previews.new()
    if key not in _collection:
        try:
            _collection.load(key, path, "IMAGE")
        except (KeyError, RuntimeError):
            return 0
        former, _shown[path] = _shown.get(path), key
        if former in _collection:
            del _collection[former]
    preview = _collection[key]
    # Reading the size loads the picture now; otherwise it would stay gray until the next mouse move.
    return preview.icon_id if all(preview.image_size) else 0


def tiles(path: str, columns: int, rows: int) -> list[int]:
    """Icon IDs of the parts of a picture that consists of square tiles, row by row; empty if it cannot be read."""
    if not icon(path):
        return []
    whole = _shown[bpy.path.abspath(path)]
    keys = [f"{whole}\n{number}" for number in range(columns * rows)]
    if keys[-1] not in _collection:
        preview = _collection[whole]
        width, height = preview.image_size
        pixels = np.array(preview.image_pixels_float[:], np.float32).reshape(height, width, 4)[::-1]
        side = min(width // columns, height // rows)
        for number, key in enumerate(keys):
            row, column = divmod(number, columns)
            part = pixels[row * height // rows :, column * width // columns :][:side, :side][::-1]
            tile = _collection.new(key)
            tile.image_size = (side, side)
            tile.image_pixels_float[:] = part.ravel()
    return [_collection[key].icon_id for key in keys]


def clear() -> None:
    global _collection
    if _collection is not None:
        bpy.utils.previews.remove(_collection)
        _collection = None
        _shown.clear()

"""Tensors to pictures, and pictures to files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from .errors import FaceLiftError
from .files import replacing


def to_bytes(pictures: Tensor) -> np.ndarray:
    """Display-referred values to uint8, rounded and clipped; the same shape, contiguous, on the CPU."""
    scaled = pictures.detach().float().mul(255.0).round().clamp(0.0, 255.0)
    return np.ascontiguousarray(scaled.to("cpu", torch.uint8).numpy())


def to_pictures(pictures: Tensor) -> list[Image.Image]:
    """PIL images of a batch.

    Args:
        pictures: (V, H, W, 3) as :func:`.rasterizer.render` makes them, or (V, 3, H, W) as the views are, float sRGB.

    Raises:
        FaceLiftError: another shape.
    """
    if pictures.ndim == 4 and pictures.shape[1] == 3 and pictures.shape[3] != 3:
        pictures = pictures.movedim(1, 3)
    if pictures.ndim != 4 or pictures.shape[3] != 3:
        raise FaceLiftError(f"Pictures must have the shape (V, H, W, 3) or (V, 3, H, W), not {tuple(pictures.shape)}.")
    return [Image.fromarray(picture) for picture in to_bytes(pictures)]


def contact_sheet(pictures: Tensor | Sequence[Image.Image], columns: int | None = None) -> Image.Image:
    """All pictures side by side on white, row after row; smaller ones stand in the middle of their cell.

    Args:
        pictures: PIL images, or a batch as :func:`to_pictures` takes.
        columns: pictures per row; by default all in one row, as the reference writes its views.

    Raises:
        FaceLiftError: no pictures, or no columns.
    """
    images = to_pictures(pictures) if isinstance(pictures, Tensor) else list(pictures)
    columns = len(images) if columns is None else min(columns, len(images))
    if columns < 1:
        raise FaceLiftError("A contact sheet needs at least one picture and one column.")
    width, height = (max(image.size[axis] for image in images) for axis in range(2))
    sheet = Image.new("RGB", (columns * width, -(-len(images) // columns) * height), "white")
    for i, image in enumerate(images):
        left, top = i % columns * width, i // columns * height
        sheet.paste(image.convert("RGB"), (left + (width - image.width) // 2, top + (height - image.height) // 2))
    return sheet


def write_picture(picture: Image.Image, path: str | Path) -> None:
    """Write a picture in the format of the suffix; whole or not at all.

    Raises:
        FaceLiftError: a suffix that Pillow does not write, a picture too large for the format, or no place to write it.
    """
    path = Path(path)
    if path.suffix.lower() not in Image.registered_extensions():
        raise FaceLiftError(f"{path}: “{path.suffix}” is not the suffix of a picture; use .png, .jpg or .webp.")
    with replacing(path) as temporary:
        try:
            picture.save(temporary)
        except (ValueError, KeyError) as error:  # a format only read, not written, or a mode it does not have
            raise FaceLiftError(f"Cannot write {path}: {error}.") from None


def write_contact_sheet(pictures: Tensor | Sequence[Image.Image], path: str | Path, columns: int | None = None) -> None:
    """:func:`contact_sheet` to a file, as :func:`write_picture`."""
    write_picture(contact_sheet(pictures, columns), path)

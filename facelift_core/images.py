"""Convert tensors to images, and write images to files."""

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
    """Convert display-referred values in [0, 1] to a contiguous uint8 array of the same shape, rounded and clipped."""
    scaled = pictures.detach().float().mul(255.0).round().clamp(0.0, 255.0)
    return np.ascontiguousarray(scaled.to("cpu", torch.uint8).numpy())


def to_pictures(pictures: Tensor) -> list[Image.Image]:
    """Convert a batch of images to PIL images.

    Args:
        pictures: float sRGB, either (V, H, W, 3), as :func:`facelift_core.rendering.render` returns them, or
            (V, 3, H, W), as the diffusion model returns its views.

    Raises:
        FaceLiftError: `pictures` has another shape.
    """
    if pictures.ndim == 4 and pictures.shape[1] == 3 and pictures.shape[3] != 3:
        pictures = pictures.movedim(1, 3)
    if pictures.ndim != 4 or pictures.shape[3] != 3:
        raise FaceLiftError(f"Images must have shape (V, H, W, 3) or (V, 3, H, W), not {tuple(pictures.shape)}.")
    return [Image.fromarray(picture) for picture in to_bytes(pictures)]


def contact_sheet(pictures: Tensor | Sequence[Image.Image], columns: int | None = None) -> Image.Image:
    """Arrange images in a grid on white, row by row; images smaller than their cell are centered in it.

    Args:
        pictures: PIL images, or a batch accepted by :func:`to_pictures`.
        columns: images per row. Defaults to a single row, as the reference writes its views.

    Raises:
        FaceLiftError: there are no images, or `columns` is less than 1.
    """
    images = to_pictures(pictures) if isinstance(pictures, Tensor) else list(pictures)
    columns = len(images) if columns is None else min(columns, len(images))
    if columns < 1:
        raise FaceLiftError("A contact sheet needs at least one image and one column.")
    width, height = (max(image.size[axis] for image in images) for axis in range(2))
    sheet = Image.new("RGB", (columns * width, -(-len(images) // columns) * height), "white")
    for i, image in enumerate(images):
        left, top = i % columns * width, i // columns * height
        sheet.paste(image.convert("RGB"), (left + (width - image.width) // 2, top + (height - image.height) // 2))
    return sheet


def write_picture(picture: Image.Image, path: str | Path) -> None:
    """Write an image atomically, in the format given by the suffix of `path`.

    Raises:
        FaceLiftError: Pillow cannot write this format, the image is too large for it, or the file cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() not in Image.registered_extensions():
        raise FaceLiftError(f"{path}: “{path.suffix}” is not an image format; use .png, .jpg or .webp.")
    with replacing(path) as temporary:
        try:
            picture.save(temporary)
        except (ValueError, KeyError) as error:  # Pillow only reads this format, or it does not support the mode
            raise FaceLiftError(f"Cannot write {path}: {error}.") from None


def write_contact_sheet(pictures: Tensor | Sequence[Image.Image], path: str | Path, columns: int | None = None) -> None:
    """Write a :func:`contact_sheet` to `path`; see :func:`write_picture`."""
    write_picture(contact_sheet(pictures, columns), path)

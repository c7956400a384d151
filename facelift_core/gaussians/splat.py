"""Read and write .splat files, as the first web viewer of Gaussians has them: 32 bytes per Gaussian, without a header.

Position and standard deviations are floats; color, opacity and rotation have 8 bits per value. There is no
view-dependent color.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..files import replacing
from . import quantization
from .arrays import SH_C0, SplatArrays
from .damage import Damaged, reading

_ROW = np.dtype([("position", "<f4", 3), ("scale", "<f4", 3), ("rgba", "u1", 4), ("rotation", "u1", 4)])


def write(splats: SplatArrays, path: Path) -> None:
    """Write a .splat file atomically.

    Raises:
        FaceLiftError: the file cannot be written.
    """
    rows = np.empty(len(splats), _ROW)
    rows["position"] = splats.positions
    rows["scale"] = np.exp(splats.log_scales.clip(max=80.0))
    rows["rgba"][:, :3] = quantization.to_bytes(splats.colors * 255)
    rows["rgba"][:, 3] = quantization.to_bytes(quantization.opacities(splats.opacity_logits) * 255)
    rows["rotation"] = quantization.to_bytes(quantization.normalized(splats.rotations) * 128 + 128)
    with replacing(path) as temporary, open(temporary, "wb") as file:  # tofile() does not say that the disk is full
        file.write(rows.view(np.uint8).data)


def read(path: Path) -> SplatArrays:
    """Read a .splat file.

    Raises:
        FaceLiftError: the file is missing or damaged.
    """
    with reading(path):
        if path.stat().st_size % _ROW.itemsize:
            raise Damaged(f"is cut short, or not a .splat file: its size is not a multiple of {_ROW.itemsize} bytes")
        rows = np.fromfile(path, _ROW)
        colors = rows["rgba"][:, :3] / np.float32(255)
        rotations = rows["rotation"].astype(np.float32) / 128 - 1
        rotations[(rotations == -1).all(axis=1)] = 0.0  # a row of zeros has no direction
        with np.errstate(divide="ignore", invalid="ignore"):
            log_scales = np.log(rows["scale"])
        return SplatArrays(
            positions=np.ascontiguousarray(rows["position"]),
            sh=((colors - 0.5) / SH_C0).astype(np.float32)[:, None],
            log_scales=log_scales,
            rotations=rotations,
            opacity_logits=quantization.logits(rows["rgba"][:, 3] / 255),
        )

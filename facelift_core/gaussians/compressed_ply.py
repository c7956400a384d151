"""Read and write compressed .ply files as PlayCanvas defined them: 16 bytes per Gaussian, in blocks of 256.

Each block of the element ``chunk`` has the ranges of position, logarithmic scale and color; each row of ``vertex``
packs values within these ranges: position and scale in 11, 10 and 11 bits, color and opacity in 8 bits each, rotation
in 2 + 3 × 10 bits. The element ``sh`` has one byte for each higher spherical-harmonic feature.
"""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import numpy as np

from ..files import replacing
from . import quantization
from .arrays import SH_C0, SplatArrays
from .damage import Damaged
from .ply_header import Header
from .ply_rows import read_columns

MARK = "packed_position"
"""The property by which compressed files are recognized."""

_BLOCK = 256
_PACKED = ("packed_position", "packed_rotation", "packed_scale", "packed_color")
_RANGES = [
    f"{end}_{what}"
    for names in (("x", "y", "z"), ("scale_x", "scale_y", "scale_z"), ("r", "g", "b"))
    for end in ("min", "max")
    for what in names
]
_SCALE_LIMIT = 20.0
_SH_RANGE = 8.0
"""Higher spherical harmonics are kept from −4 to 4."""


def write(splats: SplatArrays, path: Path) -> None:
    """Write a compressed .ply file atomically. The order of the Gaussians changes.

    Raises:
        FaceLiftError: the file cannot be written.
    """
    splats = splats[quantization.morton_order(splats.positions)]
    count = len(splats)
    blocks = -(-count // _BLOCK)
    scales = splats.log_scales.clip(-_SCALE_LIMIT, _SCALE_LIMIT)
    ranges, packed = [], []
    for values in (splats.positions, scales, splats.colors):
        padded = np.concatenate([values, np.repeat(values[-1:], blocks * _BLOCK - count, axis=0)])
        padded = padded.reshape(blocks, _BLOCK, 3).astype(np.float32)
        low, high = padded.min(axis=1), padded.max(axis=1)
        ranges += [low, high]
        width = np.where(high > low, high - low, 1.0)
        packed.append(((padded - low[:, None]) / width[:, None]).reshape(-1, 3)[:count])
    largest, others = quantization.smallest_three(splats.rotations)
    opacity = quantization.opacities(splats.opacity_logits)

    rows = np.empty(count, [(name, "<u4") for name in _PACKED])
    rows["packed_position"] = _pack(packed[0], (11, 10, 11))
    rows["packed_scale"] = _pack(packed[1], (11, 10, 11))
    rows["packed_color"] = _pack(np.concatenate([packed[2], opacity[:, None]], axis=1), (8, 8, 8, 8))
    rows["packed_rotation"] = _pack(others * np.sqrt(0.5) + 0.5, (10, 10, 10)) | largest.astype(np.uint32) << 30
    rest = splats.sh[:, 1:].transpose(0, 2, 1).reshape(count, -1)
    sh = np.clip(np.floor((rest / _SH_RANGE + 0.5) * 256), 0, 255).astype(np.uint8)

    header = ["ply", "format binary_little_endian 1.0", f"element chunk {blocks}"]
    header += [f"property float {name}" for name in _RANGES]
    header += [f"element vertex {count}", *(f"property uint {name}" for name in _PACKED)]
    if rest.shape[1]:
        header += [f"element sh {count}", *(f"property uchar f_rest_{i}" for i in range(rest.shape[1]))]
    header += ["end_header", ""]
    with replacing(path) as temporary, open(temporary, "wb") as file:
        file.write("\n".join(header).encode("ascii"))
        file.write(np.concatenate(ranges, axis=1).astype("<f4").tobytes())
        file.write(rows.tobytes())
        file.write(sh.tobytes())


def unpack(file: BinaryIO, header: Header, size: int) -> SplatArrays:
    """Read a compressed file after its header; `size` is that of the file.

    Raises:
        Damaged: the file is cut short or damaged.
    """
    vertex, chunk = header.elements["vertex"], header.elements.get("chunk")
    count = vertex.count
    if count == 0:
        raise Damaged("contains no Gaussians")
    if chunk is None or chunk.count < -(-count // _BLOCK):
        raise Damaged("is a compressed splat file without the ranges of its blocks")
    for element, names in ((vertex, _PACKED), (chunk, _RANGES[:12])):
        element.check_columns()
        if missing := [name for name in names if name not in element.names]:
            raise Damaged(f"is a compressed splat file that lacks {', '.join(missing)}")
    types = {prop.name: prop.type for prop in vertex.properties}
    if any(types[name] not in ("u4", "i4") for name in _PACKED):
        raise Damaged("is a compressed splat file whose values are not 32-bit integers")
    ranges = read_columns(file, header, "chunk", size)
    rows = read_columns(file, header, "vertex", size)
    words = {name: rows[name].astype(np.int64).astype(np.uint32) for name in _PACKED}
    block = np.arange(count) // _BLOCK

    def spread(unit: np.ndarray, start: int) -> np.ndarray:
        low, high = (
            np.stack([ranges[name] for name in _RANGES[first : first + 3]], axis=1).astype(np.float64)[block]
            for first in (start, start + 3)
        )
        with np.errstate(invalid="ignore"):  # infinite ranges become NaN, and these Gaussians are dropped
            return (low + unit * (high - low)).astype(np.float32)

    color = _unpack(words["packed_color"], (8, 8, 8, 8))
    base = spread(color[:, :3], 12) if set(_RANGES[12:]) <= ranges.keys() else color[:, :3]
    with np.errstate(over="ignore"):  # infinite ones are dropped
        base = ((base - 0.5) / SH_C0).astype(np.float32)
    rotation = words["packed_rotation"]
    others = (_unpack(rotation, (10, 10, 10)) - 0.5) * np.sqrt(2.0)
    return SplatArrays(
        positions=spread(_unpack(words["packed_position"], (11, 10, 11)), 0),
        sh=np.concatenate([base[:, None], _rest(file, header, size)], axis=1),
        log_scales=spread(_unpack(words["packed_scale"], (11, 10, 11)), 6),
        rotations=quantization.from_smallest_three(rotation >> np.uint32(30), others),
        opacity_logits=quantization.logits(color[:, 3]),
    )


def _rest(file: BinaryIO, header: Header, size: int) -> np.ndarray:
    """(N, K − 1, 3) higher spherical harmonics."""
    count, sh = header.elements["vertex"].count, header.elements.get("sh")
    if sh is None or not sh.properties:
        return np.empty((count, 0, 3), np.float32)
    sh.check_columns()
    width = len(sh.properties)
    if sh.count != count or width not in (9, 24, 45) or set(sh.names) != {f"f_rest_{i}" for i in range(width)}:
        raise Damaged("is a compressed splat file with incomplete spherical harmonics")
    columns = read_columns(file, header, "sh", size)
    steps = np.stack([columns[f"f_rest_{i}"] for i in range(width)], axis=1).astype(np.float32)
    unit = np.where(steps == 0, 0.0, np.where(steps == 255, 1.0, (steps + 0.5) / 256))
    return ((unit - 0.5) * _SH_RANGE).astype(np.float32).reshape(count, 3, -1).transpose(0, 2, 1)


def _pack(unit: np.ndarray, bits: tuple[int, ...]) -> np.ndarray:
    """(N,) uint32 of (N, M) values from 0 to 1, the first in the highest bits."""
    word = np.zeros(len(unit), np.uint32)
    for values, width in zip(unit.T, bits, strict=True):
        top = (1 << width) - 1
        word = word << np.uint32(width) | np.clip(np.floor(values * top + 0.5), 0, top).astype(np.uint32)
    return word


def _unpack(word: np.ndarray, bits: tuple[int, ...]) -> np.ndarray:
    """(N, M) float64 values from 0 to 1 of (N,) uint32."""
    values, shift = [], sum(bits)
    for width in bits:
        shift -= width
        top = (1 << width) - 1
        values.append((word >> np.uint32(shift) & np.uint32(top)) / top)
    return np.stack(values, axis=1)

"""Read and write Gaussians as .ply files in the format of 3D Gaussian Splatting (docs/model.md, 6.2).

The file has one element ``vertex`` with raw properties: logarithmic scales, opacity before the sigmoid, and spherical
harmonics. Files are written in little-endian binary, with all 45 ``f_rest`` properties so that every viewer opens them,
and with base colors also as ``red green blue`` for programs that show only a point cloud. The reader also accepts files
of other tools; see :func:`read`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from operator import itemgetter
from pathlib import Path

import numpy as np

from ..files import replacing
from . import compressed_ply
from .arrays import SH_C0, SplatArrays
from .damage import Damaged, reading
from .ply_header import Element, read_header
from .ply_rows import read_columns

REST_BASES = 15
"""Spherical-harmonic features per color beyond the first, at degree 3."""

_XYZ = ("x", "y", "z")
_RGB = ("red", "green", "blue")
_DC = ("f_dc_0", "f_dc_1", "f_dc_2")
_REST = tuple(f"f_rest_{i}" for i in range(3 * REST_BASES))
_SCALE = ("scale_0", "scale_1", "scale_2")
_ROTATION = ("rot_0", "rot_1", "rot_2", "rot_3")
_FLOATS_AFTER_RGB = (*_DC, *_REST, "opacity", *_SCALE, *_ROTATION)


def write(splats: SplatArrays, path: Path) -> None:
    """Write a .ply file atomically.

    ``f_rest`` holds 15 features for each channel in turn, zero beyond the degree of `splats`. Rotations are not
    normalized.

    Raises:
        FaceLiftError: the file cannot be written.
    """
    count = len(splats)
    rest = np.zeros((count, 3, REST_BASES), np.float32)
    rest[:, :, : splats.sh.shape[1] - 1] = splats.sh[:, 1:].transpose(0, 2, 1)
    floats = [splats.sh[:, 0], rest.reshape(count, -1), splats.opacity_logits[:, None]]

    row = np.dtype([("xyz", "<f4", 3), ("rgb", "u1", 3), ("floats", "<f4", len(_FLOATS_AFTER_RGB))])
    rows = np.empty(count, row)
    rows["xyz"] = splats.positions
    rows["rgb"] = (splats.colors * 255).clip(0, 255).astype(np.uint8)  # truncates
    rows["floats"] = np.concatenate([*floats, splats.log_scales, splats.rotations], axis=1)

    header = ["ply", "format binary_little_endian 1.0", f"element vertex {count}"]
    header += [f"property float {name}" for name in _XYZ]
    header += [f"property uchar {name}" for name in _RGB]
    header += [f"property float {name}" for name in _FLOATS_AFTER_RGB]
    header += ["end_header", ""]
    with replacing(path) as temporary, open(temporary, "wb") as file:
        file.write("\n".join(header).encode("ascii"))
        file.write(rows.view(np.uint8).data)


def read(path: Path) -> SplatArrays:
    """Read a .ply file of Gaussians, written by this package or another tool.

    Accepts binary of either byte order and text, with properties in any order and of any type, and compressed files
    (:mod:`.compressed_ply`). Other properties and elements are ignored. There may be 0, 9, 24 or 45 ``f_rest``
    properties; the highest degrees are dropped if all their values are zero. Without ``f_dc``, the color is read from
    ``red green blue`` (integers up to the maximum of their type, or floats from 0 to 1). Without ``scale_2``, as in
    files of 2D Gaussians, the third axis is flat.

    Returns:
        float32 arrays. Values may be NaN or infinite, as in the file.

    Raises:
        FaceLiftError: the file is missing, damaged or incomplete, or does not hold Gaussians.
    """
    with reading(path), open(path, "rb") as file:
        header, size = read_header(file), path.stat().st_size
        vertex = header.elements.get("vertex")
        if vertex is None:
            raise Damaged("does not contain Gaussians: it has no element “vertex”")
        if compressed_ply.MARK in vertex.names:
            return compressed_ply.unpack(file, header, size)
        _check_properties(vertex)
        return _to_splats(read_columns(file, header, "vertex", size), vertex)


def _check_properties(vertex: Element) -> None:
    """Raise Damaged unless these are properties of Gaussians."""
    names = set(vertex.names)
    missing = [name for name in (*_XYZ, "opacity", *_SCALE[:2], *_ROTATION) if name not in names]
    if missing:
        raise Damaged(f"does not contain Gaussians: its points lack {', '.join(missing)}")
    if not (set(_DC) <= names or set(_RGB) <= names):
        raise Damaged("contains Gaussians without color: neither f_dc_0 to f_dc_2 nor red, green, blue")
    if vertex.count == 0:
        raise Damaged("contains no Gaussians")
    vertex.check_columns()
    rest = [name for name in names if name.startswith("f_rest_")]
    if len(rest) not in (0, 9, 24, 45) or not set(rest) <= set(_REST[: len(rest)]):
        raise Damaged(f"has {len(rest)} f_rest properties, but must have 0, 9, 24 or 45, numbered from 0")


def _to_splats(columns: dict[str, np.ndarray], vertex: Element) -> SplatArrays:
    base = _DC if set(_DC) <= columns.keys() else _RGB
    rest = tuple(name for name in _REST if name in columns)
    # In many files f_rest is all zeros, three quarters of the data; copying it column by column would dominate.
    if _are_zero([columns[name] for name in rest]):
        rest = ()
    if "scale_2" not in columns:
        columns["scale_2"] = np.full(vertex.count, -np.inf, np.float32)
    names = (*_XYZ, *base, *rest, "opacity", *_SCALE, *_ROTATION)
    with np.errstate(over="ignore"):  # values too large for float32 become infinite
        table = np.stack([columns[name] for name in names], axis=1, dtype=np.float32, casting="unsafe")
    positions, colors, higher, logits, log_scales, rotations = np.split(
        table, np.cumsum([3, 3, len(rest), 1, 3]), axis=1
    )
    if base is _RGB:
        types = {prop.name: np.dtype(prop.type) for prop in vertex.properties}
        white = [np.iinfo(types[name]).max if types[name].kind in "iu" else 1.0 for name in _RGB]
        colors = (colors / np.array(white, np.float32) - 0.5) / SH_C0
    higher = higher.reshape(len(table), 3, -1).transpose(0, 2, 1)
    while higher.shape[1] and not higher[:, _last_band(higher.shape[1])].any():
        higher = higher[:, : _last_band(higher.shape[1]).start]
    return SplatArrays(
        positions=np.ascontiguousarray(positions),
        sh=np.ascontiguousarray(np.concatenate([colors[:, None], higher], axis=1)),
        log_scales=np.ascontiguousarray(log_scales),
        rotations=np.ascontiguousarray(rotations),
        opacity_logits=np.ascontiguousarray(logits[:, 0]),
    )


def _are_zero(columns: Sequence[np.ndarray]) -> bool:
    """Return whether these columns lie side by side in rows, have one type, and are zero."""
    if not columns:
        return False
    places = sorted(((column.__array_interface__["data"][0], column) for column in columns), key=itemgetter(0))
    first, width, stride = places[0][1], places[0][1].itemsize, places[0][1].strides[0]
    for i, (place, column) in enumerate(places):
        if place != places[0][0] + i * width or column.dtype != first.dtype or column.strides[0] != stride:
            return False
    block = np.lib.stride_tricks.as_strided(first, (len(first), len(places)), (stride, width))
    return not block.any()


def _last_band(rest_bases: int) -> slice:
    """Return the slice of the features of the highest degree; `rest_bases` is 3, 8 or 15."""
    degree = math.isqrt(rest_bases + 1) - 1
    return slice(degree * degree - 1, rest_bases)

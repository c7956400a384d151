"""Read and write Gaussians as .ply files in the format of 3D Gaussian Splatting (docs/model.md, 6.2).

The file has one element ``vertex`` with raw properties: logarithmic scales, opacity before the sigmoid, and spherical
harmonics. Files are written in little-endian binary, with all 45 ``f_rest`` properties so that every viewer opens them,
and with base colors also as ``red green blue`` for programs that show only a point cloud. The reader also accepts files
of other tools; see :func:`read_ply`.
"""

from __future__ import annotations

import io
import itertools
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ..errors import FaceLiftError
from ..files import replacing
from .arrays import SH_C0, SplatArrays

REST_BASES = 15
"""Spherical-harmonic features per color beyond the first, at degree 3."""
MAX_HEADER = 1 << 18
MAX_LOGIT = 20.0
"""Replaces the infinite logits that some tools write for opacities 0 and 1. The sigmoid is the same in float32."""

_XYZ = ("x", "y", "z")
_RGB = ("red", "green", "blue")
_DC = ("f_dc_0", "f_dc_1", "f_dc_2")
_REST = tuple(f"f_rest_{i}" for i in range(3 * REST_BASES))
_SCALE = ("scale_0", "scale_1", "scale_2")
_ROTATION = ("rot_0", "rot_1", "rot_2", "rot_3")
_FLOATS_AFTER_RGB = (*_DC, *_REST, "opacity", *_SCALE, *_ROTATION)

_TYPES = {
    "char": "i1", "uchar": "u1", "short": "i2", "ushort": "u2", "int": "i4", "uint": "u4", "float": "f4",
    "double": "f8", "int8": "i1", "uint8": "u1", "int16": "i2", "uint16": "u2", "int32": "i4", "uint32": "u4",
    "float32": "f4", "float64": "f8",
}  # fmt: skip
_BYTE_ORDERS = {"binary_little_endian": "<", "binary_big_endian": ">", "ascii": ""}


# ---------------------------------------------------------------------------------------------------------------------
# Writing


def write_ply(splats: SplatArrays, path: str | Path) -> None:
    """Write a .ply file atomically.

    ``f_rest`` holds 15 features for each channel in turn, zero beyond the degree of `splats`. Rotations are not
    normalized.

    Raises:
        FaceLiftError: `splats` is empty, values are not finite, or the file cannot be written.
    """
    path = Path(path)
    count = len(splats)
    if count == 0:
        raise FaceLiftError(f"There are no Gaussians to write to {path}.")
    rest = np.zeros((count, 3, REST_BASES), np.float32)
    rest[:, :, : splats.sh.shape[1] - 1] = splats.sh[:, 1:].transpose(0, 2, 1)
    floats = [splats.sh[:, 0], rest.reshape(count, -1), splats.opacity_logits[:, None]]
    floats = np.concatenate([*floats, splats.log_scales, splats.rotations], axis=1)
    if bad := int((~(np.isfinite(floats).all(axis=1) & np.isfinite(splats.positions).all(axis=1))).sum()):
        raise FaceLiftError(f"{bad} of {count} Gaussians contain NaN or infinity; {path} was not written.")

    row = np.dtype([("xyz", "<f4", 3), ("rgb", "u1", 3), ("floats", "<f4", len(_FLOATS_AFTER_RGB))])
    rows = np.empty(count, row)
    rows["xyz"] = splats.positions
    rows["rgb"] = (splats.colors * 255).clip(0, 255).astype(np.uint8)  # truncates
    rows["floats"] = floats

    header = ["ply", "format binary_little_endian 1.0", f"element vertex {count}"]
    header += [f"property float {name}" for name in _XYZ]
    header += [f"property uchar {name}" for name in _RGB]
    header += [f"property float {name}" for name in _FLOATS_AFTER_RGB]
    header += ["end_header", ""]
    with replacing(path) as temporary, open(temporary, "wb") as file:
        file.write("\n".join(header).encode("ascii"))
        file.write(rows.view(np.uint8).data)


# ---------------------------------------------------------------------------------------------------------------------
# Reading


@dataclass(frozen=True)
class _Property:
    name: str
    type: str
    """NumPy type without byte order; for a list, the type of its entries."""
    length_type: str | None = None
    """NumPy type of the length of a list; None for a scalar."""


@dataclass(frozen=True)
class _Element:
    name: str
    count: int
    properties: list[_Property] = field(default_factory=list)


@dataclass(frozen=True)
class _Header:
    encoding: str
    """A key of _BYTE_ORDERS."""
    elements: list[_Element]
    size: int
    """Size of the header in bytes; the data starts here."""


class _Damaged(Exception):
    """Says what is wrong with the file; the message follows the file name in a sentence."""


def read_ply(path: str | Path) -> SplatArrays:
    """Read a .ply file of Gaussians, written by this package or another tool.

    Accepts binary of either byte order and text, with properties in any order and of any type. Other properties and
    elements are ignored. There may be 0, 9, 24 or 45 ``f_rest`` properties; the highest degrees are dropped if all
    their values are zero. Without ``f_dc``, the color is read from ``red green blue`` (integers up to the maximum of
    their type, or floats from 0 to 1).

    Returns:
        float32 arrays. Infinite opacity logits become ± :data:`MAX_LOGIT`.

    Raises:
        FaceLiftError: the file is missing, damaged or incomplete, contains NaN or infinity, or does not hold Gaussians.
    """
    path = Path(path)
    try:
        if not path.is_file():
            raise _Damaged("is not a file" if path.exists() else "does not exist")
        with open(path, "rb") as file:
            header = _read_header(file)
            vertex = next((element for element in header.elements if element.name == "vertex"), None)
            if vertex is None:
                raise _Damaged("does not contain Gaussians: it has no element “vertex”")
            _check_properties(vertex)
            read = _read_text if header.encoding == "ascii" else _read_binary
            columns = read(file, header, vertex, path.stat().st_size - header.size)
        return _to_splats(columns, vertex)
    except _Damaged as problem:
        raise FaceLiftError(f"{path} {problem}.") from None
    except OSError as error:
        raise FaceLiftError(f"Cannot read {path}: {error.strerror or error}.") from error
    except MemoryError:
        raise FaceLiftError(f"There is not enough memory to read {path}.") from None


def _read_header(file: BinaryIO) -> _Header:
    start = file.read(MAX_HEADER)
    if not start:
        raise _Damaged("is empty")
    first = re.match(rb"ply[ \t]*(\r\n|\n|\r)", start)
    if first is None:
        raise _Damaged("is not a PLY file")
    # Some programs end lines with a bare carriage return. In other files, one may be the first byte of the data.
    line_end = rb"\r" if first[1] == b"\r" else rb"\r?\n"
    end = re.search(rb"(?:\r|\n)end_header[ \t]*" + line_end, start)
    if end is None:
        raise _Damaged("has a header without an end" if len(start) == MAX_HEADER else "ends inside its header")
    lines = re.split(r"\r\n|\n|\r", start[: end.start()].decode("ascii", errors="replace"))
    encoding, elements = None, []
    for line in lines[1:]:
        words = line.split()
        match words:
            case [] | ["comment" | "obj_info", *_]:
                continue
            case ["format", name, "1.0"] if name in _BYTE_ORDERS and encoding is None:
                encoding = name
            case ["element", name, count] if re.fullmatch(r"[0-9]{1,18}", count) and name not in (
                element.name for element in elements
            ):
                elements.append(_Element(name, int(count)))
            case ["property", kind, name] if kind in _TYPES and elements:
                elements[-1].properties.append(_Property(name, _TYPES[kind]))
            case ["property", "list", length, kind, name] if (
                kind in _TYPES and _TYPES.get(length, "f")[0] in "iu" and elements
            ):
                elements[-1].properties.append(_Property(name, _TYPES[kind], _TYPES[length]))
            case _:
                raise _Damaged(f"has a damaged header, in the line “{line[:80]}”")
    if encoding is None:
        raise _Damaged("has a header that does not name its format")
    return _Header(encoding, elements, end.end())


def _check_properties(vertex: _Element) -> None:
    """Raise _Damaged unless these are properties of Gaussians and none occurs twice."""
    names = [prop.name for prop in vertex.properties]
    if {"packed_position", "packed_scale"} & set(names):
        raise _Damaged("is a compressed splat file, which is not supported; export it uncompressed")
    missing = [name for name in (*_XYZ, "opacity", *_SCALE, *_ROTATION) if name not in names]
    if missing:
        raise _Damaged(f"does not contain Gaussians: its points lack {', '.join(missing)}")
    if not (set(_DC) <= set(names) or set(_RGB) <= set(names)):
        raise _Damaged("contains Gaussians without color: neither f_dc_0 to f_dc_2 nor red, green, blue")
    if vertex.count == 0:
        raise _Damaged("contains no Gaussians")
    for prop in vertex.properties:
        if names.count(prop.name) > 1:
            raise _Damaged(f"has the property {prop.name} twice")
        if prop.length_type is not None:
            raise _Damaged(f"has lists in its points (“{prop.name}”), which is not supported")
    rest = [name for name in names if name.startswith("f_rest_")]
    if len(rest) not in (0, 9, 24, 45) or not set(rest) <= set(_REST[: len(rest)]):
        raise _Damaged(f"has {len(rest)} f_rest properties, but must have 0, 9, 24 or 45, numbered from 0")


def _read_binary(file: BinaryIO, header: _Header, vertex: _Element, size: int) -> dict[str, np.ndarray]:
    """Read the columns of `vertex`; `size` is the number of bytes after the header."""
    order = _BYTE_ORDERS[header.encoding]
    offset = 0
    for element in header.elements:
        if element is vertex:
            break
        offset = _end_of_element(file, header.size, element, order, offset, size)
    row = np.dtype([(prop.name, order + prop.type) for prop in vertex.properties])
    if offset + vertex.count * row.itemsize > size:
        raise _cut_short(vertex, max(size - offset, 0) // row.itemsize)
    file.seek(header.size + offset)
    rows = np.fromfile(file, row, vertex.count)
    if len(rows) < vertex.count:
        raise _cut_short(vertex, len(rows))
    # In many files f_rest is all zeros, three quarters of the data; copying it column by column would dominate.
    rest = [name for name in row.names if name in _REST]
    empty = rest if _are_zero(rows, rest) else ()
    return {name: rows[name] for name in row.names if name not in empty}


def _are_zero(rows: np.ndarray, names: Sequence[str]) -> bool:
    """Return whether these fields are contiguous, of one type, and zero in all rows."""
    fields = sorted(((rows.dtype.fields[name][1], rows.dtype.fields[name][0]) for name in names), key=itemgetter(0))
    if not fields or len({kind for _, kind in fields}) > 1:
        return False
    (start, kind), (last, _) = fields[0], fields[-1]
    if last - start != (len(fields) - 1) * kind.itemsize:
        return False
    block = np.ndarray((len(rows), len(fields)), kind, rows, start, (rows.itemsize, kind.itemsize))
    return not block.any()


def _end_of_element(file: BinaryIO, start: int, element: _Element, order: str, offset: int, size: int) -> int:
    """Return where `element` ends if it starts at `offset`, both in bytes after the header."""
    sizes = [(np.dtype(prop.type).itemsize, prop.length_type) for prop in element.properties]
    if all(length_type is None for _, length_type in sizes):
        return offset + element.count * sum(width for width, _ in sizes)
    # Rows with lists vary in size. Each has at least one byte, so even a wrong count stops at the end of the file.
    file.seek(start + offset)
    data = file.read(size - offset)
    position = 0
    lengths = {kind: np.dtype(order + kind) for _, kind in sizes if kind is not None}
    for _ in range(element.count):
        for width, length_type in sizes:
            if length_type is None:
                position += width
                continue
            length = lengths[length_type]
            if position + length.itemsize > len(data):
                raise _Damaged(f"is cut short inside its element “{element.name}”")
            entries = int(np.frombuffer(data, length, 1, position)[0])
            if entries < 0:
                raise _Damaged(f"is damaged: a list of its element “{element.name}” has a negative length")
            position += length.itemsize + entries * width
    return offset + position


def _read_text(file: BinaryIO, header: _Header, vertex: _Element, size: int) -> dict[str, np.ndarray]:
    """Read the columns of `vertex` from a text file, one row per line."""
    before = itertools.takewhile(lambda element: element is not vertex, header.elements)
    skipped = min(sum(element.count for element in before), size)  # a row has at least one byte
    if 2 * len(vertex.properties) * vertex.count > size + 1:  # each value takes a digit and a separator
        raise _Damaged(f"is cut short or damaged: its header announces {vertex.count} Gaussians, too many for its size")
    file.seek(header.size)
    # Read through an iterator, so that a wrong count does not allocate memory for missing rows.
    lines = itertools.islice(_text_lines(file), skipped, skipped + vertex.count)
    first = next(lines, None)
    if first is None:
        raise _cut_short(vertex, 0)
    try:
        table = np.loadtxt(itertools.chain([first], lines), np.float64, comments=None, ndmin=2)
    except ValueError as error:
        raise _Damaged(f"is damaged: {str(error).splitlines()[0].rstrip('.')}") from None
    if table.shape[1] != len(vertex.properties):
        raise _Damaged(f"is damaged: {table.shape[1]} values per point instead of {len(vertex.properties)}")
    if len(table) < vertex.count:
        raise _cut_short(vertex, len(table))
    return {prop.name: column for prop, column in zip(vertex.properties, table.T, strict=True)}


def _text_lines(file: BinaryIO) -> Iterator[str]:
    text = io.TextIOWrapper(file, "ascii", errors="replace")
    return (line for line in text if not line.isspace())


def _cut_short(vertex: _Element, found: int) -> _Damaged:
    return _Damaged(f"is cut short: its header announces {vertex.count} Gaussians, but it contains {found}")


def _to_splats(columns: dict[str, np.ndarray], vertex: _Element) -> SplatArrays:
    base = _DC if set(_DC) <= columns.keys() else _RGB
    rest = tuple(name for name in _REST if name in columns)
    names = (*_XYZ, *base, *rest, "opacity", *_SCALE, *_ROTATION)
    with np.errstate(over="ignore"):  # values too large for float32 become infinite and are reported below
        table = np.stack([columns[name] for name in names], axis=1, dtype=np.float32, casting="unsafe")
    wrong = ~np.isfinite(table)
    opacity = names.index("opacity")
    wrong[:, opacity] = np.isnan(table[:, opacity])
    if wrong.any():
        counts = [f"{n} in {name}" for n, name in zip(wrong.sum(axis=0).tolist(), names, strict=True) if n]
        listed = ", ".join(counts[:5]) + (", …" if len(counts) > 5 else "")
        raise _Damaged(f"contains NaN or infinity in its {vertex.count} Gaussians ({listed}); export it again")

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
        opacity_logits=np.nan_to_num(logits[:, 0], posinf=MAX_LOGIT, neginf=-MAX_LOGIT),
    )


def _last_band(rest_bases: int) -> slice:
    """Return the slice of the features of the highest degree; `rest_bases` is 3, 8 or 15."""
    degree = math.isqrt(rest_bases + 1) - 1
    return slice(degree * degree - 1, rest_bases)

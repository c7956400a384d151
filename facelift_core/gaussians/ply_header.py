"""The header of a .ply file: which elements it has, with which properties."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import BinaryIO

import numpy as np

from .damage import Damaged

MAX_HEADER = 1 << 18
MAX_ELEMENTS = 100
"""Files of Gaussians have one to three elements."""

_TYPES = {
    "char": "i1", "uchar": "u1", "short": "i2", "ushort": "u2", "int": "i4", "uint": "u4", "float": "f4",
    "double": "f8", "int8": "i1", "uint8": "u1", "int16": "i2", "uint16": "u2", "int32": "i4", "uint32": "u4",
    "float32": "f4", "float64": "f8",
}  # fmt: skip
BYTE_ORDERS = {"binary_little_endian": "<", "binary_big_endian": ">", "ascii": ""}


@dataclass(frozen=True)
class Property:
    name: str
    type: str
    """NumPy type without byte order; for a list, the type of its entries."""
    length_type: str | None = None
    """NumPy type of the length of a list; None for a scalar."""


@dataclass(frozen=True)
class Element:
    name: str
    count: int
    properties: list[Property] = field(default_factory=list)

    @property
    def names(self) -> list[str]:
        return [prop.name for prop in self.properties]

    @property
    def min_row_size(self) -> int:
        """The bytes of a binary row without its list entries."""
        return sum(np.dtype(prop.length_type or prop.type).itemsize for prop in self.properties)

    def check_columns(self) -> None:
        """Raise Damaged if a property occurs twice or is a list."""
        seen = set()
        for prop in self.properties:
            if prop.name in seen:
                raise Damaged(f"has the property {prop.name} twice")
            if prop.length_type is not None:
                raise Damaged(f"has lists in its points (“{prop.name}”), which is not supported")
            seen.add(prop.name)


@dataclass(frozen=True)
class Header:
    encoding: str
    """A key of BYTE_ORDERS."""
    elements: dict[str, Element]
    """In the order of the file."""
    size: int
    """Size of the header in bytes; the data starts here."""


def read_header(file: BinaryIO) -> Header:
    """Read the header; `file` is at its start.

    Raises:
        Damaged: this is not a header of a .ply file.
    """
    start = file.read(MAX_HEADER)
    first = re.match(rb"ply[ \t]*(\r\n|\n|\r)", start)
    if first is None:
        raise Damaged("is not a PLY file")
    # Some programs end lines with a bare carriage return. In other files, one may be the first byte of the data.
    line_end = rb"\r" if first[1] == b"\r" else rb"\r?\n"
    end = re.search(rb"(?:\r|\n)end_header[ \t]*" + line_end, start)
    if end is None:
        raise Damaged("has a header without an end" if len(start) == MAX_HEADER else "ends inside its header")
    lines = re.split(r"\r\n|\n|\r", start[: end.start()].decode("ascii", errors="replace"))
    encoding, elements, last = None, {}, None
    for line in lines[1:]:
        match line.split():
            case [] | ["comment" | "obj_info", *_]:
                continue
            case ["format", name, "1.0"] if name in BYTE_ORDERS and encoding is None:
                encoding = name
            case ["element", name, count] if re.fullmatch(r"[0-9]{1,18}", count) and name not in elements:
                if len(elements) == MAX_ELEMENTS:
                    raise Damaged(f"does not contain Gaussians: it has more than {MAX_ELEMENTS} elements")
                elements[name] = last = Element(name, int(count))
            case ["property", kind, name] if kind in _TYPES and last:
                last.properties.append(Property(name, _TYPES[kind]))
            case ["property", "list", length, kind, name] if (
                kind in _TYPES and _TYPES.get(length, "f")[0] in "iu" and last
            ):
                last.properties.append(Property(name, _TYPES[kind], _TYPES[length]))
            case _:
                raise Damaged(f"has a damaged header, in the line “{line[:80]}”")
    if encoding is None:
        raise Damaged("has a header that does not name its format")
    return Header(encoding, elements, end.end())

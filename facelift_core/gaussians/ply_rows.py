"""The rows of one element of a .ply file as columns. Time and memory depend on the file's size, not its header."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np

from .damage import Damaged
from .ply_header import BYTE_ORDERS, Element, Header

MAX_LIST_ROWS = 2_000_000
"""Rows with lists of different lengths, which are skipped one by one."""
MAX_LINE = 1 << 16
MAX_BLANK_LINES = 100_000


def read_columns(file: BinaryIO, header: Header, name: str, file_size: int) -> dict[str, np.ndarray]:
    """Read the columns of the element `name`, all scalars.

    Raises:
        Damaged: the file is cut short, or damaged.
    """
    element, size = header.elements[name], file_size - header.size
    if header.encoding == "ascii":
        return _read_text(file, header, element, size)
    rows = _read_binary(file, header, element, size)
    return {column: rows[column] for column in rows.dtype.names or ()}


def _read_binary(file: BinaryIO, header: Header, element: Element, size: int) -> np.ndarray:
    order = BYTE_ORDERS[header.encoding]
    offset = 0
    for other in _before(header, element):
        offset = _end_of_element(file, header.size, other, order, offset, size)
    row = np.dtype([(prop.name, order + prop.type) for prop in element.properties])
    if offset + element.count * row.itemsize > size:
        raise cut_short(element, max(size - offset, 0) // row.itemsize)
    file.seek(header.size + offset)
    rows = np.fromfile(file, row, element.count)
    if len(rows) < element.count:
        raise cut_short(element, len(rows))
    return rows


def _before(header: Header, element: Element) -> Iterator[Element]:
    return itertools.takewhile(lambda other: other is not element, header.elements.values())


def _end_of_element(file: BinaryIO, start: int, element: Element, order: str, offset: int, size: int) -> int:
    """Return where `element` ends if it starts at `offset`, both in bytes after the header."""
    end = offset + element.count * element.min_row_size
    if end > size:
        raise Damaged(
            f"is cut short: its header announces {element.count} rows of “{element.name}”, more than it contains"
        )
    lists = [prop for prop in element.properties if prop.length_type is not None]
    if not lists or not element.count:
        return end
    file.seek(start + offset)
    data = np.fromfile(file, np.uint8, size - offset)
    if len(lists) == 1 and (length := _equal_rows(data, element, order)):
        return offset + length
    if element.count > MAX_LIST_ROWS:
        raise Damaged(f"has {element.count} rows of lists (“{element.name}”) before its points, which is not supported")
    return offset + _walk(data, element, order)


def _equal_rows(data: np.ndarray, element: Element, order: str) -> int | None:
    """Return the bytes of all rows if their lists have the same length, as those of triangles do; otherwise None."""
    width, place, length = 0, 0, np.dtype("u1")
    for prop in element.properties:
        if prop.length_type is None:
            width += np.dtype(prop.type).itemsize
            continue
        place, length = width, np.dtype(order + prop.length_type)
        if place + length.itemsize > len(data):
            return None
        entries = int(np.frombuffer(data, length, 1, place)[0])
        width += length.itemsize + entries * np.dtype(prop.type).itemsize
    if width <= 0 or width * element.count > len(data):
        return None
    lengths = np.ndarray(element.count, length, data, place, (width,))
    return width * element.count if (lengths == lengths[0]).all() else None


def _walk(data: np.ndarray, element: Element, order: str) -> int:
    """Return the bytes of all rows, measured one by one."""
    data = data.data
    sizes = [(np.dtype(prop.type).itemsize, prop.length_type) for prop in element.properties]
    lengths = {kind: np.dtype(order + kind) for _, kind in sizes if kind is not None}
    position = 0
    for _ in range(element.count):
        for width, length_type in sizes:
            if length_type is None:
                position += width
                continue
            length = lengths[length_type]
            if position + length.itemsize > len(data):
                raise Damaged(f"is cut short inside its element “{element.name}”")
            entries = int(np.frombuffer(data, length, 1, position)[0])
            if entries < 0:
                raise Damaged(f"is damaged: a list of its element “{element.name}” has a negative length")
            position += length.itemsize + entries * width
    return position


def _read_text(file: BinaryIO, header: Header, element: Element, size: int) -> dict[str, np.ndarray]:
    """Read one row per line."""
    if 2 * len(element.properties) * element.count > size + 1:  # each value takes a digit and a separator
        raise Damaged(f"is cut short or damaged: its header announces {element.count} Gaussians, too many for its size")
    skipped = sum(other.count for other in _before(header, element))
    if skipped > size:  # a row has at least one byte
        raise cut_short(element, 0)
    file.seek(header.size)
    lines = itertools.islice(_text_lines(file), skipped, skipped + element.count)
    first = next(lines, None)
    if first is None:
        raise cut_short(element, 0)
    try:
        table = np.loadtxt(itertools.chain([first], lines), np.float64, comments=None, ndmin=2)
    except ValueError as error:
        raise Damaged(f"is damaged: {str(error).splitlines()[0].rstrip('.')}") from None
    if table.shape[1] != len(element.properties):
        raise Damaged(f"is damaged: {table.shape[1]} values per point instead of {len(element.properties)}")
    if len(table) < element.count:
        raise cut_short(element, len(table))
    return dict(zip(element.names, table.T, strict=True))


def _text_lines(file: BinaryIO) -> Iterator[str]:
    """Yield the lines with text. A line ends with a line feed, a carriage return, or both."""
    blank = 0
    while line := file.readline(MAX_LINE):
        if len(line) == MAX_LINE:
            # Some programs end lines with a bare carriage return: then this is many lines.
            cut = line.rfind(b"\r") + 1
            if not cut:
                raise Damaged(f"is damaged: a line has more than {MAX_LINE:,} characters")
            file.seek(cut - len(line), 1)
            line = line[:cut]
        for part in line.decode("ascii", errors="replace").rstrip("\r\n").split("\r"):
            if part and not part.isspace():
                yield part
            elif (blank := blank + 1) > MAX_BLANK_LINES:
                raise Damaged(f"is damaged: it has more than {MAX_BLANK_LINES:,} blank lines")


def cut_short(element: Element, found: int) -> Damaged:
    return Damaged(f"is cut short: its header announces {element.count} Gaussians, but it contains {found}")

"""Files of Gaussians, by suffix. A format is one module with a reader and a writer, and one line below."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from ..errors import FaceLiftError
from ..gaussians import Gaussians
from .ply import read_ply, write_ply

__all__ = ["FORMATS", "Format", "load", "save"]


class Format(NamedTuple):
    """How to read and write one kind of file; both raise FaceLiftError, and writing leaves no half file."""

    read: Callable[[Path], Gaussians]
    write: Callable[[Gaussians, Path], None]


FORMATS = {".ply": Format(read_ply, write_ply)}


def load(path: str | Path) -> Gaussians:
    """The Gaussians of a file, float32, on the CPU.

    Raises:
        FaceLiftError: unknown suffix, missing or damaged file, or something other than Gaussians in it.
    """
    return _format_of(Path(path)).read(Path(path))


def save(gaussians: Gaussians, path: str | Path) -> None:
    """Write `gaussians` to `path`; the file appears whole or not at all, and replaces one of that name.

    Raises:
        FaceLiftError: unknown suffix, values that are not finite, or the file cannot be written.
    """
    _format_of(Path(path)).write(gaussians, Path(path))


def _format_of(path: Path) -> Format:
    suffix = path.suffix.lower()
    if suffix not in FORMATS:
        known = ", ".join(FORMATS)
        raise FaceLiftError(f"{path}: files of Gaussians end in {known}, not in “{suffix}”.")
    return FORMATS[suffix]

"""Files of Gaussians, by suffix. A format is one module with a reader and a writer, and one line below.

Formats speak :class:`SplatArrays` and need no PyTorch; :func:`load` and :func:`save` are the same for
:class:`facelift_core.gaussians.tensors.Gaussians`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ..errors import FaceLiftError
from .arrays import SplatArrays
from .ply import read_ply, write_ply

if TYPE_CHECKING:
    from .tensors import Gaussians

__all__ = ["FORMATS", "Format", "SplatArrays", "load", "read", "save", "write"]


class Format(NamedTuple):
    """How to read and write one kind of file; both raise FaceLiftError, and writing leaves no half file."""

    read: Callable[[Path], SplatArrays]
    write: Callable[[SplatArrays, Path], None]


FORMATS = {".ply": Format(read_ply, write_ply)}


def read(path: str | Path) -> SplatArrays:
    """The Gaussians of a file as NumPy arrays.

    Raises:
        FaceLiftError: unknown suffix, missing or damaged file, or something other than Gaussians in it.
    """
    return _format_of(Path(path)).read(Path(path))


def write(splats: SplatArrays, path: str | Path) -> None:
    """Write `splats` to `path`; the file appears whole or not at all, and replaces one of that name.

    Raises:
        FaceLiftError: unknown suffix, values that are not finite, or the file cannot be written.
    """
    _format_of(Path(path)).write(splats, Path(path))


def load(path: str | Path) -> Gaussians:
    """As :func:`read`, as float32 tensors on the CPU."""
    return read(path).to_gaussians()


def save(gaussians: Gaussians, path: str | Path) -> None:
    """As :func:`write`, from tensors."""
    write(SplatArrays.from_gaussians(gaussians), path)


def _format_of(path: Path) -> Format:
    suffix = path.suffix.lower()
    if suffix not in FORMATS:
        known = ", ".join(FORMATS)
        raise FaceLiftError(f"{path}: files of Gaussians end in {known}, not in “{suffix}”.")
    return FORMATS[suffix]

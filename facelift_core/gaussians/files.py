"""Read and write files of Gaussians; the suffix determines the format.

To add a format, write a module with a reader and a writer of :class:`SplatArrays`, and register it in :data:`FORMATS`.
:func:`read` and :func:`write` do not need PyTorch; :func:`load` and :func:`save` are their counterparts for
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
    """Reader and writer of a file format. Both raise FaceLiftError, and the writer is atomic."""

    read: Callable[[Path], SplatArrays]
    write: Callable[[SplatArrays, Path], None]


FORMATS = {".ply": Format(read_ply, write_ply)}


def read(path: str | Path) -> SplatArrays:
    """Read the Gaussians of a file as NumPy arrays.

    Raises:
        FaceLiftError: the suffix is unknown, or the file is missing, damaged, or does not hold Gaussians.
    """
    return _format_of(Path(path)).read(Path(path))


def write(splats: SplatArrays, path: str | Path) -> None:
    """Write `splats` to `path` atomically, replacing an existing file.

    Raises:
        FaceLiftError: the suffix is unknown, values are not finite, or the file cannot be written.
    """
    _format_of(Path(path)).write(splats, Path(path))


def load(path: str | Path) -> Gaussians:
    """Read the Gaussians of a file as float32 tensors on the CPU.

    Raises:
        FaceLiftError: the suffix is unknown, or the file is missing, damaged, or does not hold Gaussians.
    """
    return read(path).to_gaussians()


def save(gaussians: Gaussians, path: str | Path) -> None:
    """Write `gaussians` to `path` atomically, replacing an existing file.

    Raises:
        FaceLiftError: the suffix is unknown, values are not finite, or the file cannot be written.
    """
    write(SplatArrays.from_gaussians(gaussians), path)


def _format_of(path: Path) -> Format:
    suffix = path.suffix.lower()
    if suffix not in FORMATS:
        known = ", ".join(FORMATS)
        raise FaceLiftError(f"{path}: “{suffix}” is not a format for Gaussians; use {known}.")
    return FORMATS[suffix]

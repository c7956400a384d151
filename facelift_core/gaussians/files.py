"""Read and write files of Gaussians; the suffix determines the format.

To add a format, write a module with a reader and a writer of :class:`SplatArrays`, and register it in :data:`FORMATS`.
:func:`read` and :func:`write` do not need PyTorch; :func:`load` and :func:`save` are their counterparts for
:class:`facelift_core.gaussians.tensors.Gaussians`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import FaceLiftError
from . import compressed_ply, glb, ply, sog, splat, spz, usd
from .arrays import SplatArrays
from .damage import MissingModule
from .repair import repaired

if TYPE_CHECKING:
    from .tensors import Gaussians

__all__ = [
    "FORMATS", "SUFFIXES", "Format", "MissingModule", "SplatArrays", "format_of", "load", "read", "save", "write"
]  # fmt: skip


@dataclass(frozen=True)
class Format:
    """A file format.

    Attributes:
        name: what people call it.
        suffix: in lower case; the longest that a name ends with counts.
        read: from a file to arrays. Raises FaceLiftError, and :class:`MissingModule` if this Python lacks a package.
        write: from arrays to a file, atomically; takes `options` as keyword arguments. Raises the same.
        lossless: whether positions, colors, scales, rotations and opacities survive bit by bit.
        sh_degree: the highest degree of view-dependent color that it keeps.
        options: values that each option of `write` accepts; the first is the default.
    """

    name: str
    suffix: str
    read: Callable[[Path], SplatArrays]
    write: Callable[..., None]
    lossless: bool = False
    sh_degree: int = 3
    options: dict[str, tuple] | None = None


FORMATS = (
    Format("PLY", ".ply", ply.read, ply.write, lossless=True),
    Format("Compressed PLY", ".compressed.ply", ply.read, compressed_ply.write),
    Format("SPZ", ".spz", spz.read, spz.write, options={"version": (3, 2, 4)}),
    Format("SOG", ".sog", sog.read, sog.write),
    Format("SPLAT", ".splat", splat.read, splat.write, sh_degree=0),
    Format("glTF", ".glb", glb.read, glb.write),
    Format("USD text", ".usda", usd.read, usd.write_text),
    Format("USD", ".usdc", usd.read, usd.write_binary),
)
SUFFIXES = tuple(dict.fromkeys(f".{entry.suffix.rsplit('.', 1)[1]}" for entry in FORMATS))
"""The last parts of the suffixes, as file dialogs filter by them."""


def format_of(path: str | Path) -> Format:
    """Return the format that the name of `path` states.

    Raises:
        FaceLiftError: the suffix is unknown.
    """
    name = Path(path).name.lower()
    fitting = [entry for entry in FORMATS if name.endswith(entry.suffix)]
    if not fitting:
        raise FaceLiftError(
            f"{path}: “{Path(path).suffix}” is not a format for Gaussians; use {', '.join(SUFFIXES[:-1])} or "
            f"{SUFFIXES[-1]}."
        )
    return max(fitting, key=lambda entry: len(entry.suffix))


def read(path: str | Path, tell: Callable[[str], None] = warnings.warn) -> SplatArrays:
    """Read the Gaussians of a file as NumPy arrays.

    Gaussians that cannot be drawn (NaN, infinite, without a rotation) are left out.

    Args:
        path: the file.
        tell: called with a sentence that says how many Gaussians were left out and why.

    Raises:
        FaceLiftError: the suffix is unknown, or the file is missing, damaged, or does not hold Gaussians.
        MissingModule: this Python lacks a package that the format needs; the runtime has it.
    """
    path = Path(path)
    return repaired(format_of(path).read(path), path, tell)


def write(splats: SplatArrays, path: str | Path, **options: Any) -> None:
    """Write `splats` to `path` atomically, replacing an existing file.

    Args:
        splats: the Gaussians.
        path: the file.
        options: those of the format, such as ``version=4`` for .spz.

    Raises:
        FaceLiftError: the suffix or an option is unknown, values are not finite, or the file cannot be written.
        MissingModule: this Python lacks a package that the format needs; the runtime has it.
    """
    path = Path(path)
    chosen = format_of(path)
    if unknown := set(options) - set(chosen.options or {}):
        raise FaceLiftError(f"{chosen.name} files have no option “{min(unknown)}”.")
    count = len(splats)
    if count == 0:
        raise FaceLiftError(f"There are no Gaussians to write to {path}.")
    fields = (splats.positions, splats.sh.reshape(count, -1), splats.log_scales, splats.rotations)
    finite = np.isfinite(splats.opacity_logits)
    for values in fields:
        finite &= np.isfinite(values).all(axis=1)
    if bad := int(count - finite.sum()):
        raise FaceLiftError(f"{bad} of {count} Gaussians contain NaN or infinity; {path} was not written.")
    chosen.write(splats, path, **options)


def load(path: str | Path) -> Gaussians:
    """Read the Gaussians of a file as float32 tensors on the CPU. Warns if some cannot be drawn and were left out.

    Raises:
        FaceLiftError: the suffix is unknown, or the file is missing, damaged, or does not hold Gaussians.
    """
    return read(path).to_gaussians()


def save(gaussians: Gaussians, path: str | Path, **options: Any) -> None:
    """Write `gaussians` to `path` atomically, replacing an existing file.

    Args:
        gaussians: the Gaussians.
        path: the file.
        options: those of the format, such as ``version=4`` for .spz.

    Raises:
        FaceLiftError: the suffix or an option is unknown, values are not finite, or the file cannot be written.
    """
    write(SplatArrays.from_gaussians(gaussians), path, **options)

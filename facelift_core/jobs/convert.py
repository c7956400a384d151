"""Job: a file of Gaussians in another format, for a program whose Python lacks what a format needs.

Importing this module does not import PyTorch.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import Cancelled
from ..gaussians import files
from ..processes.protocol import Emit, Log, Progress
from ..progress import Cancel

if TYPE_CHECKING:
    from .reconstruct import Models


@dataclass(frozen=True)
class Request:
    """Request for a conversion.

    Attributes:
        source, target: paths of the file to read and of the file to write; the suffixes choose the formats.
        version: version of an .spz file; 0 for the default.
    """

    source: str
    target: str
    version: int = 0


def run(request: Request, emit: Emit, cancelled: Cancel, models: Models) -> dict[str, Any]:
    """Convert the file; returns the number of Gaussians as ``{"count": …}``.

    Raises:
        FaceLiftError: a file cannot be read or written.
        Cancelled: `cancelled` returned true; no file was written.
    """
    source, target = Path(request.source), Path(request.target)
    emit(Progress("read", 0.1, f"Reading {source.name}"))
    splats = files.read(source, tell=lambda sentence: emit(Log(sentence)))
    if cancelled():
        raise Cancelled
    emit(Progress("write", 0.5, f"Writing {target.name}"))
    files.write(splats, target, **({"version": request.version} if request.version else {}))
    return {"count": len(splats)}

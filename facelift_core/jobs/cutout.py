"""Portraits as they are cut out of their photos, before any model is loaded; for programs that show them.

Importing this module does not need PyTorch.
"""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import Cancelled, FaceLiftError
from ..processes.protocol import CutOut, Emit
from ..progress import Cancel

if TYPE_CHECKING:
    from ..align import AlignedPortrait
    from .reconstruct import Models

PREVIEW_SIDE = 256


@dataclass(frozen=True)
class Request:
    """Which photo to cut out, and into which file; the settings are those of a reconstruction.

    Attributes:
        photo: file.
        file: the cut-out, a PNG with transparency; its folder is made if missing.
        preview: a small picture of it on a checker; empty: none.
    """

    photo: str
    file: str
    preview: str = ""
    crop: bool = True
    matting: str = "auto"


@dataclass
class Portraits:
    """Aligns photos, one at a time, and keeps the last: whoever looked at a cut-out does not wait for it again."""

    _key: tuple | None = None
    _portrait: AlignedPortrait | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def get(self, photo: str, crop: bool, matting: str) -> AlignedPortrait:
        """Raises FaceLiftError as :func:`.align.align_portrait` does."""
        with self._lock:
            key = photo, crop, matting, *_state(photo)
            if self._key != key:
                from ..align import align_portrait

                self._portrait, self._key = align_portrait(photo, crop=crop, matting=matting), key
            return self._portrait


def run(request: Request, emit: Emit, cancelled: Cancel, models: Models) -> dict[str, Any]:
    """Cut the portrait of `request` out and write it.

    Raises:
        FaceLiftError: no usable photo, no face, or the file cannot be written.
        Cancelled: `cancelled` answered true.
    """
    if cancelled():
        raise Cancelled
    portrait = models.portraits.get(request.photo, request.crop, request.matting)
    if cancelled():
        raise Cancelled
    file = Path(request.file)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FaceLiftError(f"Cannot make the folder {file.parent}: {error.strerror}.") from None
    if request.preview:
        write_preview(portrait, Path(request.preview))
    from ..images import write_picture

    write_picture(portrait.cutout, file)
    emit(CutOut(request.file, request.preview, portrait.notes))
    return {}


def write_preview(portrait: AlignedPortrait, path: Path) -> None:
    """Raises FaceLiftError if it cannot be written."""
    import numpy as np
    from PIL import Image

    from ..checkerboard import on_checker
    from ..images import write_picture

    write_picture(Image.fromarray(on_checker(np.asarray(portrait.cutout), PREVIEW_SIDE)), path)


def _state(photo: str) -> tuple[int, int]:
    """What changes when the file does."""
    try:
        found = os.stat(photo)
    except OSError:
        return 0, 0
    return found.st_mtime_ns, found.st_size

"""Job: remove the background of a photo, to preview the portrait before a reconstruction.

Importing this module does not import PyTorch.
"""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import Cancelled, FaceLiftError
from ..files import private_folder
from ..processes.protocol import CutOut, Emit
from ..progress import Cancel

if TYPE_CHECKING:
    from ..align import AlignedPortrait
    from .reconstruct import Models

PREVIEW_SIDE = 256


@dataclass(frozen=True)
class Request:
    """Request for a cut-out.

    Attributes:
        photo: path of the photo.
        file: path of the cut-out to write, a PNG with transparency. Its folder is created if missing.
        preview: path of a small image of the cut-out on a checkerboard; empty for none.
        crop, matting: see :func:`facelift_core.align.align_portrait`.
    """

    photo: str
    file: str
    preview: str = ""
    crop: bool = True
    matting: str = "auto"


@dataclass
class Portraits:
    """Aligns photos one at a time and caches the last portrait, so that a reconstruction can reuse a cut-out."""

    _key: tuple | None = None
    _portrait: AlignedPortrait | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def get(self, photo: str, crop: bool, matting: str, largest_face: bool = False) -> AlignedPortrait:
        """Return the aligned portrait. Raises FaceLiftError as :func:`facelift_core.align.align_portrait`."""
        with self._lock:
            key = photo, crop, matting, largest_face, *_state(photo)
            if self._key != key:
                from ..align import align_portrait

                self._portrait = align_portrait(photo, crop=crop, matting=matting, largest_face=largest_face)
                self._key = key
            return self._portrait


def run(request: Request, emit: Emit, cancelled: Cancel, models: Models) -> dict[str, Any]:
    """Cut out the portrait of a photo and write it.

    Raises:
        FaceLiftError: the photo cannot be used, no face was found, or the file cannot be written.
        Cancelled: `cancelled` returned true.
    """
    if cancelled():
        raise Cancelled
    portrait = models.portraits.get(request.photo, request.crop, request.matting)
    if cancelled():
        raise Cancelled
    file = Path(request.file)
    try:
        private_folder(file.parent)
    except OSError as error:
        raise FaceLiftError(f"Cannot create the folder {file.parent}: {error.strerror}.") from None
    if request.preview:
        write_preview(portrait, Path(request.preview))
    from ..images import write_picture

    write_picture(portrait.cutout, file)
    emit(CutOut(request.file, request.preview, portrait.notes))
    return {}


def write_preview(portrait: AlignedPortrait, path: Path) -> None:
    """Write a small image of the cut-out on a checkerboard. Raises FaceLiftError if it cannot be written."""
    import numpy as np
    from PIL import Image

    from ..checkerboard import on_checker
    from ..images import write_picture

    write_picture(Image.fromarray(on_checker(np.asarray(portrait.cutout), PREVIEW_SIDE)), path)


def _state(photo: str) -> tuple[int, int]:
    """Return modification time and size of a file, to detect changes."""
    try:
        found = os.stat(photo)
    except OSError:
        return 0, 0
    return found.st_mtime_ns, found.st_size

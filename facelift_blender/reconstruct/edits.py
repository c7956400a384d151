"""Cut-outs edited by hand: images packed into the .blend file, one per photo.

Only the pixels decide whether a cut-out has been edited, so undo and saving work without extra bookkeeping.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import bpy
import numpy as np
from bpy.app.handlers import persistent
from facelift_core import FaceLiftError, checkerboard
from facelift_core.files import private_folder

from ..jobs import folders
from .cutouts import Known, Subject
from .png import write_png

KEY, ORIGINAL = "facelift_cutout", "facelift_cutout_original"
"""Custom properties of an image: the key of the photo it belongs to, and the digest of its unedited pixels."""
PREVIEW_SIDE = 256
EVERY = 1.5
"""Seconds between checks of an image that is being painted."""


@dataclass(frozen=True)
class _Look:
    """State of an image's pixels at the last check."""

    digest: str
    edited: bool
    preview: Path | None


_looks: dict[int, _Look] = {}
"""By the image's session_uid."""


def image_of(subject: Subject) -> bpy.types.Image | None:
    """The editable cut-out image in this file, or None."""
    return next((image for image in bpy.data.images if image.get(KEY) == subject.key), None)


def is_cutout(image: bpy.types.Image | None) -> bool:
    return image is not None and image.get(KEY) is not None


def load(known: Known, subject: Subject) -> bpy.types.Image:
    """Load the cut-out into this file as an editable image.

    Raises:
        FaceLiftError: the cut-out cannot be read.
    """
    try:
        image = bpy.data.images.load(str(known.cutout))
        image.pack()
    except RuntimeError:
        raise FaceLiftError("The cut-out cannot be read; click Show Cut-out again.") from None
    image.name = f"{subject.photo.stem} cut-out"
    image.filepath = f"//{image.name}.png"
    image.alpha_mode = "STRAIGHT"
    image.use_fake_user = True  # nothing else in the file uses it
    image[KEY], image[ORIGINAL] = subject.key, _digest(_pixels(image))
    return image


def edited(image: bpy.types.Image | None) -> bool:
    """Whether the image had been edited at the last check."""
    return image is not None and _look(image).edited


def preview(image: bpy.types.Image) -> Path | None:
    """A thumbnail on a checkerboard, as of the last check; None if unedited."""
    return _look(image).preview


def write_edited(subject: Subject, path: Path) -> bool:
    """Write the edited cut-out to `path`; returns False, and writes nothing, if there are no edits.

    Raises:
        FaceLiftError: the file cannot be written.
    """
    image = image_of(subject)
    if image is None or not _look(image, again=True).edited:
        return False
    try:
        private_folder(path.parent)
        write_png(_pixels(image), path)
    except OSError as error:
        raise FaceLiftError(f"Cannot write {path}: {error.strerror or error}.") from None
    return True


def reset(subject: Subject) -> None:
    """Discard the edited cut-out."""
    image = image_of(subject)
    if image is not None:
        _looks.pop(image.session_uid, None)
        bpy.data.images.remove(image)


def look_again() -> bool:
    """Check every cut-out that may have been painted; returns whether any has changed."""
    changed = False
    for image in bpy.data.images:
        if not is_cutout(image):
            continue
        before = _looks.get(image.session_uid)
        # Undo can revert the painting by reloading the image, which is then not dirty.
        if image.is_dirty or (before is not None and before.edited):
            changed = _look(image, again=True) != before or changed
    return changed


def _look(image: bpy.types.Image, again: bool = False) -> _Look:
    known = _looks.get(image.session_uid)
    if known is not None and not again:
        return known
    pixels = _pixels(image)
    digest = _digest(pixels)
    if known is None or digest != known.digest:
        is_edited = pixels.size > 0 and digest != image.get(ORIGINAL)
        known = _Look(digest, is_edited, _write_preview(image, pixels) if is_edited else None)
        _looks[image.session_uid] = known
    return known


def _write_preview(image: bpy.types.Image, pixels: np.ndarray) -> Path | None:
    path = folders.cutouts_folder() / f"{image[KEY]}_edited.png"
    try:
        private_folder(path.parent)
        write_png(checkerboard.on_checker(pixels, PREVIEW_SIDE), path)
    except OSError:
        return None
    return path


def _pixels(image: bpy.types.Image) -> np.ndarray:
    """(H, W, 4) uint8, top row first; (0, 0, 4) if the image has no RGBA pixels."""
    width, height = image.size
    values = np.empty(width * height * image.channels, np.float32)
    if not values.size or image.channels != 4:
        return np.zeros((0, 0, 4), np.uint8)
    image.pixels.foreach_get(values)
    np.rint(np.clip(values, 0, 1, out=values) * np.float32(255), out=values)
    return np.ascontiguousarray(values.astype(np.uint8).reshape(height, width, 4)[::-1])


def _digest(pixels: np.ndarray) -> str:
    return hashlib.sha1(pixels).hexdigest()


@persistent
def _before_saving(*_) -> None:
    """Pack edited cut-outs, because Blender does not save unsaved pixels with the file."""
    for image in bpy.data.images:
        if is_cutout(image) and image.is_dirty and image.has_data:
            image.pack()


@persistent
def _file_loaded(*_) -> None:
    _looks.clear()


def attach() -> None:
    bpy.app.handlers.save_pre.append(_before_saving)
    bpy.app.handlers.load_post.append(_file_loaded)


def detach() -> None:
    for handlers, handler in (
        (bpy.app.handlers.save_pre, _before_saving),
        (bpy.app.handlers.load_post, _file_loaded),
    ):
        if handler in handlers:
            handlers.remove(handler)
    _looks.clear()

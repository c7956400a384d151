"""The folder of the released weights on this machine: paths, manifest, disk space and lock."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import bounded_json
from ..errors import FaceLiftError
from ..user_dirs import data_folder, expanded
from .catalogue import LICENCE_FILE, Catalogue, load_catalogue

VARIABLE = "FACELIFT_WEIGHTS"
"""Environment variable with another folder for downloaded weights."""
MANIFEST = "manifest.json"
STAGES = "stages.json"
"""Records which files an unfinished conversion has completed."""
PART = ".part"
"""Suffix of a partially written file."""
LOCK = ".lock"
DISK_MARGIN = 200 * 10**6
LOCK_SECONDS = 0.5


@dataclass(frozen=True)
class Store:
    """The folder of one catalogue's weights. Each revision has its own folder, so revisions never mix.

    Attributes:
        catalogue: the catalogue.
        root: folder for the weights of all catalogues.
    """

    catalogue: Catalogue
    root: Path

    @property
    def folder(self) -> Path:
        return self.root / f"{self.catalogue.name}-{self.catalogue.revision[:12]}"

    @property
    def original(self) -> Path:
        """Folder of the downloaded files, in the released layout. Files with their final name have been verified."""
        return self.folder / "original"

    @property
    def converting(self) -> Path:
        """Folder of an unfinished conversion."""
        return self.folder / "converting"

    @property
    def converted(self) -> Path:
        """Folder of the converted weights: complete, in the released layout, ready to load."""
        return self.folder / "converted"

    @property
    def set_aside(self) -> Path:
        """Where a damaged conversion is moved while it is replaced."""
        return self.folder / "converted.old"

    @property
    def checksums_file(self) -> Path:
        """Checksums of the small files, which have no published ones, as they were when they were first seen."""
        return self.folder / "checksums.json"

    @property
    def seen_file(self) -> Path:
        """Size and times of each converted file, as they were when its checksum was last compared."""
        return self.folder / "seen.json"

    @property
    def licence_file(self) -> Path:
        return self.folder / LICENCE_FILE

    @property
    def acceptance_file(self) -> Path:
        return self.folder / "licence.json"


def open_store(folder: str | Path | None = None, catalogue: Catalogue | None = None) -> Store:
    """Open the store in `folder`, else in the folder named by FACELIFT_WEIGHTS, else in the user's data folder.

    Raises:
        FaceLiftError: the catalogue cannot be read.
    """
    root = expanded(folder or os.environ.get(VARIABLE) or data_folder() / "weights")
    return Store(catalogue or load_catalogue(), root)


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """Read the manifest of a conversion, {"files": {path: {"sha256", "bytes"}}, …}; None if missing or invalid."""
    try:
        manifest = bounded_json.read(folder / MANIFEST)
        good = all(
            isinstance(path, str) and isinstance(entry["sha256"], str) and isinstance(entry["bytes"], int)
            for path, entry in manifest["files"].items()
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return manifest if good else None


def missing_of(folder: Path, manifest: dict[str, Any]) -> list[str]:
    """Return the files of the manifest that are missing or have the wrong size."""
    return [path for path, entry in manifest["files"].items() if size_of(folder / path) != entry["bytes"]]


def make_folder(folder: Path) -> None:
    """Create a folder and its parents. Raises FaceLiftError on failure."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FaceLiftError(f"Cannot create the folder {folder}: {error.strerror or error}.") from None


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Context manager that turns an OSError while writing `path` into a FaceLiftError."""
    try:
        yield
    except OSError as error:
        raise FaceLiftError(f"Cannot write {path}: {error.strerror or error}.") from None


def check_space(folder: Path, needed: int, what: str) -> None:
    """Raise FaceLiftError unless `needed` bytes plus a margin are free on the disk of `folder`.

    Args:
        folder: an existing or future folder.
        needed: bytes needed.
        what: subject of the error message, such as "The download".
    """
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if needed > 0 and free < needed + DISK_MARGIN:
        raise FaceLiftError(
            f"{what} needs {size_text(needed + DISK_MARGIN)}, but only {size_text(free)} are free in {folder}; free "
            f"some space, or choose another folder with --folder or {VARIABLE}."
        )


@contextmanager
def alone(store: Store) -> Iterator[None]:
    """Context manager that locks the store against other processes. A killed process leaves no lock behind.

    Raises:
        FaceLiftError: another process holds the lock, or the folder cannot be written to.
    """
    make_folder(store.folder)
    try:
        from huggingface_hub.utils import WeakFileLock
    except ImportError:  # without the runtime, no other process can be working on the store
        yield
        return
    try:
        lock = WeakFileLock(store.folder / LOCK, timeout=LOCK_SECONDS)
        lock.__enter__()
    except TimeoutError:
        raise FaceLiftError(
            f"Another FaceLift is changing the weights in {store.folder}; wait until it has finished."
        ) from None
    except OSError as error:
        raise FaceLiftError(f"Cannot write to {store.folder}: {error.strerror or error}.") from None
    try:
        yield
    finally:
        lock.__exit__(None, None, None)


def size_text(count: float) -> str:
    """Format a number of bytes, such as "9.3 GB" or "412 MB"."""
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.{1 if count < 100 * size else 0}f} {unit}"
    return f"{count:.0f} bytes"


def size_of(path: Path) -> int:
    """Return the size of a file in bytes, or -1 if it does not exist."""
    try:
        return path.stat().st_size
    except OSError:
        return -1

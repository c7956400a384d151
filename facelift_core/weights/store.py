"""Where the released weights lie on this machine."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import FaceLiftError
from ..user_dirs import data_folder
from .catalogue import LICENCE_FILE, Catalogue, load_catalogue

VARIABLE = "FACELIFT_WEIGHTS"
"""Environment variable that names another folder for downloaded weights."""
MANIFEST = "manifest.json"
STAGES = "stages.json"
"""What a conversion under way has finished."""
PART = ".part"
"""Suffix of a file that is still being written."""
LOCK = ".lock"
DISK_MARGIN = 200 * 10**6
LOCK_SECONDS = 0.5


@dataclass(frozen=True)
class Store:
    """The folder of one catalogue; each revision has its own, so that revisions never mix.

    Attributes:
        catalogue: whose weights.
        root: folder for the weights of all catalogues.
    """

    catalogue: Catalogue
    root: Path

    @property
    def folder(self) -> Path:
        return self.root / f"{self.catalogue.name}-{self.catalogue.revision[:12]}"

    @property
    def original(self) -> Path:
        """The files as downloaded, in the released layout; a file with its final name has been verified."""
        return self.folder / "original"

    @property
    def converting(self) -> Path:
        """A conversion under way, or interrupted."""
        return self.folder / "converting"

    @property
    def converted(self) -> Path:
        """What the conversion made, whole: in the released layout, ready to load."""
        return self.folder / "converted"

    @property
    def set_aside(self) -> Path:
        """A damaged conversion while another takes its place."""
        return self.folder / "converted.old"

    @property
    def licence_file(self) -> Path:
        return self.folder / LICENCE_FILE

    @property
    def acceptance_file(self) -> Path:
        return self.folder / "licence.json"


def open_store(folder: str | Path | None = None, catalogue: Catalogue | None = None) -> Store:
    """The store in `folder`, else in what FACELIFT_WEIGHTS names, else in the user's data folder.

    Raises:
        FaceLiftError: the catalogue cannot be read.
    """
    root = Path(folder or os.environ.get(VARIABLE) or data_folder() / "weights").expanduser()
    return Store(catalogue or load_catalogue(), root)


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """What the conversion wrote about its files: {"files": {path: {"sha256", "bytes"}}, …}; None without a good one."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        good = all(
            isinstance(path, str) and isinstance(entry["sha256"], str) and isinstance(entry["bytes"], int)
            for path, entry in manifest["files"].items()
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return manifest if good else None


def missing_of(folder: Path, manifest: dict[str, Any]) -> list[str]:
    """Files of the manifest that are missing or have another size."""
    return [path for path, entry in manifest["files"].items() if size_of(folder / path) != entry["bytes"]]


def make_folder(folder: Path) -> None:
    """Raises FaceLiftError if it cannot be made."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FaceLiftError(f"Cannot make the folder {folder}: {error.strerror or error}.") from None


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Around changes of `path` on the disk: raises FaceLiftError where the system refuses them."""
    try:
        yield
    except OSError as error:
        raise FaceLiftError(f"Cannot write {path}: {error.strerror or error}.") from None


def check_space(folder: Path, needed: int, what: str) -> None:
    """Raise FaceLiftError unless `needed` bytes and a margin are free where `folder` is or will be."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if needed > 0 and free < needed + DISK_MARGIN:
        raise FaceLiftError(
            f"{what} takes {size_text(needed + DISK_MARGIN)} and only {size_text(free)} are free in {folder}; make "
            f"room, or choose another folder with --folder or {VARIABLE}."
        )


@contextmanager
def alone(store: Store) -> Iterator[None]:
    """Keep a second process from changing the same store; a process that is killed leaves no lock behind.

    Raises:
        FaceLiftError: another one is at it, or the folder cannot be written to.
    """
    make_folder(store.folder)
    try:
        from huggingface_hub.utils import WeakFileLock
    except ImportError:  # then the runtime is gone, and with it whoever else could be at it
        yield
        return
    try:
        lock = WeakFileLock(store.folder / LOCK, timeout=LOCK_SECONDS)
        lock.__enter__()
    except TimeoutError:
        raise FaceLiftError(
            f"Another FaceLift is working on the weights in {store.folder}; wait until it is done."
        ) from None
    except OSError as error:
        raise FaceLiftError(f"Cannot write to {store.folder}: {error.strerror or error}.") from None
    try:
        yield
    finally:
        lock.__exit__(None, None, None)


def size_text(count: float) -> str:
    """Such as "9.3 GB" or "412 MB"."""
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.{1 if count < 100 * size else 0}f} {unit}"
    return f"{count:.0f} bytes"


def size_of(path: Path) -> int:
    """Bytes of a file; -1 if there is none."""
    try:
        return path.stat().st_size
    except OSError:
        return -1

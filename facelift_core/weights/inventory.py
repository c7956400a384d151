"""What is there of the released weights, which folder to load, and removing them."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ..errors import FaceLiftError
from . import licence
from .catalogue import LICENCE_FILE, PROMPT_EMBEDS, converted_files
from .store import LOCK, MANIFEST, PART, STAGES, Store, missing_of, read_manifest, size_of


@dataclass(frozen=True)
class Status:
    """What is there of a catalogue's weights.

    Attributes:
        accepted: when the licence was accepted, None if it is not.
        downloaded: files of the catalogue that are there and verified.
        files: files of the catalogue in all.
        original_bytes: of the downloaded files, also of unfinished ones.
        converted_bytes: of the converted weights; 0 if there are none.
    """

    accepted: str | None
    downloaded: int
    files: int
    original_bytes: int
    converted_bytes: int

    @property
    def complete(self) -> bool:
        return self.downloaded == self.files

    @property
    def converted(self) -> bool:
        return self.converted_bytes > 0


def status(store: Store) -> Status:
    """Looks at names and sizes only."""
    there = [path for path in store.catalogue.files if (store.original / path).is_file()]
    unfinished = [path + PART for path in store.catalogue.files if (store.original / (path + PART)).is_file()]
    manifest = read_manifest(store.converted)
    whole = manifest is not None and not missing_of(store.converted, manifest)
    return Status(
        accepted=licence.accepted(store),
        downloaded=len(there),
        files=len(store.catalogue.files),
        original_bytes=sum(size_of(store.original / path) for path in there + unfinished),
        converted_bytes=sum(entry["bytes"] for entry in manifest["files"].values()) if whole else 0,
    )


def ready_folder(store: Store) -> Path:
    """The folder to load the weights from.

    Raises:
        FaceLiftError: they are not there, not converted, or their licence is not accepted; says which command helps.
    """
    found = status(store)
    name = store.catalogue.name
    if not found.converted:
        if found.complete:
            raise FaceLiftError(
                f"The weights “{name}” are downloaded but not converted yet; run “facelift weights convert”."
            )
        raise FaceLiftError(
            f"The weights “{name}” are not on this machine ({store.folder}); run “facelift weights download”, or "
            "“facelift weights import” with a copy downloaded by hand."
        )
    licence.require(store)
    return store.converted


def remove(store: Store, converted: bool = True) -> tuple[int, list[Path]]:
    """Remove the originals and, if `converted`, everything made of them, and the licence's acceptance.

    Only files that we know by the catalogue are removed, never what somebody else put beside them.

    Returns:
        Bytes freed, and the folders that stay because of files we do not know.
    """
    files = [*store.catalogue.files, PROMPT_EMBEDS]  # the latter is made where originals are loaded themselves
    freed = _remove_known(store.original, [*files, *(path + PART for path in files)])
    folders = [store.original]
    if converted:
        for folder in (store.converted, store.converting, store.set_aside):
            freed += remove_made(store, folder)
            folders.append(folder)
        own = [LICENCE_FILE, LICENCE_FILE + PART, store.acceptance_file.name, LOCK]
        freed += _remove_known(store.folder, own)
        with suppress(OSError):
            store.root.rmdir()
    return freed, [folder for folder in folders if folder.is_dir()]


def remove_originals(store: Store) -> int:
    """Free the space of what is downloaded, after the conversion; bytes freed."""
    return remove(store, converted=False)[0]


def remove_made(store: Store, folder: Path) -> int:
    """Remove from `folder` what a conversion makes; bytes freed."""
    names = [*converted_files(store.catalogue), MANIFEST, STAGES]
    return _remove_known(folder, [*names, *(name + PART for name in names)])


def _remove_known(folder: Path, names: Iterable[str]) -> int:
    """Remove the files `names` in `folder` and the folders that are empty then; a link is removed, not followed."""
    if folder.is_symlink():
        folder.unlink()
        return 0
    freed = 0
    for name in names:
        path = folder / name
        with suppress(OSError):
            size = path.lstat().st_size
            path.unlink()
            freed += size
    for inner, _, _ in os.walk(folder, topdown=False):
        with suppress(OSError):
            os.rmdir(inner)
    return freed

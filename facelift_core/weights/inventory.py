"""Status of the released weights on this machine, the folder to load them from, and their removal."""

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
from .verify import changed_since


@dataclass(frozen=True)
class Status:
    """Which of a catalogue's weights are present.

    Attributes:
        accepted: when the license was accepted (ISO 8601); None if it is not.
        downloaded: number of files that are present.
        files: number of files in the catalogue.
        original_bytes: bytes of the downloaded files, including partial ones.
        converted_bytes: bytes of the converted weights; 0 if there are none.
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
    """Return the status of a store. Looks only at names and sizes of files."""
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
    """Return the folder to load the weights from.

    Raises:
        FaceLiftError: the weights are missing, not converted, or have changed, or their license is not accepted. The
            message names the command to run.
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
            "“facelift weights import” with a copy that you downloaded manually."
        )
    licence.require(store)
    if problem := changed_since(store):
        raise FaceLiftError(problem)
    return store.converted


def remove(store: Store, converted: bool = True) -> tuple[int, list[Path]]:
    """Remove the originals and, if `converted`, also the converted weights and the acceptance of the license.

    Only files known from the catalogue are removed, never other files beside them.

    Returns:
        The number of bytes freed, and the folders that were kept because they hold other files.
    """
    files = [*store.catalogue.files, PROMPT_EMBEDS]  # created if the originals are loaded directly
    freed = _remove_known(store.original, [*files, *(path + PART for path in files)])
    folders = [store.original]
    if converted:
        for folder in (store.converted, store.converting, store.set_aside):
            freed += remove_made(store, folder)
            folders.append(folder)
        own = [LICENCE_FILE, LICENCE_FILE + PART, LOCK]
        own += [file.name for file in (store.acceptance_file, store.checksums_file, store.seen_file)]
        freed += _remove_known(store.folder, own)
        with suppress(OSError):
            store.root.rmdir()
    return freed, [folder for folder in folders if folder.is_dir()]


def remove_originals(store: Store) -> int:
    """Remove the originals after the conversion. Return the number of bytes freed."""
    return remove(store, converted=False)[0]


def remove_made(store: Store, folder: Path) -> int:
    """Remove the files of a conversion from `folder`. Return the number of bytes freed."""
    names = [*converted_files(store.catalogue), MANIFEST, STAGES]
    return _remove_known(folder, [*names, *(name + PART for name in names)])


def _remove_known(folder: Path, names: Iterable[str]) -> int:
    """Remove the files `names` in `folder`, and folders that are then empty. Symbolic links are not followed."""
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

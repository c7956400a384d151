"""Compare files with their checksums: published ones, and those noted when a file was first seen."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from .. import bounded_json
from ..errors import FaceLiftError
from ..files import replacing
from ..progress import Monitor
from .byte_progress import ByteProgress
from .store import PART, Store, read_manifest, size_of

BLOCK = 4 << 20
SMALL_MAX = 16 << 20
"""Maximum bytes of a file without a published checksum."""
TOTAL_MARGIN = 1.01
"""How much more than the published bytes a hub or a zip may announce."""


def sha256_of(path: Path, transfer: ByteProgress) -> str:
    """Return the hexadecimal SHA-256 of a file.

    Raises:
        FaceLiftError: the file cannot be read.
        Cancelled: the run was cancelled.
    """
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(BLOCK):
                digest.update(block)
                transfer.advance(len(block))
    except OSError as error:
        raise FaceLiftError(f"Cannot read {path}: {error.strerror or error}.") from None
    return digest.hexdigest()


def stamp(path: Path) -> tuple[int, ...]:
    """Return numbers that change whenever the content of a file does. Raises FaceLiftError if it cannot be read."""
    try:
        found = os.stat(path)
    except OSError as error:
        raise FaceLiftError(f"Cannot read {path}: {error.strerror or error}.") from None
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def checksums(store: Store) -> dict[str, str | None]:
    """Return the SHA-256 of each released file: the published one, else the one noted here, else None."""
    noted = {}
    try:
        noted = dict(bounded_json.read(store.checksums_file))
    except (OSError, ValueError, TypeError):
        pass
    return {path: published or noted.get(path) for path, published in store.catalogue.files.items()}


def note_checksums(store: Store, found: Mapping[str, str]) -> None:
    """Note the SHA-256 of files that have no published one, so that a later change of them is found."""
    known = checksums(store)
    noted = {path: known[path] or found.get(path) for path, public in store.catalogue.files.items() if public is None}
    with replacing(store.checksums_file) as temporary:
        temporary.write_text(json.dumps(noted, indent=1), encoding="utf-8")


def check_original(path: str, file: Path, expected: str | None, transfer: ByteProgress) -> tuple[str, str | None]:
    """Return the SHA-256 of a released file, and what is wrong with it as the end of a sentence, or None.

    Args:
        path: its path in the repository.
        file: where it is.
        expected: its SHA-256; None accepts any small file of the right format.
        transfer: receives progress.

    Raises:
        FaceLiftError: the file cannot be read.
        Cancelled: the run was cancelled.
    """
    if expected is None and size_of(file) > SMALL_MAX:
        return "", "is too large, so this is not the right file"
    found = sha256_of(file, transfer)
    if expected is not None and found != expected:
        return found, "does not have the published checksum"
    try:
        return found, small_file_problem(path, file.read_bytes()) if size_of(file) <= SMALL_MAX else None
    except OSError as error:
        raise FaceLiftError(f"Cannot read {file}: {error.strerror or error}.") from None


def small_file_problem(path: str, content: bytes) -> str | None:
    """Return what is wrong with a file that has no published checksum, as the end of a sentence, or None."""
    if path.endswith(".json"):
        try:
            bounded_json.parse(content, SMALL_MAX)
        except ValueError:
            return "is not valid JSON"
    if content.lstrip()[:15].lower().startswith((b"<!doctype", b"<html")):
        return "is a web page, not the file itself"
    return None if content else "is empty"


def verify(store: Store, monitor: Monitor) -> list[str]:
    """Compare all files in the store with the published checksums and with the manifest of the conversion.

    Returns:
        One sentence per file that is wrong or missing; empty if all files are correct.

    Raises:
        FaceLiftError: there is nothing to verify.
        Cancelled: the run was cancelled.
    """
    manifest = read_manifest(store.converted)
    originals = [path for path in store.catalogue.files if (store.original / path).is_file()]
    if manifest is None and not originals:
        raise FaceLiftError(f"There are no weights to verify in {store.folder}.")
    made = manifest["files"] if manifest else {}
    paths = [store.original / path for path in originals] + [store.converted / path for path in made]
    transfer = ByteProgress(monitor, "Verifying", sum(max(0, size_of(path)) for path in paths))
    problems = []
    known = checksums(store)
    for path in originals:
        _, problem = check_original(path, store.original / path, known[path], transfer)
        if problem:
            problems.append(f"{store.original / path} {problem}; delete it and download it again.")
    if originals and len(originals) < len(store.catalogue.files):
        missing = [path for path in store.catalogue.files if path not in originals]
        unfinished = any((store.original / (path + PART)).is_file() for path in missing)
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        ending = "; the download is not finished." if unfinished else "."
        problems.append(f"Original files are missing: {missing[0]}{more}{ending}")
    return problems + changed(store.converted, made, transfer)


def changed(folder: Path, made: Mapping[str, Mapping[str, object]], transfer: ByteProgress) -> list[str]:
    """Return one sentence for each file of a conversion's manifest that is missing or has another checksum."""
    problems = []
    for path, entry in made.items():
        if size_of(folder / path) < 0:
            problems.append(f"{folder / path} is missing; convert the weights again.")
        elif sha256_of(folder / path, transfer) != entry["sha256"]:
            problems.append(f"{folder / path} has changed since it was converted; convert the weights again.")
    return problems


def note_seen(store: Store) -> None:
    """Note the state of the converted files, right after they were made or compared.

    Raises:
        FaceLiftError: the note cannot be written.
    """
    _write_seen(store, _stamps(store))


def changed_since(store: Store) -> str | None:
    """Return a sentence about the first of the converted files that is not what the conversion made, or None.

    Settings are read each time. Weights are read if they were written to since they were last compared, or copied here;
    if they are as they were made, that is noted.

    Raises:
        FaceLiftError: a file cannot be read.
    """
    made = (read_manifest(store.converted) or {"files": {}})["files"]
    stamps = _stamps(store)
    try:
        seen = dict(bounded_json.read(store.seen_file))
    except (OSError, ValueError, TypeError):
        seen = {}
    weights = {path for path in made if path.endswith(".safetensors")}
    fresh = {path: entry for path, entry in made.items() if path not in weights or seen.get(path) != stamps[path]}
    problems = changed(store.converted, fresh, ByteProgress(Monitor("verify"), "Verifying", 1))
    if not problems and weights & fresh.keys():
        with suppress(FaceLiftError):  # weights that several people share may not be ours to write beside
            _write_seen(store, stamps)
    return next(iter(problems), None)


def _stamps(store: Store) -> dict[str, list[int]]:
    """What :func:`stamp` says about each of the converted files; [] of one that is missing."""
    made = (read_manifest(store.converted) or {"files": {}})["files"]
    files = {path: store.converted / path for path in made}
    return {path: list(stamp(file)) if file.is_file() else [] for path, file in files.items()}


def _write_seen(store: Store, stamps: Mapping[str, list[int]]) -> None:
    with replacing(store.seen_file) as temporary:
        temporary.write_text(json.dumps(stamps, indent=1), encoding="utf-8")

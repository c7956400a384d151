"""Verify the checksums of files on disk, with progress."""

from __future__ import annotations

import hashlib
from pathlib import Path

from .. import bounded_json
from ..errors import FaceLiftError
from ..progress import Monitor
from .byte_progress import ByteProgress
from .store import PART, Store, read_manifest, size_of

BLOCK = 4 << 20
SMALL_MAX = 16 << 20
"""Maximum bytes of a file without a published checksum."""


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
    for path in originals:
        expected = store.catalogue.files[path]
        file = store.original / path
        if expected is None:
            if problem := small_file_problem(path, file.read_bytes()):
                problems.append(f"{file} {problem}.")
        elif sha256_of(file, transfer) != expected:
            problems.append(f"{file} does not have the published checksum; delete it and download it again.")
    if originals and len(originals) < len(store.catalogue.files):
        missing = [path for path in store.catalogue.files if path not in originals]
        unfinished = any((store.original / (path + PART)).is_file() for path in missing)
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        ending = "; the download is not finished." if unfinished else "."
        problems.append(f"Original files are missing: {missing[0]}{more}{ending}")
    for path, entry in made.items():
        file = store.converted / path
        if size_of(file) < 0:
            problems.append(f"{file} is missing; convert the weights again.")
        elif sha256_of(file, transfer) != entry["sha256"]:
            problems.append(f"{file} has changed since it was converted; convert the weights again.")
    return problems

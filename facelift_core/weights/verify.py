"""Checksums: of files as they lie on the disk, with progress."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from ..errors import FaceLiftError
from ..progress import Monitor
from .byte_progress import Transfer
from .store import PART, Store, read_manifest, size_of

BLOCK = 4 << 20


def sha256_of(path: Path, transfer: Transfer) -> str:
    """Hexadecimal SHA-256 of a file.

    Raises:
        FaceLiftError: it cannot be read.
        Cancelled: the transfer's caller wants to stop.
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
    """What is wrong with a file that has no published checksum, for people; None: nothing."""
    if path.endswith(".json"):
        try:
            json.loads(content)
        except ValueError:
            return "is not valid JSON"
    if content.lstrip()[:15].lower().startswith((b"<!doctype", b"<html")):
        return "is a web page saved under the name of the file"
    return None if content else "is empty"


def verify(store: Store, monitor: Monitor) -> list[str]:
    """Read everything that is there once more and compare it with the published checksums and with the manifest.

    Returns:
        One sentence per file that is wrong or missing; none: all is well.

    Raises:
        FaceLiftError: there is nothing to verify.
    """
    manifest = read_manifest(store.converted)
    originals = [path for path in store.catalogue.files if (store.original / path).is_file()]
    if manifest is None and not originals:
        raise FaceLiftError(f"There are no weights to verify in {store.folder}.")
    made = manifest["files"] if manifest else {}
    paths = [store.original / path for path in originals] + [store.converted / path for path in made]
    transfer = Transfer(monitor, "Verifying", sum(max(0, size_of(path)) for path in paths))
    problems = []
    for path in originals:
        expected = store.catalogue.files[path]
        file = store.original / path
        if expected is None:
            if problem := small_file_problem(path, file.read_bytes()):
                problems.append(f"{file} {problem}.")
        elif sha256_of(file, transfer) != expected:
            problems.append(f"{file} is not what its authors published; remove it and download it again.")
    if originals and len(originals) < len(store.catalogue.files):
        missing = [path for path in store.catalogue.files if path not in originals]
        unfinished = any((store.original / (path + PART)).is_file() for path in missing)
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        ending = "; the download is not finished." if unfinished else "."
        problems.append(f"Of the originals {missing[0]}{more} are missing{ending}")
    for path, entry in made.items():
        file = store.converted / path
        if size_of(file) < 0:
            problems.append(f"{file} is missing; convert the weights again.")
        elif sha256_of(file, transfer) != entry["sha256"]:
            problems.append(f"{file} has changed since it was converted; convert the weights again.")
    return problems

"""Import a copy of the released weights that was downloaded manually: a folder, or a zip of one.

Names in a zip are never used as paths. Only the catalogue's file names are looked up in it.
"""

from __future__ import annotations

import hashlib
import os
import zipfile
import zlib
from collections.abc import Iterable
from contextlib import contextmanager
from pathlib import Path

from ..errors import FaceLiftError, first_line
from ..progress import Monitor
from . import licence
from .byte_progress import ByteProgress
from .catalogue import LICENCE_FILE, Catalogue
from .store import MANIFEST, PART, Store, check_space, make_folder, read_manifest, size_of, writing
from .verify import BLOCK, SMALL_MAX, sha256_of, small_file_problem

NAMED = 3
"""Number of missing files named in a message."""


def read_licence(store: Store, source: Path) -> None:
    """Copy the license text from `source` to the store for the user to read, unless it is present.

    Raises:
        FaceLiftError: `source` is not a folder or zip of the weights, or is incomplete.
    """
    complete(store.catalogue, source)
    if licence.text(store) is not None:
        return
    if source.is_dir():
        content = _read_small(find_folder(store.catalogue, source) / LICENCE_FILE)
    else:
        with _open_zip(source) as archive:
            member = _members(store.catalogue, archive, source)[LICENCE_FILE]
            _check_member(LICENCE_FILE, None, member, source)
            content = archive.read(member)
    if problem := small_file_problem(LICENCE_FILE, content):
        raise FaceLiftError(f"{LICENCE_FILE} in {source} {problem}; download it again.")
    licence.keep_text(store, content)


def complete(catalogue: Catalogue, source: Path) -> None:
    """Raise FaceLiftError, naming what is missing, unless `source` has every file of the catalogue."""
    if source.is_dir():
        find_folder(catalogue, source)
    else:
        with _open_zip(source) as archive:
            _members(catalogue, archive, source)


def check_folder(store: Store, source: Path, monitor: Monitor) -> Path:
    """Verify the weights in a folder without copying them. Return the folder that has the released layout.

    Raises:
        FaceLiftError: the license is not accepted, or files are missing or have the wrong checksum.
        Cancelled: the run was cancelled.
    """
    licence.require(store)
    folder = find_folder(store.catalogue, source)
    transfer = ByteProgress(monitor, "Verifying", sum(size_of(folder / path) for path in store.catalogue.files))
    for path, expected in store.catalogue.files.items():
        if expected is None:
            if problem := small_file_problem(path, _read_small(folder / path)):
                raise FaceLiftError(f"{folder / path} {problem}; download it again.")
        elif sha256_of(folder / path, transfer) != expected:
            raise FaceLiftError(f"{folder / path} does not have the published checksum; download it again.")
    return folder


def unpack(store: Store, source: Path, monitor: Monitor, also_needed: int = 0) -> None:
    """Unpack the weights in a zip to ``store.original`` and verify them. Files that are present are skipped.

    Args:
        store: the store to unpack into.
        source: the zip.
        monitor: receives progress.
        also_needed: bytes of disk space that the caller will need afterwards.

    Raises:
        FaceLiftError: as :func:`check_folder`, or the zip is damaged or encrypted, or disk space is low.
        Cancelled: the run was cancelled.
    """
    licence.require(store)
    with _open_zip(source) as archive:
        members = _members(store.catalogue, archive, source)
        wanted = {p: m for p, m in members.items() if size_of(store.original / p) != m.file_size}
        total = sum(member.file_size for member in wanted.values())
        check_space(store.folder, total + also_needed, "The import")
        transfer = ByteProgress(monitor, "Unpacking", total)
        for path, member in wanted.items():
            _check_member(path, store.catalogue.files[path], member, source)
            _extract(store, archive, member, path, source, transfer)


def find_folder(catalogue: Catalogue, source: Path) -> Path:
    """Return the folder with the released layout: `source` or a folder directly inside it.

    Raises:
        FaceLiftError: there is none, or it is incomplete. The message names what is missing.
    """
    if not source.exists():
        raise FaceLiftError(f"{source} does not exist.")
    if read_manifest(source) is not None and (source / MANIFEST).is_file():
        raise FaceLiftError(f"{source} is already converted; use it directly: --weights {source}")
    candidates = [source, *sorted(path for path in source.iterdir() if path.is_dir())]
    missing = {folder: [path for path in catalogue.files if not (folder / path).is_file()] for folder in candidates}
    best = min(missing, key=lambda folder: len(missing[folder]))
    _check_missing(catalogue, missing[best], best if len(missing[best]) < len(catalogue.files) else source)
    return best


def _members(catalogue: Catalogue, archive: zipfile.ZipFile, source: Path) -> dict[str, zipfile.ZipInfo]:
    """Return the zip member of each file, from the top folder that has the most of them."""
    by_name = {info.filename.replace("\\", "/"): info for info in archive.infolist() if not info.is_dir()}
    tops = {name[: -len(path)] for name in by_name for path in catalogue.files if name.endswith(f"/{path}")} | {""}
    missing = {top: [path for path in catalogue.files if top + path not in by_name] for top in sorted(tops)}
    best = min(missing, key=lambda top: len(missing[top]))
    _check_missing(catalogue, missing[best], source)
    return {path: by_name[best + path] for path in catalogue.files}


def _check_missing(catalogue: Catalogue, missing: list[str], where: Path) -> None:
    if not missing:
        return
    if len(missing) == len(catalogue.files):
        raise FaceLiftError(
            f"{where} does not contain the weights “{catalogue.name}”; it must have the files and folders of "
            f"{catalogue.page}"
        )
    more = f" and {len(missing) - NAMED} more" if len(missing) > NAMED else ""
    raise FaceLiftError(
        f"{where} lacks {', '.join(missing[:NAMED])}{more} of {len(catalogue.files)} files; download them from "
        f"{catalogue.page}"
    )


@contextmanager
def _open_zip(source: Path) -> Iterable[zipfile.ZipFile]:
    """Open a zip; raises FaceLiftError for any problem with it, including while it is being read."""
    if not source.exists():
        raise FaceLiftError(f"{source} does not exist.")
    try:
        with zipfile.ZipFile(source) as archive:
            yield archive
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        reason = first_line(error).rstrip(".")
        raise FaceLiftError(f"{source} is not a zip file or is damaged ({reason}); download it again.") from None
    except (RuntimeError, NotImplementedError) as error:  # encrypted, or compressed with an unsupported method
        raise FaceLiftError(f"{source} cannot be unpacked ({error}); unpack it and import the folder.") from None


def _check_member(path: str, expected: str | None, member: zipfile.ZipInfo, source: Path) -> None:
    if expected is None and member.file_size > SMALL_MAX:
        raise FaceLiftError(f"{path} in {source} is too large, so this is not the right archive; download it again.")


def _extract(
    store: Store, archive: zipfile.ZipFile, member: zipfile.ZipInfo, path: str, source: Path, transfer: ByteProgress
) -> None:
    target, expected = store.original / path, store.catalogue.files[path]
    part = target.with_name(target.name + PART)
    make_folder(part.parent)
    digest = hashlib.sha256()
    try:
        with writing(part), archive.open(member) as packed, part.open("wb") as file:
            while block := packed.read(BLOCK):
                file.write(block)
                digest.update(block)
                transfer.advance(len(block))
        if expected is not None and digest.hexdigest() != expected:
            raise FaceLiftError(f"{path} in {source} does not have the published checksum; download it again.")
        if expected is None and (problem := small_file_problem(path, part.read_bytes())):
            raise FaceLiftError(f"{path} in {source} {problem}; download it again.")
        with writing(target):
            os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)


def _read_small(path: Path) -> bytes:
    try:
        if path.stat().st_size > SMALL_MAX:
            raise FaceLiftError(f"{path} is too large, so this is not the right file; download it again.")
        return path.read_bytes()
    except OSError as error:
        raise FaceLiftError(f"Cannot read {path}: {error.strerror or error}.") from None

"""Import a copy of the released weights that was downloaded manually: a folder, or a zip of one.

Names in a zip are never used as paths. Only the catalogue's file names are looked up in it.
"""

from __future__ import annotations

import hashlib
import os
import struct
import zipfile
from collections.abc import Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from ..errors import Cancelled, FaceLiftError, first_line
from ..files import put
from ..progress import Monitor
from . import licence
from .byte_progress import ByteProgress
from .catalogue import LICENCE_FILE, Catalogue
from .store import MANIFEST, PART, Store, check_space, make_folder, read_manifest, writing
from .verify import BLOCK, SMALL_MAX, TOTAL_MARGIN, small_file_problem

END_BYTES, DIRECTORY_MAX = (1 << 16) + 200, 1 << 20
"""Where a zip's list of files is announced, counted from its end, and the longest list."""
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


def unpack(store: Store, source: Path, monitor: Monitor, also_needed: int = 0) -> None:
    """Unpack the weights in a zip to ``store.original``. The conversion verifies them.

    Args:
        store: the store to unpack into.
        source: the zip.
        monitor: receives progress.
        also_needed: bytes of disk space that the caller will need afterwards.

    Raises:
        FaceLiftError: the license is not accepted, the zip lacks files, is damaged or encrypted, or disk space is low.
        Cancelled: the run was cancelled.
    """
    licence.require(store)
    with _open_zip(source) as archive:
        members = _members(store.catalogue, archive, source)
        total = sum(member.file_size for member in members.values())
        if total > TOTAL_MARGIN * store.catalogue.download_bytes + SMALL_MAX:
            raise FaceLiftError(f"{source} is too large, so this is not the right archive; download it again.")
        check_space(store.folder, total + also_needed, "The import")
        transfer = ByteProgress(monitor, "Unpacking", total)
        for path, member in members.items():
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
        with source.open("rb") as file:
            _check_directory(file)
            with zipfile.ZipFile(file) as archive:
                yield archive
    except (FaceLiftError, Cancelled):
        raise
    except (RuntimeError, NotImplementedError) as error:  # encrypted, or compressed with an unsupported method
        raise FaceLiftError(f"{source} cannot be unpacked ({error}); unpack it and import the folder.") from None
    except Exception as error:  # a damaged zip can make zipfile raise almost anything
        reason = first_line(error).rstrip(".")
        raise FaceLiftError(f"{source} is not a zip file or is damaged ({reason}); download it again.") from None


def _check_directory(file: BinaryIO) -> None:
    """Raise BadZipFile if the zip's list of files is larger than that of any archive of weights."""
    start = max(0, file.seek(0, os.SEEK_END) - END_BYTES)
    file.seek(start)
    end = file.read(END_BYTES)
    for signature, fields in ((b"PK\x05\x06", "<12xL"), (b"PK\x06\x06", "<40xQ")):
        at = end.rfind(signature)
        if at >= 0 and len(end) >= at + struct.calcsize(fields):
            (size,) = struct.unpack_from(fields, end, at)
            if DIRECTORY_MAX < size < 0xFFFFFFFF or size > 0xFFFFFFFF:
                raise zipfile.BadZipFile("its list of files is too long")
    file.seek(0)


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
        with archive.open(member) as packed, _writable(part) as file:
            while block := packed.read(BLOCK):
                with writing(part):
                    file.write(block)
                digest.update(block)
                transfer.advance(len(block))
        if expected is not None and digest.hexdigest() != expected:
            raise FaceLiftError(f"{path} in {source} does not have the published checksum; download it again.")
        if expected is None and (problem := small_file_problem(path, part.read_bytes())):
            raise FaceLiftError(f"{path} in {source} {problem}; download it again.")
        with writing(target):
            put(part, target)
    finally:
        part.unlink(missing_ok=True)


def _writable(path: Path) -> BinaryIO:
    with writing(path):
        return path.open("wb")


def _read_small(path: Path) -> bytes:
    try:
        if path.stat().st_size > SMALL_MAX:
            raise FaceLiftError(f"{path} is too large, so this is not the right file; download it again.")
        return path.read_bytes()
    except OSError as error:
        raise FaceLiftError(f"Cannot read {path}: {error.strerror or error}.") from None

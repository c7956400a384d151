"""Download all files of the catalogue from the hub. A file gets its final name only after it has been verified."""

from __future__ import annotations

import hashlib

from ..errors import FaceLiftError
from ..files import put
from ..progress import Monitor
from . import hub, licence
from .byte_progress import ByteProgress
from .catalogue import LICENCE_FILE, Catalogue
from .hub import WAITS, Remote
from .store import PART, Store, check_space, make_folder, size_of, writing
from .verify import check_original, checksums, note_checksums, small_file_problem


def fetch_licence(store: Store, monitor: Monitor, waits: tuple[float, ...] = WAITS) -> None:
    """Download the license text for the user to read, unless it is present.

    Raises:
        FaceLiftError: see :func:`.hub.fetch`.
        Cancelled: the run was cancelled.
    """
    if licence.text(store) is not None:
        return
    make_folder(store.folder)
    monitor(0.0, f"Downloading the {store.catalogue.licence}")
    remote = hub.list_files(store.catalogue, monitor, waits)[LICENCE_FILE]
    part = store.folder / (LICENCE_FILE + PART)
    hub.fetch(store.catalogue, remote, part, ByteProgress(monitor, "License", remote.size), waits)
    with writing(part):
        content = part.read_bytes()
        part.unlink()
    if problem := small_file_problem(LICENCE_FILE, content):
        raise FaceLiftError(f"The downloaded {store.catalogue.licence} {problem}; check HF_ENDPOINT.")
    licence.keep_text(store, content)


def download(store: Store, monitor: Monitor, also_needed: int = 0, waits: tuple[float, ...] = WAITS) -> None:
    """Download all files of the catalogue to ``store.original``, resuming an interrupted download.

    Args:
        store: the store to download to.
        monitor: receives progress.
        also_needed: bytes of disk space that the caller will need afterwards.
        waits: seconds to wait before each retry.

    Raises:
        FaceLiftError: the license is not accepted, disk space is low, the hub fails or denies access, or a file has
            the wrong checksum.
        Cancelled: the run was cancelled.
    """
    licence.require(store)
    monitor(0.0, "Requesting the list of files")
    remotes = hub.list_files(store.catalogue, monitor, waits)
    for remote in remotes.values():
        _check_announced(store.catalogue, remote)
    total = sum(remote.size for remote in remotes.values())
    here = sum(max(0, size_of(store.original / path), size_of(store.original / (path + PART))) for path in remotes)
    check_space(store.folder, max(0, total - here) + also_needed, "The download")
    transfer = ByteProgress(monitor, "Downloading", total)
    for remote in remotes.values():
        licence.require(store)  # it may be revoked meanwhile
        _bring(store, remote, transfer, waits)


def _bring(store: Store, remote: Remote, transfer: ByteProgress, waits: tuple[float, ...]) -> None:
    path = store.original / remote.path
    expected = checksums(store)[remote.path]
    if size_of(path) == remote.size:
        if not check_original(remote.path, path, expected, _checking(transfer, remote))[1]:
            transfer.restart(transfer.done + remote.size)
            return
        with writing(path):
            path.unlink()
    part = path.with_name(path.name + PART)
    hub.fetch(store.catalogue, remote, part, transfer, waits)
    found, problem = check_original(remote.path, part, expected, _checking(transfer, remote))
    with writing(path):
        if problem is None and remote.blob is not None and expected is None:
            content = part.read_bytes()
            if hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest() != remote.blob:
                problem = "is not what the hub announced"
        if problem:
            part.unlink()
            raise FaceLiftError(
                f"{remote.path} {problem} and was deleted; download again, and if that does not help, use another "
                "network or mirror (HF_ENDPOINT)."
            )
        put(part, path)
    if expected is None:
        note_checksums(store, {remote.path: found})


def _checking(transfer: ByteProgress, remote: Remote) -> ByteProgress:
    return ByteProgress(transfer.monitor_here(), "Verifying", remote.size)


def _check_announced(catalogue: Catalogue, remote: Remote) -> None:
    """Raise FaceLiftError if the hub announces a wrong checksum, before downloading gigabytes."""
    expected = catalogue.files[remote.path]
    if expected is not None and remote.sha256 is not None and remote.sha256 != expected:
        raise FaceLiftError(
            f"The hub's {remote.path} is not the one published in revision {catalogue.revision[:12]}, so nothing was "
            "downloaded; check HF_ENDPOINT."
        )

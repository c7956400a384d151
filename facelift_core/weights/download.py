"""All files of the catalogue from the hub, each under its name only once it is whole and verified."""

from __future__ import annotations

import os
from pathlib import Path

from ..errors import FaceLiftError
from ..progress import Monitor
from . import hub, licence
from .byte_progress import Transfer
from .catalogue import LICENCE_FILE, Catalogue
from .hub import WAITS, Remote
from .store import PART, Store, check_space, make_folder, size_of, writing
from .verify import sha256_of, small_file_problem


def fetch_licence(store: Store, monitor: Monitor, waits: tuple[float, ...] = WAITS) -> None:
    """Fetch the licence's text, for a person to read; nothing if it is there.

    Raises:
        FaceLiftError: see :func:`.hub.fetch`.
        Cancelled: the monitor's caller wants to stop.
    """
    if licence.text(store) is not None:
        return
    make_folder(store.folder)
    monitor(0.0, f"Fetching the {store.catalogue.licence}")
    remote = hub.list_files(store.catalogue, monitor, waits)[LICENCE_FILE]
    part = store.folder / (LICENCE_FILE + PART)
    hub.fetch(store.catalogue, remote, part, Transfer(monitor, "Licence", remote.size), waits)
    with writing(part):
        content = part.read_bytes()
        part.unlink()
    if problem := small_file_problem(LICENCE_FILE, content):
        raise FaceLiftError(f"The {store.catalogue.licence} that was fetched {problem}; check HF_ENDPOINT.")
    licence.keep_text(store, content)


def download(store: Store, monitor: Monitor, also_needed: int = 0, waits: tuple[float, ...] = WAITS) -> None:
    """Bring all files of the catalogue into ``store.original``; goes on where an earlier download stopped.

    Args:
        also_needed: bytes that the caller will want on the same disk afterwards.
        waits: seconds before each new attempt after a failure.

    Raises:
        FaceLiftError: the licence is not accepted, too little disk space, the hub fails or refuses, or a file is not
            the one that its authors published.
        Cancelled: the monitor's caller wants to stop.
    """
    licence.require(store)
    monitor(0.0, "Asking the hub for the files")
    remotes = hub.list_files(store.catalogue, monitor, waits)
    for remote in remotes.values():
        _check_announced(store.catalogue, remote)
    total = sum(remote.size for remote in remotes.values())
    here = sum(max(0, size_of(store.original / path), size_of(store.original / (path + PART))) for path in remotes)
    check_space(store.folder, max(0, total - here) + also_needed, "The download")
    transfer = Transfer(monitor, "Downloading", total)
    for remote in remotes.values():
        licence.require(store)  # it may be taken back meanwhile
        _bring(store, remote, transfer, waits)


def _bring(store: Store, remote: Remote, transfer: Transfer, waits: tuple[float, ...]) -> None:
    path = store.original / remote.path
    if size_of(path) == remote.size:
        transfer.restart(transfer.done + remote.size)
        return
    part = path.with_name(path.name + PART)
    hub.fetch(store.catalogue, remote, part, transfer, waits)
    with writing(path):
        if problem := _problem(
            store.catalogue, remote, part, Transfer(transfer.monitor_here(), "Verifying", remote.size)
        ):
            part.unlink()
            raise FaceLiftError(problem)
        os.replace(part, path)


def _problem(catalogue: Catalogue, remote: Remote, part: Path, checking: Transfer) -> str | None:
    """Why what came is not the file it should be, with what to do; None: it is."""
    expected = catalogue.files[remote.path]
    if expected is None:
        problem = small_file_problem(remote.path, part.read_bytes())
        return problem and f"{remote.path} {problem}; check HF_ENDPOINT and start the download again."
    if sha256_of(part, checking) == expected:
        return None
    return (
        f"{remote.path} came with another checksum than its authors published, and was deleted; start the download "
        "again, and if that does not help use another network or mirror (HF_ENDPOINT)."
    )


def _check_announced(catalogue: Catalogue, remote: Remote) -> None:
    """Do not fetch gigabytes that will not pass."""
    expected = catalogue.files[remote.path]
    if expected is not None and remote.sha256 is not None and remote.sha256 != expected:
        raise FaceLiftError(
            f"The hub offers another {remote.path} than the one that its authors published in revision "
            f"{catalogue.revision[:12]}; nothing was downloaded: check HF_ENDPOINT."
        )

"""List a repository on the Hugging Face Hub, and download files with resume.

huggingface_hub handles URLs, tokens, proxies, HF_ENDPOINT and offline mode. Its own download lacks what is needed here:
it discards an unfinished file when the process ends, cannot be cancelled while it waits, and writes as many bytes as a
server sends. This module therefore streams the bytes through its session into a file that is kept, up to the announced
size. Nothing that a server says is believed: sizes, ranges and checksums are compared, and retries are bounded.
"""

from __future__ import annotations

import re
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import get_hf_file_metadata

from .. import bounded_json
from ..errors import FaceLiftError
from ..progress import Monitor
from .byte_progress import ByteProgress
from .catalogue import Catalogue
from .hub_connection import address, answer, endpoint, headers_for, in_thread, persistently
from .store import size_of, size_text
from .verify import SMALL_MAX, TOTAL_MARGIN

WAITS = (1.0, 2.0, 4.0, 8.0, 8.0)
"""Seconds to wait before each retry; the count is reset whenever 64 kB have arrived."""
LISTING_SECONDS = 20.0
LISTING_MAX = 4 << 20


@dataclass(frozen=True)
class Remote:
    """A file on the hub.

    Attributes:
        path: path in the repository.
        size: size in bytes.
        sha256, blob: checksum reported by the hub: of large files SHA-256, of small ones that of a Git blob (SHA-1);
            None where it reports none.
    """

    path: str
    size: int
    sha256: str | None = None
    blob: str | None = None


def list_files(catalogue: Catalogue, monitor: Monitor, waits: tuple[float, ...] = WAITS) -> dict[str, Remote]:
    """Return the catalogue's files on the hub, by path.

    Raises:
        FaceLiftError: the hub cannot be reached, denies access, or lacks a file.
        Cancelled: the run was cancelled.
    """
    hub = endpoint()
    url = f"{hub}/api/models/{catalogue.repository}/revision/{catalogue.revision}?blobs=true"

    def ask() -> bytes:
        content, end = bytearray(), time.monotonic() + LISTING_SECONDS
        with answer(url, {}) as response:
            for block in response.iter_raw():
                content += block
                if len(content) > LISTING_MAX or time.monotonic() > end:
                    raise FaceLiftError(f"{hub} does not end its list of files; check HF_ENDPOINT.")
        return bytes(content)

    listing = persistently(lambda: in_thread(ask, monitor), catalogue, catalogue.repository, 0, monitor, waits)
    try:
        siblings = bounded_json.parse(listing, LISTING_MAX)["siblings"]
        there = {entry["rfilename"]: entry for entry in siblings if entry["rfilename"] in catalogue.files}
    except (ValueError, TypeError, KeyError):
        raise FaceLiftError(
            f"{hub} did not answer with a list of files; if your network has a login page, sign in first, and "
            "check HF_ENDPOINT."
        ) from None
    if missing := [path for path in catalogue.files if path not in there]:
        raise FaceLiftError(
            f"{hub} has no {missing[0]} in {catalogue.repository} at {catalogue.revision[:12]}; "
            "the repository has changed: import a copy that was downloaded earlier."
        )

    def describe(path: str) -> Remote:
        entry = there[path]
        large = entry.get("lfs") if isinstance(entry.get("lfs"), dict) else {}
        size, checksums = entry.get("size"), (large.get("sha256"), None if large else entry.get("blobId"))
        if size is None:  # some mirrors list only names
            found = get_hf_file_metadata(address(catalogue, path), headers=headers_for(), timeout=LISTING_SECONDS)
            tag = str(found.etag)
            size, checksums = found.size, (tag if len(tag) == 64 else None, tag if len(tag) == 40 else None)
        if type(size) is not int or size < 0 or (catalogue.files[path] is None and size > SMALL_MAX):
            raise FaceLiftError(f"{hub} announces {path} with a size of {size!r:.30} bytes; check HF_ENDPOINT.")
        return Remote(path, size, *(value if isinstance(value, str) else None for value in checksums))

    def describe_all() -> dict[str, Remote]:
        return {path: describe(path) for path in catalogue.files}

    remotes = persistently(lambda: in_thread(describe_all, monitor), catalogue, catalogue.repository, 0, monitor, waits)
    total = sum(remote.size for remote in remotes.values())
    if total > TOTAL_MARGIN * catalogue.download_bytes + SMALL_MAX:
        raise FaceLiftError(
            f"{hub} announces {size_text(total)} instead of {size_text(catalogue.download_bytes)}, so nothing was "
            "downloaded; check HF_ENDPOINT."
        )
    return remotes


def fetch(
    catalogue: Catalogue,
    remote: Remote,
    part: Path,
    transfer: ByteProgress,
    waits: tuple[float, ...] = WAITS,
) -> None:
    """Download a file to `part`, resuming if `part` holds its beginning.

    Args:
        catalogue: the repository.
        remote: the file to download.
        part: where to write it.
        transfer: receives progress.
        waits: seconds to wait before each retry.

    Raises:
        FaceLiftError: as :func:`list_files`, or the disk is full. `part` is kept for the next attempt.
        Cancelled: the run was cancelled; raised within a second even if the server does not respond.
    """
    before = transfer.done

    def attempt() -> None:
        part.parent.mkdir(parents=True, exist_ok=True)
        part.touch()
        offset = max(0, size_of(part))
        if offset > remote.size:
            part.unlink()
            offset = 0
        transfer.restart(before + offset)
        if offset < remote.size:
            _receive(catalogue, remote, part, offset, transfer)

    persistently(attempt, catalogue, remote.path, remote.size, transfer.monitor, waits, lambda: size_of(part))
    transfer.restart(before + remote.size)


def _receive(catalogue: Catalogue, remote: Remote, part: Path, offset: int, transfer: ByteProgress) -> None:
    """Append the bytes after `offset` over one connection. Only a background thread waits for the network."""
    url, headers = address(catalogue, remote.path), {"Range": f"bytes={offset}-"} if offset else {}
    start, left, size = transfer.done - offset, threading.Event(), [offset]

    def receive() -> None:
        with answer(url, headers) as response:
            resumed = response.status_code == 206
            if resumed and not re.fullmatch(
                rf"bytes {offset}-\d+/({remote.size}|\*)", response.headers.get("Content-Range", "")
            ):
                raise ConnectionError("another part of the file was sent")
            if left.is_set():  # a new attempt may be writing the file by now
                return
            with part.open("ab" if resumed else "wb") as file:
                size[0] = offset if resumed else 0
                for block in response.iter_raw():
                    if left.is_set():
                        return
                    if size[0] + len(block) > remote.size:
                        file.truncate(0)
                        raise FaceLiftError(
                            f"{endpoint()} sends more of {remote.path} than the {size_text(remote.size)} that it "
                            "announced; check HF_ENDPOINT."
                        )
                    file.write(block)
                    size[0] += len(block)

    def follow() -> None:
        if start + size[0] < transfer.done:  # the server started over
            transfer.restart(start)
        transfer.advance(start + size[0] - transfer.done)

    in_thread(receive, transfer.monitor, follow, left)
    follow()
    if size[0] != remote.size:
        raise ConnectionError(f"received {size_text(size[0])} of {size_text(remote.size)}")

"""List a repository on the Hugging Face Hub, and download files with resume.

huggingface_hub handles URLs, tokens, proxies, HF_ENDPOINT and offline mode. Its own download lacks what is needed here:
it discards an unfinished file when the process ends, cannot be cancelled while it waits, and writes as many bytes as a
server sends. This module therefore streams the bytes through its session into a file that is kept, up to the announced
size. Nothing that a server says is believed: sizes, ranges and checksums are compared, and retries are bounded.
"""

from __future__ import annotations

import errno
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
from huggingface_hub import constants, get_hf_file_metadata, get_session, hf_hub_url
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled
from huggingface_hub.utils import build_hf_headers

from .. import __version__, bounded_json
from ..errors import FaceLiftError, first_line
from ..progress import Monitor
from .byte_progress import ByteProgress
from .catalogue import Catalogue
from .store import size_of, size_text
from .verify import SMALL_MAX, TOTAL_MARGIN

WAITS = (1.0, 2.0, 4.0, 8.0, 8.0)
"""Seconds to wait before each retry; the count is reset whenever :data:`PROGRESS` bytes have arrived."""
PROGRESS = 1 << 16
RETRIED = (408, 429, 500, 502, 503, 504)
RETRY_SECONDS_MAX = 60.0
LISTING_SECONDS = 20.0
LISTING_MAX = 4 << 20
TICK = 0.1


class _Refused(Exception):
    """The hub answered with an error code. The body is not read."""

    def __init__(self, response: httpx2.Response):
        super().__init__(f"error {response.status_code}")
        self.response = response


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
    endpoint = _endpoint()
    url = f"{endpoint}/api/models/{catalogue.repository}/revision/{catalogue.revision}?blobs=true"

    def ask() -> bytes:
        content, end = bytearray(), time.monotonic() + LISTING_SECONDS
        with _answer(url, {}) as response:
            for block in response.iter_raw():
                content += block
                if len(content) > LISTING_MAX or time.monotonic() > end:
                    raise FaceLiftError(f"{endpoint} does not end its list of files; check HF_ENDPOINT.")
        return bytes(content)

    listing = _persistently(lambda: _in_thread(ask, monitor), catalogue, None, monitor, waits)
    try:
        siblings = bounded_json.parse(listing, LISTING_MAX)["siblings"]
        there = {entry["rfilename"]: entry for entry in siblings if entry["rfilename"] in catalogue.files}
    except (ValueError, TypeError, KeyError):
        raise FaceLiftError(
            f"{endpoint} did not answer with a list of files; if your network has a login page, sign in first, and "
            "check HF_ENDPOINT."
        ) from None
    if missing := [path for path in catalogue.files if path not in there]:
        raise FaceLiftError(
            f"{endpoint} has no {missing[0]} in {catalogue.repository} at {catalogue.revision[:12]}; "
            "the repository has changed: import a copy that was downloaded earlier."
        )

    def describe(path: str) -> Remote:
        entry = there[path]
        large = entry.get("lfs") if isinstance(entry.get("lfs"), dict) else {}
        size, checksums = entry.get("size"), (large.get("sha256"), None if large else entry.get("blobId"))
        if size is None:  # some mirrors list only names
            found = get_hf_file_metadata(_address(catalogue, path), headers=_headers(), timeout=LISTING_SECONDS)
            tag = str(found.etag)
            size, checksums = found.size, (tag if len(tag) == 64 else None, tag if len(tag) == 40 else None)
        if type(size) is not int or size < 0 or (catalogue.files[path] is None and size > SMALL_MAX):
            raise FaceLiftError(f"{endpoint} announces {path} with a size of {size!r:.30} bytes; check HF_ENDPOINT.")
        return Remote(path, size, *(value if isinstance(value, str) else None for value in checksums))

    def describe_all() -> dict[str, Remote]:
        return {path: describe(path) for path in catalogue.files}

    remotes = _persistently(lambda: _in_thread(describe_all, monitor), catalogue, None, monitor, waits)
    total = sum(remote.size for remote in remotes.values())
    if total > TOTAL_MARGIN * catalogue.download_bytes + SMALL_MAX:
        raise FaceLiftError(
            f"{endpoint} announces {size_text(total)} instead of {size_text(catalogue.download_bytes)}, so nothing was "
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

    _persistently(attempt, catalogue, remote, transfer.monitor, waits, lambda: size_of(part))
    transfer.restart(before + remote.size)


def _endpoint() -> str:
    """Return the URL of the hub, or of the mirror set by HF_ENDPOINT.

    Raises:
        FaceLiftError: HF_ENDPOINT is not a URL.
    """
    address = os.environ.get("HF_ENDPOINT", "").rstrip("/") or constants.ENDPOINT
    if not re.match(r"https?://[^/]", address):
        raise FaceLiftError(f"HF_ENDPOINT is “{address}”, but must be a URL such as https://huggingface.co.")
    return address


def _address(catalogue: Catalogue, path: str) -> str:
    return hf_hub_url(catalogue.repository, path, revision=catalogue.revision, endpoint=_endpoint())


def _headers() -> dict[str, str]:
    """Return the request headers, with the user's token if there is one."""
    return build_hf_headers(library_name="facelift-blender", library_version=__version__)


@contextmanager
def _answer(url: str, headers: dict[str, str]) -> Iterator[httpx2.Response]:
    """Context manager that asks for a URL and yields the answer, whose body has not been read.

    Raises:
        _Refused: the answer is an error.
        FaceLiftError: the answer is compressed, although that was not allowed.
    """
    headers = {**_headers(), "Accept-Encoding": "identity", **headers}
    with get_session().stream(
        "GET", url, headers=headers, timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT, follow_redirects=True
    ) as response:
        if response.status_code not in (200, 206):
            raise _Refused(response)
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise FaceLiftError(f"{_endpoint()} sends compressed files, which cannot be resumed; check HF_ENDPOINT.")
        yield response


def _receive(catalogue: Catalogue, remote: Remote, part: Path, offset: int, transfer: ByteProgress) -> None:
    """Append the bytes after `offset` over one connection. Only a background thread waits for the network."""
    url, headers = _address(catalogue, remote.path), {"Range": f"bytes={offset}-"} if offset else {}
    start, left, size = transfer.done - offset, threading.Event(), [offset]

    def receive() -> None:
        with _answer(url, headers) as response:
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
                            f"{_endpoint()} sends more of {remote.path} than the {size_text(remote.size)} that it "
                            "announced; check HF_ENDPOINT."
                        )
                    file.write(block)
                    size[0] += len(block)

    def follow() -> None:
        if start + size[0] < transfer.done:  # the server started over
            transfer.restart(start)
        transfer.advance(start + size[0] - transfer.done)

    _in_thread(receive, transfer.monitor, follow, left)
    follow()
    if size[0] != remote.size:
        raise ConnectionError(f"received {size_text(size[0])} of {size_text(remote.size)}")


def _in_thread(
    work: Callable[[], Any],
    monitor: Monitor,
    follow: Callable[[], None] | None = None,
    left: threading.Event | None = None,
) -> Any:
    """Run `work` in a thread and return its result or raise its error; meanwhile report progress and check for cancel.

    On cancellation the thread is abandoned with `left` set; it ends at its next byte or timeout.
    """
    outcome: list[Any] = []

    def run() -> None:
        try:
            outcome.append((work(), None))
        except BaseException as error:
            outcome.append((None, error))

    thread = threading.Thread(target=run, name="FaceLift download", daemon=True)
    thread.start()
    try:
        while thread.is_alive():
            thread.join(TICK)
            follow() if follow else monitor.check()
    except BaseException:
        if left is not None:
            left.set()
        raise
    result, error = outcome[0]
    if error is not None:
        raise error
    return result


def _persistently(
    attempt: Callable[[], Any],
    catalogue: Catalogue,
    remote: Remote | None,
    monitor: Monitor,
    waits: tuple[float, ...],
    progress: Callable[[], int] = lambda: 0,
) -> Any:
    """Retry `attempt` until it succeeds, fails permanently, or fails after ``len(waits)`` retries without progress."""
    failures, reached = 0, 0
    while True:
        try:
            return attempt()
        except FaceLiftError:
            raise
        except Exception as error:  # what a hostile answer can cause has no end
            if not _passes(error):
                raise FaceLiftError(_sentence(error, catalogue, remote)) from None
            now = progress()
            if now >= reached + PROGRESS:
                failures, reached = 0, now
            if failures >= len(waits):
                raise FaceLiftError(_sentence(error, catalogue, remote)) from None
            _wait(max(waits[failures], _retry_after(error)), monitor)
            failures += 1


def _wait(seconds: float, monitor: Monitor) -> None:
    end = time.monotonic() + seconds
    while (remaining := end - time.monotonic()) > 0:
        monitor.check()
        time.sleep(min(TICK, remaining))


def _passes(error: Exception) -> bool:
    """Return whether a retry may help."""
    if isinstance(error, OfflineModeIsEnabled):
        return False
    if isinstance(error, HfHubHTTPError | _Refused):
        return error.response.status_code in RETRIED
    return isinstance(error, httpx2.HTTPError | ConnectionError | TimeoutError)


def _retry_after(error: Exception) -> float:
    """Return the seconds given by the server's Retry-After header, within bounds; 0 if there is none."""
    try:
        seconds = float(error.response.headers["Retry-After"])
    except (AttributeError, KeyError, ValueError, TypeError):
        return 0.0
    return min(RETRY_SECONDS_MAX, seconds) if seconds > 0 else 0.0


def _sentence(error: Exception, catalogue: Catalogue, remote: Remote | None) -> str:
    """Explain what went wrong and what to do, in one sentence."""
    endpoint, what = _endpoint(), remote.path if remote else catalogue.repository
    if isinstance(error, OfflineModeIsEnabled):
        return "Downloads are disabled by HF_HUB_OFFLINE; unset it, or import a copy downloaded elsewhere."
    if isinstance(error, HfHubHTTPError | _Refused):
        code = error.response.status_code
        if code == 401:
            return (
                f"{endpoint} requires a valid token for {what} (401); set HF_TOKEN to a token of your account, or "
                "unset it if it has expired."
            )
        if code == 403:
            return (
                f"{endpoint} denies this account or network access to {what} (403); request access at "
                f"{catalogue.page}, or import a copy that you downloaded manually."
            )
        if code == 404:
            return (
                f"{endpoint} has no {what} at revision {catalogue.revision[:12]} (404); check HF_ENDPOINT, or import a "
                "copy that you downloaded manually."
            )
        return f"{endpoint} returned error {code} for {what}; try again later to resume the download."
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return (
            f"The disk is full: {what} needs {size_text(remote.size if remote else 0)}; free some space and start "
            "again to resume the download."
        )
    if isinstance(error, OSError) and error.errno is not None and not isinstance(error, ConnectionError):
        return f"Cannot write {what}: {error.strerror}."
    reason = first_line(error).rstrip(".")
    return f"The connection to {endpoint} failed ({reason}); check your network and start again to resume the download."

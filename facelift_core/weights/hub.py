"""One repository on the hub: its listing, and files that go on where an earlier attempt stopped.

huggingface_hub knows the addresses, the token, proxies, the mirror of HF_ENDPOINT and the offline switch. Its own
download deletes an unfinished file with the process, which for gigabytes on a slow line means never arriving: so the
bytes are taken from its session here, into a file that stays.
"""

from __future__ import annotations

import errno
import os
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
from huggingface_hub import HfApi, constants, get_hf_file_metadata, get_session, hf_hub_url
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled
from huggingface_hub.utils import build_hf_headers, hf_raise_for_status

from .. import __version__
from ..errors import FaceLiftError
from ..progress import Monitor
from .byte_progress import Transfer
from .catalogue import Catalogue
from .store import size_of, size_text

WAITS = (1.0, 2.0, 4.0, 8.0, 8.0)
"""Seconds before each attempt after a failed one; counted anew whenever bytes arrive."""
RETRIED = (408, 429, 500, 502, 503, 504)
LISTING_SECONDS = 20.0
TICK = 0.1


@dataclass(frozen=True)
class Remote:
    """A file on the hub.

    Attributes:
        path: in the repository.
        size: in bytes.
        sha256: as the hub tells it; None for small files.
    """

    path: str
    size: int
    sha256: str | None


def list_files(catalogue: Catalogue, monitor: Monitor, waits: tuple[float, ...] = WAITS) -> dict[str, Remote]:
    """The catalogue's files as the hub has them, by path.

    Raises:
        FaceLiftError: the hub cannot be reached, refuses, or lacks one of them; with what to do.
        Cancelled: the monitor's caller wants to stop.
    """
    endpoint = _endpoint()

    def ask() -> Any:
        api = HfApi(endpoint=endpoint, library_name="facelift-blender", library_version=__version__)
        return api.model_info(
            catalogue.repository, revision=catalogue.revision, files_metadata=True, timeout=LISTING_SECONDS
        )

    info = _persistently(lambda: _in_thread(ask, monitor), catalogue, None, monitor, waits)
    there = {entry.rfilename: entry for entry in info.siblings or []}
    if missing := [path for path in catalogue.files if path not in there]:
        raise FaceLiftError(
            f"{endpoint} has no {missing[0]} in {catalogue.repository} at {catalogue.revision[:12]}; "
            "its authors or this mirror have changed it: import a copy that somebody else has downloaded."
        )

    def describe(path: str) -> Remote:
        entry, size = there[path], there[path].size
        if size is None:  # some mirrors list names alone
            size = get_hf_file_metadata(_address(catalogue, path), headers=_headers()).size or 0
        return Remote(path, size, entry.lfs.sha256 if entry.lfs else None)

    def describe_all() -> dict[str, Remote]:
        return {path: describe(path) for path in catalogue.files}

    return _persistently(lambda: _in_thread(describe_all, monitor), catalogue, None, monitor, waits)


def fetch(
    catalogue: Catalogue,
    remote: Remote,
    part: Path,
    transfer: Transfer,
    waits: tuple[float, ...] = WAITS,
) -> None:
    """Bring the rest of a file into `part`, which may hold its beginning from an earlier attempt.

    Raises:
        FaceLiftError: as :func:`list_files`, or the disk is full; `part` stays, to go on from.
        Cancelled: within a second, also where the server is silent.
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
    """The hub, or the mirror that HF_ENDPOINT names.

    Raises:
        FaceLiftError: that is no address.
    """
    address = os.environ.get("HF_ENDPOINT", "").rstrip("/") or constants.ENDPOINT
    if not re.match(r"https?://[^/]", address):
        raise FaceLiftError(f"HF_ENDPOINT is “{address}”, but should be an address such as https://huggingface.co.")
    return address


def _address(catalogue: Catalogue, path: str) -> str:
    return hf_hub_url(catalogue.repository, path, revision=catalogue.revision, endpoint=_endpoint())


def _headers() -> dict[str, str]:
    """With the person's token, if there is one."""
    return build_hf_headers(library_name="facelift-blender", library_version=__version__)


def _receive(catalogue: Catalogue, remote: Remote, part: Path, offset: int, transfer: Transfer) -> None:
    """One connection: append what comes after `offset`; the thread alone waits for the network."""
    url, headers = _address(catalogue, remote.path), {**_headers(), "Accept-Encoding": "identity"}
    if offset:
        headers["Range"] = f"bytes={offset}-"
    start, left, size = transfer.done - offset, threading.Event(), [offset]

    def receive() -> None:
        timeout = constants.HF_HUB_DOWNLOAD_TIMEOUT
        with get_session().stream("GET", url, headers=headers, timeout=timeout) as response:
            if response.status_code >= 400:
                response.read()
            hf_raise_for_status(response)
            resumed = response.status_code == 206
            if left.is_set():  # another one may have the file by now
                return
            with part.open("ab" if resumed else "wb") as file:
                size[0] = offset if resumed else 0
                for block in response.iter_bytes():
                    if left.is_set():
                        return
                    file.write(block)
                    size[0] += len(block)

    def follow() -> None:
        if start + size[0] < transfer.done:  # the server began anew
            transfer.restart(start)
        transfer.advance(start + size[0] - transfer.done)

    _in_thread(receive, transfer.monitor, follow, left)
    follow()
    if size[0] != remote.size:
        if size[0] > remote.size:
            part.unlink()
        raise ConnectionError(f"{size_text(size[0])} of {size_text(remote.size)} came")


def _in_thread(
    work: Callable[[], Any],
    monitor: Monitor,
    follow: Callable[[], None] | None = None,
    left: threading.Event | None = None,
) -> Any:
    """What `work` returns or raises, while this thread looks after progress and cancelling.

    A cancelled `work` is left alone with `left` set; it ends at its next byte or timeout.
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
    """Attempt until it succeeds, fails for good, or has failed ``len(waits)`` times without any `progress`."""
    failures, reached = 0, 0
    while True:
        try:
            return attempt()
        except (httpx2.HTTPError, OSError) as error:
            if not _passes(error):
                raise FaceLiftError(_sentence(error, catalogue, remote)) from None
            now = progress()
            if now > reached:
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
    """Whether trying again may help."""
    if isinstance(error, OfflineModeIsEnabled):
        return False
    if isinstance(error, HfHubHTTPError):
        return error.response.status_code in RETRIED
    return isinstance(error, httpx2.HTTPError | ConnectionError | TimeoutError)


def _retry_after(error: Exception) -> float:
    """Seconds that the server asks for; at most a minute."""
    try:
        return min(60.0, float(error.response.headers["Retry-After"]))
    except (AttributeError, KeyError, ValueError, TypeError):
        return 0.0


def _sentence(error: Exception, catalogue: Catalogue, remote: Remote | None) -> str:
    """What went wrong and what to do, in one sentence."""
    endpoint, what = _endpoint(), remote.path if remote else catalogue.repository
    if isinstance(error, OfflineModeIsEnabled):
        return "Downloads are switched off by HF_HUB_OFFLINE; unset it, or import a copy downloaded elsewhere."
    if isinstance(error, HfHubHTTPError):
        code = error.response.status_code
        if code == 401:
            return (
                f"{endpoint} does not give {what} without a valid token (401); set HF_TOKEN to a token of your "
                "account, or unset it if it has expired."
            )
        if code == 403:
            return (
                f"{endpoint} refuses {what} to this account or network (403); ask for access at {catalogue.page}, or "
                "import a copy downloaded by hand."
            )
        if code == 404:
            return (
                f"{endpoint} has no {what} at revision {catalogue.revision[:12]} (404); check HF_ENDPOINT, or import a "
                "copy downloaded by hand."
            )
        return f"{endpoint} fails at {what} ({code}); try again later, the download goes on where it stopped."
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return (
            f"The disk is full: {size_text(remote.size if remote else 0)} are needed for {what}; make room and start "
            "again, the download goes on where it stopped."
        )
    if isinstance(error, OSError) and error.errno is not None and not isinstance(error, ConnectionError):
        return f"Cannot write {what}: {error.strerror}."
    reason = str(error).strip().splitlines()[0].rstrip(".") if str(error).strip() else type(error).__name__
    return (
        f"The connection to {endpoint} failed ({reason}); check the network and start again, the download goes on "
        "where it stopped."
    )

"""Connections to the hub: requests with a token, retries, and errors as one sentence each."""

from __future__ import annotations

import errno
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx2
from huggingface_hub import constants, get_session, hf_hub_url
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled
from huggingface_hub.utils import build_hf_headers

from .. import __version__
from ..errors import Cancelled, FaceLiftError, first_line
from ..progress import Monitor
from .catalogue import Catalogue
from .store import size_text

PROGRESS = 1 << 16
"""Bytes that an attempt must bring for the count of retries to start again."""
RETRIED = (408, 429, 500, 502, 503, 504)
RETRY_SECONDS_MAX = 60.0
TICK = 0.1


class _Refused(Exception):
    """The hub answered with an error code. The body is not read."""

    def __init__(self, response: httpx2.Response):
        super().__init__(f"error {response.status_code}")
        self.response = response


def endpoint() -> str:
    """Return the URL of the hub, or of the mirror set by HF_ENDPOINT.

    Raises:
        FaceLiftError: HF_ENDPOINT is not a URL.
    """
    url = os.environ.get("HF_ENDPOINT", "").rstrip("/") or constants.ENDPOINT
    if not re.match(r"https?://[^/]", url):
        raise FaceLiftError(f"HF_ENDPOINT is “{url}”, but must be a URL such as https://huggingface.co.")
    return url


def address(catalogue: Catalogue, path: str) -> str:
    return hf_hub_url(catalogue.repository, path, revision=catalogue.revision, endpoint=endpoint())


def headers_for() -> dict[str, str]:
    """Return the request headers, with the user's token if there is one."""
    return build_hf_headers(library_name="facelift-blender", library_version=__version__)


@contextmanager
def answer(url: str, headers: dict[str, str]) -> Iterator[httpx2.Response]:
    """Context manager that asks for a URL and yields the answer, whose body has not been read.

    Raises:
        _Refused: the answer is an error.
        FaceLiftError: the answer is compressed, although that was not allowed.
    """
    headers = {**headers_for(), "Accept-Encoding": "identity", **headers}
    with get_session().stream(
        "GET", url, headers=headers, timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT, follow_redirects=True
    ) as response:
        if response.status_code not in (200, 206):
            raise _Refused(response)
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise FaceLiftError(f"{endpoint()} sends compressed files, which cannot be resumed; check HF_ENDPOINT.")
        yield response


def in_thread(
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


def persistently(
    attempt: Callable[[], Any],
    catalogue: Catalogue,
    what: str,
    needed: int,
    monitor: Monitor,
    waits: tuple[float, ...],
    progress: Callable[[], int] = lambda: 0,
) -> Any:
    """Retry `attempt` until it succeeds, fails permanently, or fails after ``len(waits)`` retries without progress."""
    failures, reached = 0, 0
    while True:
        try:
            return attempt()
        except (FaceLiftError, Cancelled):
            raise
        except Exception as error:  # what a hostile answer can cause has no end
            if not _passes(error):
                raise FaceLiftError(_sentence(error, catalogue, what, needed)) from None
            now = progress()
            if now >= reached + PROGRESS:
                failures, reached = 0, now
            if failures >= len(waits):
                raise FaceLiftError(_sentence(error, catalogue, what, needed)) from None
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


def _sentence(error: Exception, catalogue: Catalogue, what: str, needed: int) -> str:
    """Explain what went wrong and what to do, in one sentence."""
    hub = endpoint()
    if isinstance(error, OfflineModeIsEnabled):
        return "Downloads are disabled by HF_HUB_OFFLINE; unset it, or import a copy downloaded elsewhere."
    if isinstance(error, HfHubHTTPError | _Refused):
        code = error.response.status_code
        if code == 401:
            return (
                f"{hub} requires a valid token for {what} (401); set HF_TOKEN to a token of your account, or "
                "unset it if it has expired."
            )
        if code == 403:
            return (
                f"{hub} denies this account or network access to {what} (403); request access at "
                f"{catalogue.page}, or import a copy that you downloaded manually."
            )
        if code == 404:
            return (
                f"{hub} has no {what} at revision {catalogue.revision[:12]} (404); check HF_ENDPOINT, or import a "
                "copy that you downloaded manually."
            )
        return f"{hub} returned error {code} for {what}; try again later to resume the download."
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return (
            f"The disk is full: {what} needs {size_text(needed)}; free some space and start "
            "again to resume the download."
        )
    if isinstance(error, OSError) and error.errno is not None and not isinstance(error, ConnectionError):
        return f"Cannot write {what}: {error.strerror}."
    reason = first_line(error).rstrip(".")
    return f"The connection to {hub} failed ({reason}); check your network and start again to resume the download."

"""Write a head's files while the next head is computed."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Event
from types import TracebackType

from ..errors import Cancelled

Write = Callable[[Callable[[], None]], None]
"""Writes files. Calls its argument often, which raises Cancelled if the program ends."""


class Saver:
    """Runs one :data:`Write` at a time in a thread. A context manager, which waits for the last one at its end.

    At an error or Ctrl-C within it, the current write is stopped, which leaves no unfinished file behind.
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, "save")
        self._stop = Event()
        self._last: tuple[Future[None], Callable[[Exception | None], None]] | None = None

    def save(self, write: Write, done: Callable[[Exception | None], None]) -> None:
        """Start `write`, after the one before it has finished.

        Args:
            done: called in the calling thread, by the next :meth:`save` or at the end, with the error or None.
        """
        self.finish()
        self._last = self._pool.submit(write, self._check), done

    def finish(self) -> None:
        """Wait for the current write."""
        if self._last is not None:
            (future, done), self._last = self._last, None
            error = future.exception()
            if error is not None and not isinstance(error, Exception):
                raise error
            done(error)

    def __enter__(self) -> Saver:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None):
        try:
            if error is None:
                self.finish()
        finally:
            self._stop.set()
            self._pool.shutdown(wait=True, cancel_futures=True)

    def _check(self) -> None:
        if self._stop.is_set():
            raise Cancelled

"""Client for the worker: start it, send requests, receive events. Needs only the standard library."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from .launch import Process, command
from .protocol import Event, decode

LINE_MAX = 1 << 16
FOREIGN_LINES_MAX = 1000
LAST_WORDS = 20
"""Lines of the worker's standard error that are kept to say why it ended."""


class WorkerEnded(Exception):
    """The worker has exited. ``str(error)`` tells the user why."""


class Worker:
    """A running :mod:`facelift_core.jobs.worker`. Use it from one thread; a background thread reads its output.

    Args:
        python: the Python to run it with.
        offline: keep its libraries off the network; None leaves that to the user's HF_HUB_OFFLINE.

    Raises:
        WorkerEnded: the worker cannot be started.
    """

    def __init__(self, python: Path, offline: bool | None = True):
        arguments = command(python, "jobs.worker")
        # For a download (None), only the user's own setting may keep it offline.
        changes = {} if offline is not None else {"HF_HUB_OFFLINE": os.environ.get("HF_HUB_OFFLINE", "0")}
        self._lines: queue.Queue[bytes | None] = queue.Queue(FOREIGN_LINES_MAX)
        self._words: deque[bytes] = deque(maxlen=LAST_WORDS)
        self._foreign = 0
        try:
            streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
            self._process = Process(arguments, offline, changes, **streams)
        except OSError as error:
            raise WorkerEnded(f"Cannot start {arguments[0]}: {error.strerror or error}.") from None
        self._ears = [
            threading.Thread(target=_hear, args=(self._process.stdout, self._lines.put, self._lines), daemon=True),
            threading.Thread(target=_hear, args=(self._process.stderr, self._words.append), daemon=True),
        ]
        for ear in self._ears:
            ear.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def request(self, kind: str, job: str, request: Mapping[str, Any]) -> None:
        """Start a job. `request` is the ``asdict`` of its request. Raises WorkerEnded if the worker has exited."""
        self._send({"do": kind, "job": job, "request": dict(request)})

    def cancel(self, job: str) -> None:
        """Cancel a job. Raises WorkerEnded if the worker has exited."""
        self._send({"do": "cancel", "job": job})

    def receive(self, seconds: float) -> tuple[str, Event] | None:
        """Return the next event and its job's ID, or None if there is none within `seconds`.

        Raises:
            WorkerEnded: the worker has exited, or its output does not follow the protocol.
        """
        try:
            line = self._lines.get(timeout=seconds)
        except queue.Empty:
            return None
        if line is None:
            self._lines.put(None)  # for the next call
            raise WorkerEnded(self._cause_of_end())
        if (message := decode(line)) is not None:
            return message
        self._foreign += 1
        if self._foreign > FOREIGN_LINES_MAX or len(line) >= LINE_MAX:
            self.kill()
            raise WorkerEnded("The output of this Python was not understood; choose another Python.")
        return None

    def stop(self, seconds: float) -> None:
        """Let the worker exit by itself, and kill it after `seconds`."""
        with suppress(OSError):
            self._process.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
        self.kill()

    def kill(self) -> None:
        self._process.end()
        with suppress(OSError):
            self._process.stdin.close()
        with suppress(queue.Empty):  # lets go of the thread that waits for room
            while True:
                self._lines.get_nowait()
        self._lines.put(None)

    def _send(self, message: Mapping[str, Any]) -> None:
        try:
            self._process.stdin.write(json.dumps(message).encode() + b"\n")
            self._process.stdin.flush()
        except (OSError, ValueError):
            raise WorkerEnded(self._cause_of_end()) from None

    def _cause_of_end(self) -> str:
        try:
            code = self._process.wait(2)
        except subprocess.TimeoutExpired:
            self.kill()
            return "The worker stopped responding and was killed."
        if code in (-9, 137):
            return "The worker was killed by the system, most likely because memory ran out; close other programs."
        self._ears[1].join(1.0)
        words = [text for line in list(self._words) if (text := line.decode(errors="replace").strip())]
        return f"The worker exited unexpectedly (exit code {code})" + (f": {words[-1]}" if words else ".")


def _hear(stream: IO[bytes], each: Callable[[bytes], None], end: queue.Queue[bytes | None] | None = None) -> None:
    """Call `each` with every line of a stream, in pieces of at most :data:`LINE_MAX`; then put None into `end`."""
    with stream:
        while line := stream.readline(LINE_MAX):
            each(line)
    if end is not None:
        end.put(None)

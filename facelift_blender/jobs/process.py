"""The worker process as seen from Blender: started, spoken to, ended; see :mod:`facelift_core.jobs.worker`."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import tempfile
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from facelift_core.environment import launch as _launch

command, environment, apart = _launch.command, _launch.environment, _launch.apart

LINE_MAX = 1 << 20
GARBAGE_MAX = 1000
WORDS_MAX = 4000


class WorkerEnded(Exception):
    """The process is gone; ``str`` says why, for people."""


class Worker:
    """A running worker process. One thread speaks to it; a second one only reads its lines.

    Raises:
        WorkerEnded: it cannot be started.
    """

    def __init__(self, arguments: Sequence[str], env: Mapping[str, str]):
        self._errors = tempfile.TemporaryFile()
        self._lines: queue.Queue[bytes | None] = queue.Queue()
        self._garbage = 0
        try:
            self._process = subprocess.Popen(
                arguments,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                env=dict(env),
                cwd=tempfile.gettempdir(),
                **apart(),
            )
        except OSError as error:
            self._errors.close()
            raise WorkerEnded(f"Cannot start {arguments[0]}: {error.strerror or error}.") from None
        threading.Thread(target=self._read, name="FaceLift worker's lines", daemon=True).start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def send(self, message: Mapping[str, Any]) -> None:
        """Raises WorkerEnded if nobody reads it."""
        try:
            self._process.stdin.write(json.dumps(message).encode() + b"\n")
            self._process.stdin.flush()
        except (OSError, ValueError):
            raise WorkerEnded(self._obituary()) from None

    def receive(self, seconds: float) -> dict[str, Any] | None:
        """The next event, or None if there is none within `seconds`.

        Raises:
            WorkerEnded: there will be none, or what comes is not from a worker of ours.
        """
        try:
            line = self._lines.get(timeout=seconds)
        except queue.Empty:
            return None
        if line is None:
            self._lines.put(None)  # for the next one who asks
            raise WorkerEnded(self._obituary())
        try:
            event = json.loads(line)
        except ValueError:
            event = None
        if isinstance(event, dict) and isinstance(event.get("event"), str):
            return event
        self._garbage += 1
        if self._garbage > GARBAGE_MAX or len(line) >= LINE_MAX:
            self.kill()
            raise WorkerEnded("The runtime's Python answers with something that is not FaceLift's; choose another one.")
        return None

    def stop(self, seconds: float) -> None:
        """Let it end by itself, but not longer than `seconds`."""
        try:
            self._process.stdin.close()
        except OSError:
            pass
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            pass
        self.kill()

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        try:
            self._process.stdin.close()
        except OSError:
            pass

    def last_words(self) -> str:
        """The end of what it wrote to stderr."""
        if self._errors.closed:
            return ""
        end = self._errors.seek(0, os.SEEK_END)
        self._errors.seek(max(0, end - WORDS_MAX))
        return self._errors.read().decode(errors="replace").strip()

    def _read(self) -> None:
        with self._process.stdout as lines:
            while line := lines.readline(LINE_MAX):
                self._lines.put(line)
        self._lines.put(None)

    def _obituary(self) -> str:
        try:
            code = self._process.wait(2)
        except subprocess.TimeoutExpired:
            self.kill()
            return "The worker stopped answering and was ended."
        words = self.last_words().splitlines()
        if code in (-9, 137):
            return "The worker was killed by the system, most likely because memory ran out; close other programs."
        return f"The worker ended unexpectedly (exit code {code})" + (f": {words[-1].strip()}" if words else ".")

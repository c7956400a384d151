"""Client for the worker: start it, send requests, receive events. Needs only the standard library."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import tempfile
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from .launch import apart, command, environment
from .protocol import Event, decode

LINE_MAX = 1 << 20
FOREIGN_LINES_MAX = 1000
STDERR_MAX = 4000


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
        env = environment(offline)
        if offline is None:  # a download was requested, so only the user's own setting may keep it offline
            env.setdefault("HF_HUB_OFFLINE", "0")
        self._stderr = tempfile.TemporaryFile()
        self._lines: queue.Queue[bytes | None] = queue.Queue()
        self._foreign = 0
        try:
            self._process = subprocess.Popen(
                arguments,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._stderr,
                env=env,
                cwd=tempfile.gettempdir(),
                **apart(),
            )
        except OSError as error:
            self._stderr.close()
            raise WorkerEnded(f"Cannot start {arguments[0]}: {error.strerror or error}.") from None
        threading.Thread(target=self._read, name="FaceLift worker's lines", daemon=True).start()

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
            raise WorkerEnded("The output of the runtime's Python was not understood; choose another Python.")
        return None

    def stop(self, seconds: float) -> None:
        """Let the worker exit by itself, and kill it after `seconds`."""
        with suppress(OSError):
            self._process.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
        self.kill()

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        with suppress(OSError):
            self._process.stdin.close()

    def _send(self, message: Mapping[str, Any]) -> None:
        try:
            self._process.stdin.write(json.dumps(message).encode() + b"\n")
            self._process.stdin.flush()
        except (OSError, ValueError):
            raise WorkerEnded(self._cause_of_end()) from None

    def _read(self) -> None:
        with self._process.stdout as lines:
            while line := lines.readline(LINE_MAX):
                self._lines.put(line)
        self._lines.put(None)

    def _cause_of_end(self) -> str:
        try:
            code = self._process.wait(2)
        except subprocess.TimeoutExpired:
            self.kill()
            return "The worker stopped responding and was killed."
        if code in (-9, 137):
            return "The worker was killed by the system, most likely because memory ran out; close other programs."
        lines = self._stderr_end().splitlines()
        return f"The worker exited unexpectedly (exit code {code})" + (f": {lines[-1].strip()}" if lines else ".")

    def _stderr_end(self) -> str:
        if self._stderr.closed:
            return ""
        end = self._stderr.seek(0, os.SEEK_END)
        self._stderr.seek(max(0, end - STDERR_MAX))
        return self._stderr.read().decode(errors="replace").strip()

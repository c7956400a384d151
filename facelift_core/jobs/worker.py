"""The worker: a process that runs jobs for another program. :mod:`facelift_core.processes.protocol` has the messages.

    python -m facelift_core.jobs.worker             run jobs until stdin is closed
    python -m facelift_core.jobs.worker --check     print as JSON whether this Python can run FaceLift, and exit

Jobs run one after the other, except that cut-outs run concurrently in threads. Images and heads are written to files.
Models stay loaded between jobs. The worker exits when stdin is closed or its parent has gone, so it never outlives the
program that started it, even if that program crashes.
"""

from __future__ import annotations

import faulthandler
import json
import os
import queue
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import IO, Any

from .. import bounded_json
from ..compute.threads import share_cores
from ..diagnostics import collect, quiet_libraries
from ..processes.protocol import VERSION, Event, Log, Ready, encode
from . import handlers
from .reconstruct import LOADING, Models

NICENESS = 5
AUTOGROUP = Path("/proc/self/autogroup")
"""Linux desktops schedule each session as a group, and niceness applies only within a group. The worker leads its own
session, whose group has its own niceness."""
SECONDS_TO_END = 5.0
"""Time for the current job to stop after stdin has closed; then the process exits in any case."""
WATCH_SECONDS = 1.0
LINE_MAX = 1 << 16


@dataclass
class _Inbox:
    """State shared by the thread that reads stdin and the thread that runs jobs.

    Attributes:
        beside: called with each request for a concurrent job.
        refuse: called with a sentence about each line that is not a message.
    """

    beside: Callable[[dict[str, Any]], None]
    refuse: Callable[[str], None]
    messages: queue.Queue[dict[str, Any] | None] = field(default_factory=queue.Queue)
    cancelled: set[str] = field(default_factory=set)
    closed: threading.Event = field(default_factory=threading.Event)

    def read(self, stream: IO[bytes]) -> None:
        """Take every line until the stream ends."""
        try:
            while line := stream.readline(LINE_MAX):
                piece = line
                while not piece.endswith(b"\n") and (piece := stream.readline(LINE_MAX)):
                    line = b" " * (LINE_MAX + 1)  # too long, so what follows is skipped
                self._take(line)
        finally:
            self.end()

    def watch(self) -> None:
        """End this process when the other side has gone, whatever the other threads do."""
        parent = os.getppid()
        while not self.closed.wait(WATCH_SECONDS) and os.getppid() == parent:
            pass
        self.end()
        # Its own thread in C, which needs no lock of Python's and also ends an interpreter that is shutting down.
        faulthandler.dump_traceback_later(SECONDS_TO_END, exit=True, file=open(os.devnull, "w"))

    def end(self) -> None:
        self.closed.set()
        self.messages.put(None)

    def _take(self, line: bytes) -> None:
        try:
            message = bounded_json.parse(line, LINE_MAX)
        except ValueError as error:
            self.refuse(f"A request was not understood: it is {error}.")
            return
        if not isinstance(message, dict):
            self.refuse("A request was not understood: it is not a JSON object.")
        elif message.get("do") == "cancel":
            self.cancelled.add(str(message.get("job")))
        elif message.get("do") == "cutout":
            self.beside(message)
        else:
            self.messages.put(message)


def main() -> int:
    out = _own_stdout()
    share_cores()
    quiet_libraries()
    if sys.argv[1:2] == ["--check"]:
        out.write(json.dumps(check(sys.argv[2:])))
        out.flush()
        return 0
    _lower_priority()
    lock = threading.Lock()

    def send(event: Event, job: str = "") -> None:
        line = encode(event, job) + "\n"
        try:
            with lock:
                out.write(line)
                out.flush()
        except BrokenPipeError:  # the reader has exited
            os._exit(0)  # skips Python's attempt to flush into the broken pipe

    models = Models()

    def beside(message: dict[str, Any]) -> None:
        # A cut-out is quick and interactive, so it must not wait for the reconstruction of another head.
        threading.Thread(target=lambda: _work(message, send, inbox, models), daemon=True).start()

    inbox = _Inbox(beside, lambda sentence: send(Log(sentence)))
    send(Ready(VERSION, os.getpid()))
    threading.Thread(target=inbox.watch, name="watchdog", daemon=True).start()
    threading.Thread(target=inbox.read, args=(sys.stdin.buffer,), name="stdin", daemon=True).start()
    while (message := inbox.messages.get()) is not None:
        if message.get("do") == "release":
            models.release()
        else:
            _work(message, send, inbox, models)
    # A normal exit would tear down PyTorch, which takes its time and must not happen while threads use it.
    os._exit(0)


def check(weights: list[str]) -> dict[str, Any]:
    """Return the report of :func:`.diagnostics.collect`, with a ``problem`` if this Python cannot reconstruct."""
    problem = None
    try:
        import_module("..pipeline", __package__)  # imports everything that a reconstruction needs
    except Exception as error:
        problem = f"{type(error).__name__}: {error}"
    return {**collect(weights), "problem": problem}


def _work(message: dict[str, Any], send: Callable[[Event, str], None], inbox: _Inbox, models: Models) -> None:
    kind, job = str(message.get("do")), str(message.get("job"))
    if kind == "reconstruct":
        send(LOADING, job)  # before the slow imports
    with suppress(Exception):  # the handler will report the error
        _import(kind)
    send(
        handlers.run(
            kind,
            message.get("request"),
            lambda event: send(event, job),
            lambda: job in inbox.cancelled or inbox.closed.is_set(),
            models,
        ),
        job,
    )


_importing = threading.Lock()


def _import(kind: str) -> None:
    """Import the modules that `kind` needs, one thread at a time: concurrent imports may see partial modules."""
    needed = {
        "cutout": "align",
        "reconstruct": "pipeline",
        "mesh": "mesh.head_mesh",
        "track": "animation.tracking",
    }.get(kind)
    with _importing:
        if needed is not None:
            import_module(f"..{needed}", __package__)


def _lower_priority() -> None:
    """Lower this process's priority, so that the program in the foreground stays responsive."""
    if not hasattr(os, "nice"):
        return  # on Windows, the parent sets the priority
    with suppress(OSError):
        os.nice(max(0, NICENESS - os.nice(0)))
    if os.getsid(0) == os.getpid():  # do not slow down a terminal's session
        with suppress(OSError):
            AUTOGROUP.write_text(str(NICENESS))


def _own_stdout() -> IO[str]:
    """Return a stream for events, and redirect stdout to stderr, so that library output cannot mix with the events."""
    events = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return events


if __name__ == "__main__":
    sys.exit(main())

"""The worker: a process that runs jobs for another program. :mod:`facelift_core.processes.protocol` has the messages.

    python -m facelift_core.jobs.worker             run jobs until stdin is closed
    python -m facelift_core.jobs.worker --check     print as JSON whether this Python can run FaceLift, and exit

Jobs run one after the other, except that cut-outs run concurrently in threads. Images and heads are written to files.
Models stay loaded between jobs. The worker exits when stdin is closed, so it never outlives the program that started
it, even if that program crashes.
"""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import IO, Any

from ..compute.threads import share_cores
from ..diagnostics import collect, quiet_libraries
from ..processes.protocol import VERSION, Event, Ready, encode
from . import handlers
from .reconstruct import LOADING, Models

NICENESS = 5
AUTOGROUP = Path("/proc/self/autogroup")
"""Linux desktops schedule each session as a group, and niceness applies only within a group. The worker leads its own
session, whose group has its own niceness."""
SECONDS_TO_END = 5.0
"""Time for the current job to stop after stdin has closed; then the process exits in any case."""


@dataclass
class _Inbox:
    """State shared by the thread that reads stdin and the thread that runs jobs.

    Attributes:
        beside: called with each request for a concurrent job.
    """

    beside: Callable[[dict[str, Any]], None]
    messages: queue.Queue[dict[str, Any] | None] = field(default_factory=queue.Queue)
    cancelled: set[str] = field(default_factory=set)
    closed: threading.Event = field(default_factory=threading.Event)

    def read(self, stream: IO[str]) -> None:
        for line in stream:
            try:
                message = json.loads(line)
            except ValueError:
                continue
            if not isinstance(message, dict):
                continue
            if message.get("do") == "cancel":
                self.cancelled.add(str(message.get("job")))
            elif message.get("do") == "cutout":
                self.beside(message)
            else:
                self.messages.put(message)
        self.closed.set()
        self.messages.put(None)
        time.sleep(SECONDS_TO_END)
        os._exit(0)


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
    threads: list[threading.Thread] = []

    def beside(message: dict[str, Any]) -> None:
        # A cut-out is quick and interactive, so it must not wait for the reconstruction of another head.
        thread = threading.Thread(target=lambda: _work(message, send, inbox, models), daemon=True)
        threads[:] = [*(other for other in threads if other.is_alive()), thread]
        thread.start()

    inbox = _Inbox(beside)
    send(Ready(VERSION, os.getpid()))
    threading.Thread(target=inbox.read, args=(sys.stdin,), name="stdin", daemon=True).start()
    while (message := inbox.messages.get()) is not None:
        if message.get("do") == "release":
            models.release()
        elif message.get("do") in handlers.HANDLERS:
            _work(message, send, inbox, models)
    if any(thread.is_alive() for thread in threads):
        os._exit(0)  # a normal exit would tear down PyTorch while the threads use it
    return 0


def check(weights: list[str]) -> dict[str, Any]:
    """Return the report of :func:`.diagnostics.collect`, with a ``problem`` if this Python cannot reconstruct."""
    problem = None
    try:
        import_module("..pipeline", __package__)  # imports everything that a reconstruction needs
    except Exception as error:
        problem = f"{type(error).__name__}: {error}"
    return {**collect(weights), "problem": problem}


def _work(message: dict[str, Any], send: Callable[[Event, str], None], inbox: _Inbox, models: Models) -> None:
    kind, job = message["do"], str(message.get("job"))
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
    needed = {"cutout": "align", "reconstruct": "pipeline"}.get(kind)
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

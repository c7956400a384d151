"""The process that runs jobs for another program; see :mod:`facelift_core.processes.protocol` for what they exchange.

    python -m facelift_core.jobs.worker             run jobs until stdin is closed
    python -m facelift_core.jobs.worker --check     print as JSON whether this Python and machine can, and end

Jobs run one after the other, cut-outs of portraits beside them. Pictures and heads are files in the job's folder. The
models stay loaded between jobs. The process ends when stdin is closed, so that it never outlives the program that
started it, however that one ended.
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
"""Linux desktops schedule every session as a whole, and niceness counts only within one. The worker leads a session of
its own, which has its own niceness."""
SECONDS_TO_END = 5.0
"""After stdin has closed: for the current job to notice; then the process ends in the middle of it."""


@dataclass
class _Inbox:
    """What the thread that reads stdin and the one that works share.

    Attributes:
        beside: called with each job that runs beside the others.
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
        except BrokenPipeError:  # nobody listens any more
            os._exit(0)  # without Python's own attempt to flush into the pipe

    models = Models()
    threads: list[threading.Thread] = []

    def beside(message: dict[str, Any]) -> None:
        # A cut-out is little work, and nobody who looks at a photo should wait for the head of another one.
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
        os._exit(0)  # Python would take PyTorch apart under them
    return 0


def check(weights: list[str]) -> dict[str, Any]:
    """``facelift info`` about this Python, with the ``problem`` that keeps it from reconstructing, or None."""
    problem = None
    try:
        import_module("..pipeline", __package__)  # imports everything that a reconstruction needs
    except Exception as error:
        problem = f"{type(error).__name__}: {error}"
    return {**collect(weights), "problem": problem}


def _work(message: dict[str, Any], send: Callable[[Event, str], None], inbox: _Inbox, models: Models) -> None:
    kind, job = message["do"], str(message.get("job"))
    if kind == "reconstruct":
        send(LOADING, job)  # before imports that take long
    with suppress(Exception):  # the handler tells of it
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
    """Import what `kind` needs, one thread at a time: two at once may find modules half initialised."""
    needed = {"cutout": "align", "reconstruct": "pipeline"}.get(kind)
    with _importing:
        if needed is not None:
            import_module(f"..{needed}", __package__)


def _lower_priority() -> None:
    """Let the program in front go first where processors are few."""
    if not hasattr(os, "nice"):
        return  # Windows: the priority it was started with
    with suppress(OSError):
        os.nice(max(0, NICENESS - os.nice(0)))
    if os.getsid(0) == os.getpid():  # a terminal's session is not ours to slow down
        with suppress(OSError):
            AUTOGROUP.write_text(str(NICENESS))


def _own_stdout() -> IO[str]:
    """The stream for events; whatever libraries print goes to stderr from now on, not between the events."""
    events = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return events


if __name__ == "__main__":
    sys.exit(main())

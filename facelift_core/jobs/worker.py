"""The process that reconstructs for another program: JSON lines in on stdin, JSON lines out on stdout.

    python -m facelift_core.jobs.worker             work until stdin is closed
    python -m facelift_core.jobs.worker --check     tell in JSON whether this Python and machine can do it, and end

In:   {"do": "run", "job": id, "request": {…}}   {"do": "cancel", "job": id}   {"do": "release"}
      {"do": "cutout", "job": id, "request": {…}}, see :mod:`.cutouts`; beside what else is done
      {"do": "weights", "job": id, "request": {…}}, see :mod:`.released.job`
Out:  {"event": "ready", …} once, then for each job the events of :mod:`.job` with "job": id, and as its last one
      "done", "failed" (message) or "cancelled".

Pictures and heads are files in the job's folder. The models stay loaded between jobs. The process ends when stdin
is closed, so that it never outlives the program that started it, however that one ended.
"""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import IO, Any

from .. import __version__
from ..cli.console import quiet_libraries
from ..cli.info import collect
from ..compute.threads import share_cores
from ..errors import Cancelled, FaceLiftError
from . import cutout as cutouts
from .reconstruct import LOADING, Event, Models, Request, run
from .weights import Request as WeightsRequest
from .weights import run_request

PROTOCOL = 1
NICENESS = 5
AUTOGROUP = Path("/proc/self/autogroup")
"""On Linux desktops every session is scheduled as a whole, and niceness counts only within one. The worker leads a
session of its own, which has a niceness for itself."""
SECONDS_TO_END = 5.0
"""After stdin has closed: for the current job to notice; then the process ends in the middle of it."""


@dataclass
class _Inbox:
    """What the thread that reads stdin and the one that works share.

    Attributes:
        beside: called with what is to be done beside what runs.
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
    _step_back()
    lock = threading.Lock()

    def send(event: Event) -> None:
        line = json.dumps(event) + "\n"
        try:
            with lock:
                out.write(line)
                out.flush()
        except BrokenPipeError:  # nobody listens any more
            os._exit(0)  # without Python's own attempt to flush into the pipe

    models = Models()
    threads: list[threading.Thread] = []

    def beside(message: dict[str, Any]) -> None:
        # Small beside what runs, and nobody who looks at a photo should wait for the head of another one.
        thread = threading.Thread(target=lambda: send(_work(message, send, inbox, models)), daemon=True)
        threads[:] = [*(other for other in threads if other.is_alive()), thread]
        thread.start()

    inbox = _Inbox(beside)
    send({"event": "ready", "protocol": PROTOCOL, "version": __version__, "pid": os.getpid()})
    threading.Thread(target=inbox.read, args=(sys.stdin,), name="stdin", daemon=True).start()
    while (message := inbox.messages.get()) is not None:
        if message.get("do") == "release":
            models.release()
        elif message.get("do") in ("run", "weights"):
            send(_work(message, send, inbox, models))
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


def _work(message: dict[str, Any], send, inbox: _Inbox, models: Models) -> Event:
    """Run one job; returns its last event."""
    job = str(message.get("job"))
    last: list[Event] = []

    def emit(event: Event) -> None:
        if event["event"] == "done":
            last.append({**event, "job": job})
        else:
            send({**event, "job": job})

    def cancelled() -> bool:
        return job in inbox.cancelled or inbox.closed.is_set()

    try:
        if message["do"] == "run":
            emit(LOADING)  # before what takes long without a model, too
        _import(message["do"])
        if message["do"] == "weights":
            run_request(WeightsRequest.from_json(message.get("request")), emit, cancelled)
        elif message["do"] == "cutout":
            cutouts.run(cutouts.Request.from_json(message.get("request")), emit, cancelled, models.portraits)
        else:
            run(Request.from_json(message.get("request")), emit, cancelled, models)
        return last[0]
    except Cancelled:
        return {"event": "cancelled", "job": job}
    except FaceLiftError as error:
        return {"event": "failed", "job": job, "message": str(error)}
    except Exception as error:
        traceback.print_exc()
        if message["do"] == "run":
            models.release()
        missing = isinstance(error, ImportError)
        return {
            "event": "failed",
            "job": job,
            "message": f"The Python of the runtime cannot run FaceLift: {error}."
            if missing
            else f"An error that should not happen: {type(error).__name__}: {error}",
        }


_importing = threading.Lock()


def _import(what: str) -> None:
    """The modules that `what` needs, one thread after the other: two in the middle of it may find modules half done."""
    needed = {"cutout": "align", "run": "pipeline"}.get(what)
    with _importing:
        if needed is not None:
            import_module(f"..{needed}", __package__)


def _step_back() -> None:
    """Let the program that people look at go first where processors are few."""
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

"""One job, and what has been told of it. No ``bpy`` in here."""

from __future__ import annotations

import itertools
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from facelift_core.processes.protocol import (
    CutOut,
    Done,
    Estimate,
    Event,
    Failed,
    Log,
    Progress,
    Stopped,
    Views,
)

WAITING, RUNNING, DONE, FAILED, CANCELLED = "waiting", "running", "done", "failed", "cancelled"
LOG_LINES = 200

_numbers = itertools.count(1)


@dataclass(frozen=True)
class WorkerSettings:
    """Which worker a job needs.

    Attributes:
        python: that runs it.
        offline: keep its libraries from the network; None: as the person's own HF_HUB_OFFLINE says.
        idle_seconds: it ends after these without a job, which frees the memory of its models.
    """

    python: Path
    offline: bool | None = True
    idle_seconds: float = 0.0


@dataclass(frozen=True)
class Started:
    """The job has been taken out of the queue."""


@dataclass(eq=False)
class Job:
    """One job, and what has been told of it.

    Attributes:
        kind: a key of :data:`facelift_core.jobs.handlers.HANDLERS`.
        title: for people.
        request: the dataclass that this kind takes.
        worker: what runs it.
        heard: called on the main thread after every event, with the job already up to date.
        check: called in the lane's thread with the last event; what it returns takes that event's place.
        target: the caller's own.
        id: unique in this process.
        state: one of WAITING, RUNNING, DONE, FAILED, CANCELLED.
        stage, fraction, message, left: as told last; `left` in seconds or None.
        estimate: seconds of the whole job after loading, as told before it began, or None.
        started, computing, ended: clock of ``time.monotonic``, None before; `computing` is when loading was over.
        cutout, preview, views: pictures, once they are there.
        notes: on the cut-out.
        lines: the end of the log.
        result: in state DONE.
        error: one sentence, in state FAILED.
    """

    kind: str
    title: str
    request: Any
    worker: WorkerSettings
    heard: Callable[[Job, Event], None] = lambda job, event: None
    check: Callable[[Event], Event] = lambda event: event
    target: Any = None
    id: str = field(default_factory=lambda: f"job {next(_numbers)}")
    state: str = WAITING
    stage: str = ""
    fraction: float = 0.0
    message: str = ""
    left: float | None = None
    estimate: float | None = None
    started: float | None = None
    computing: float | None = None
    ended: float | None = None
    cutout: Path | None = None
    preview: Path | None = None
    views: Path | None = None
    notes: tuple[str, ...] = ()
    lines: deque[str] = field(default_factory=lambda: deque(maxlen=LOG_LINES))
    result: dict[str, Any] = field(default_factory=dict)
    error: str = ""
    cancel: threading.Event = field(default_factory=threading.Event)

    @property
    def over(self) -> bool:
        return self.state in (DONE, FAILED, CANCELLED)

    @property
    def cancelling(self) -> bool:
        return self.cancel.is_set() and not self.over

    def seconds_left(self) -> float | None:
        """As told, or estimated: from what is done once that is enough; loading models does not count."""
        if self.left is not None:
            return self.left
        spent = 0.0 if self.computing is None else time.monotonic() - self.computing
        if self.computing is not None and self.fraction >= 0.08:
            return spent * (1.0 - self.fraction) / self.fraction
        return None if self.estimate is None else max(0.0, self.estimate - spent)

    def apply(self, event: Event | Started) -> None:
        """Bring the job up to date with an event."""
        now = time.monotonic()
        match event:
            case Started():
                self.state, self.started = RUNNING, self.started or now
            case Progress():
                self.stage, self.fraction, self.message, self.left = (
                    event.stage,
                    event.fraction,
                    event.message,
                    event.left,
                )
                if self.computing is None and self.stage not in ("start", "load"):
                    self.computing = now
            case Estimate():
                self.estimate = event.seconds
            case Log():
                self.lines.append(event.line)
            case CutOut():
                self.cutout, self.preview, self.notes = _file(event.cutout), _file(event.preview), event.notes
            case Views():
                self.views = _file(event.views)
            case Done():
                self.state, self.result, self.ended = DONE, event.result, now
            case Failed():
                self.state, self.error, self.ended = FAILED, event.message, now
            case Stopped():
                self.state, self.ended = CANCELLED, now


def _file(path: str) -> Path | None:
    """The file if it is there; the path comes from another process."""
    return Path(path) if path and Path(path).is_file() else None

"""A job and its reported state. Does not use ``bpy``."""

from __future__ import annotations

import itertools
import math
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from facelift_core.processes.protocol import (
    CutOut,
    Done,
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
    """The worker that a job needs.

    Attributes:
        python: Python executable that runs the worker.
        offline: whether to block network access of its libraries; None leaves the user's HF_HUB_OFFLINE as it is.
        idle_seconds: the worker exits after this many seconds without a job, which frees the memory of its models.
    """

    python: Path
    offline: bool | None = True
    idle_seconds: float = 0.0


@dataclass(frozen=True)
class Started:
    """Event: the job has been taken from the queue. `loaded`: its worker may have the models in memory already."""

    loaded: bool = False


@dataclass(frozen=True)
class Usual:
    """How long such a job takes on this machine.

    Attributes:
        load: seconds to start the worker and load the models.
        run: seconds after that; None if unknown.
    """

    load: float = 0.0
    run: float | None = None


LOADING_SHARE = 0.1
"""Of the bar, for loading, if it is unknown how long the job takes."""


@dataclass(eq=False)
class Job:
    """A job and its reported state.

    Attributes:
        kind: a key of :data:`facelift_core.jobs.handlers.HANDLERS`.
        title: name shown in the interface.
        request: the request dataclass of this kind.
        worker: settings of the worker that runs the job.
        heard: called on the main thread after every event, when the job has already been updated.
        check: called in the lane's thread with the final event; its return value replaces that event.
        target: data for the caller; not used here.
        usually: looked up when the job starts; the default is for jobs that load nothing.
        id: unique within this process.
        state: one of WAITING, RUNNING, DONE, FAILED, CANCELLED.
        stage, fraction, message, left: latest progress; `fraction` is of the work after loading, `left` is in
            seconds, or None if unknown.
        usual: what `usually` told; loading counts as nothing if the models were loaded.
        started, computing, ended: ``time.monotonic`` times, or None if not reached; `computing` is when loading ended.
        cutout, preview, views: image files, or None until they exist.
        notes: remarks about the cut-out.
        lines: last lines of the log.
        result: result of the job in state DONE.
        error: a sentence for the user in state FAILED.
    """

    kind: str
    title: str
    request: Any
    worker: WorkerSettings
    heard: Callable[[Job, Event], None] = lambda job, event: None
    check: Callable[[Event], Event] = lambda event: event
    target: Any = None
    usually: Callable[[], Usual] = Usual
    id: str = field(default_factory=lambda: f"job {next(_numbers)}")
    state: str = WAITING
    stage: str = ""
    fraction: float = 0.0
    message: str = ""
    left: float | None = None
    usual: Usual = Usual()
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
        """Seconds left: as the worker reports, and while it loads, as usual; None if that could be far off."""
        if self.computing is not None or self.usual.run is None or self.started is None:
            return self.left
        return max(0.0, self.usual.load - (time.monotonic() - self.started)) + self.usual.run

    def progress(self) -> float:
        """Fraction of the whole job. While models load, which reports nothing, it moves on by the clock."""
        load, run = self.usual.load, self.usual.run
        share = 0.0 if load == 0 else (LOADING_SHARE if run is None else load / (load + run))
        if self.computing is not None or self.started is None or load == 0:
            return share + (1.0 - share) * self.fraction
        return share * (1.0 - math.exp(-2.0 * (time.monotonic() - self.started) / load))

    def apply(self, event: Event | Started) -> None:
        """Update the job from an event."""
        now = time.monotonic()
        match event:
            case Started():
                self.state, self.started = RUNNING, self.started or now
                self.usual = self.usually()
                if event.loaded:
                    self.usual = replace(self.usual, load=0.0)
            case Progress():
                self.stage, self.fraction, self.message, self.left = (
                    event.stage,
                    event.fraction,
                    event.message,
                    event.left,
                )
                if self.computing is None and self.stage not in ("start", "load"):
                    self.computing = now
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
    """The path if the file exists, else None; the path comes from another process."""
    return Path(path) if path and Path(path).is_file() else None

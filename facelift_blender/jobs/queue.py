"""The job queue: submit from the main thread, run in worker processes, poll from a timer. No ``bpy`` in here.

Each lane has one thread and at most one worker process, and runs one job of a kind at a time: heads and, beside them,
cut-outs in one lane, the released weights and the runtime in lanes of their own, so that a download of hours keeps
nobody waiting. The threads only wait and pass small messages on, so that Blender stays as responsive as without them.
Only the main thread changes a :class:`Job`, in :meth:`Queue.poll`; both may touch its ``cancel`` event.
"""

from __future__ import annotations

import atexit
import itertools
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from facelift_core.processes.client import Worker, WorkerEnded
from facelift_core.processes.protocol import (
    END,
    UNEXPECTED,
    CutOut,
    Done,
    Estimate,
    Event,
    Failed,
    Log,
    Progress,
    Ready,
    Stopped,
    Views,
)

WAITING, RUNNING, DONE, FAILED, CANCELLED = "waiting", "running", "done", "failed", "cancelled"
TICK = 0.1
START_SECONDS = 60.0
PATIENCE = 10.0
"""Seconds a cancelled job may go on, in the middle of a step or while models load, before the worker is killed."""
STOP_SECONDS = {"reconstruct": 1.0}
STOP_SECONDS_ELSE = 4.0
"""For a worker to end by itself; those that install or download have processes and files of their own to end."""
SHUTDOWN_SECONDS = 6.0
LOG_LINES = 200
LANES = {"cutout": "reconstruct"}
"""Kinds of jobs that share the lane, and so the worker, of another kind."""


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


@dataclass(frozen=True)
class Started:
    """The lane has begun with the job."""


class Queue:
    """All jobs of this Blender. All methods are for the main thread and return at once."""

    def __init__(self) -> None:
        self.jobs: list[Job] = []
        self._lanes: dict[str, _Lane] = {}
        self._events: queue.Queue[tuple[Job, Event | Started]] = queue.Queue()

    def submit(self, job: Job) -> Job:
        """Run `job` after those of its kind that wait; of cut-outs only the newest waits."""
        for other in self.active("cutout") if job.kind == "cutout" else ():
            if other.state == WAITING:
                self.cancel(other)
        self.jobs = [*(other for other in self.jobs if other.kind != job.kind or not other.over), job]
        name = LANES.get(job.kind, job.kind)
        lane = self._lanes.get(name)
        if lane is None or not lane.alive:
            if not self._lanes:
                atexit.register(self.shutdown)
            lane = self._lanes[name] = _Lane(name, self._events)
        lane.submit(job)
        return job

    def active(self, *kinds: str) -> list[Job]:
        """Jobs of `kinds`, or of all, that wait or run, in order."""
        return [job for job in self.jobs if not job.over and (not kinds or job.kind in kinds)]

    def latest(self, kind: str) -> Job | None:
        """The job of `kind` that was submitted last, over or not."""
        return next((job for job in reversed(self.jobs) if job.kind == kind), None)

    @property
    def holds_memory(self) -> bool:
        """Whether there is a worker that :meth:`release` would end."""
        lane = self._lanes.get("reconstruct")
        return lane is not None and lane.has_worker

    @property
    def holds_models(self) -> bool:
        """Whether that worker has models loaded."""
        return self.holds_memory and self._lanes["reconstruct"].used

    def cancel(self, job: Job) -> None:
        """End `job` soon if it runs, at the next :meth:`poll` if it waits."""
        job.cancel.set()
        if job.state == WAITING:
            self._events.put((job, Stopped()))

    def release(self) -> None:
        """End the worker that reconstructs, after the head at hand; this frees the memory of the models."""
        if "reconstruct" in self._lanes:
            self._lanes["reconstruct"].release()

    def poll(self) -> list[tuple[Job, Event | Started]]:
        """Bring jobs up to date and call what listens; returns the events that did it."""
        seen = []
        while True:
            try:
                job, event = self._events.get_nowait()
            except queue.Empty:
                return seen
            if not job.over:  # one that was cancelled while it waited is told of twice
                _apply(job, event)
                seen.append((job, event))
                job.heard(job, event)

    def shutdown(self) -> None:
        """Cancel everything and end the workers, within a few seconds; heads that are finished stay as files."""
        atexit.unregister(self.shutdown)
        for job in self.active():
            job.cancel.set()
        lanes, self._lanes = list(self._lanes.values()), {}
        for lane in lanes:
            lane.end()
        deadline = time.monotonic() + SHUTDOWN_SECONDS
        for lane in lanes:
            lane.wait(deadline - time.monotonic())
        self.poll()


class _Lane:
    """A thread that gives jobs to one worker. What is private belongs to that thread."""

    def __init__(self, name: str, events: queue.Queue[tuple[Job, Event | Started]]):
        self.used = False
        self._events = events
        self._stop_seconds = STOP_SECONDS.get(name, STOP_SECONDS_ELSE)
        self._inbox: queue.Queue[Job | Callable[[], None]] = queue.Queue()
        self._waiting: list[Job] = []
        self._running: dict[str, _Run] = {}
        self._worker: Worker | None = None
        self._settings: WorkerSettings | None = None
        self._ready = False
        self._since = 0.0  # since when it starts, or is idle
        self._releasing = self._ending = False
        self._thread = threading.Thread(target=self._loop, name=f"FaceLift {name}", daemon=True)
        self._thread.start()

    # For the main thread.

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    @property
    def has_worker(self) -> bool:
        worker = self._worker
        return worker is not None and worker.running

    def submit(self, job: Job) -> None:
        self._inbox.put(job)

    def release(self) -> None:
        self._inbox.put(lambda: setattr(self, "_releasing", True))

    def end(self) -> None:
        self._inbox.put(lambda: setattr(self, "_ending", True))

    def wait(self, seconds: float) -> None:
        """For the end of the thread, whose worker is killed if that takes longer than `seconds`."""
        self._thread.join(max(0.0, seconds))
        if self._thread.is_alive() and (worker := self._worker) is not None:
            worker.kill()
            self._thread.join(TICK * 10)

    # For its own thread.

    def _loop(self) -> None:
        while not self._ending:
            self._take()
            try:
                self._start()
                self._listen()
                self._cancel()
            except WorkerEnded as error:
                self._worker_ended(str(error))
            except Exception as error:
                self._worker_ended(f"{UNEXPECTED}: {type(error).__name__}: {error}", kill=True)
            self._stop_idle_worker()
        self._stop_worker()
        for job in self._waiting:
            self._tell_end(job, Stopped())

    def _take(self) -> None:
        """What is in the inbox; with nothing else to do, wait for it a moment."""
        busy = bool(self._running or self._waiting)
        try:
            item = self._inbox.get(block=not busy, timeout=None if busy else 5 * TICK)
        except queue.Empty:
            return
        if isinstance(item, Job):
            self._waiting.append(item)
        else:
            item()

    def _start(self) -> None:
        """Give the worker the first job of each kind of which none runs."""
        for job in self._next():
            if job.cancel.is_set():
                self._waiting.remove(job)
                self._tell_end(job, Stopped())
                continue
            if self._releasing or (self._running and job.worker != self._settings):
                continue  # once what runs is over, with a worker of its own
            self._waiting.remove(job)
            used = self._have_worker(job)
            self._running[job.id] = _Run(job, worker_was_used=used)
            self._events.put((job, Started()))
            if not used:
                self._events.put((job, Progress("start", 0.0, "Starting the worker")))
        if self._ready:
            for run in self._running.values():
                if not run.sent:
                    run.sent = True
                    self.used = self.used or run.job.kind == "reconstruct"
                    self._worker.request(run.job.kind, run.job.id, asdict(run.job.request))

    def _next(self) -> Iterator[Job]:
        kinds = {run.job.kind for run in self._running.values()}
        for job in list(self._waiting):
            if job.kind not in kinds:
                kinds.add(job.kind)
                yield job

    def _have_worker(self, job: Job) -> bool:
        """Start a worker if there is none that `job` can use; whether there was one."""
        if self._worker is not None and (self._settings != job.worker or not self._worker.running):
            self._stop_worker()
        if self._worker is not None:
            return True
        try:
            self._worker = Worker(job.worker.python, job.worker.offline)
        except WorkerEnded as error:
            self._tell_end(job, Failed(str(error)))
            raise
        self._settings, self._ready, self.used, self._since = job.worker, False, False, time.monotonic()
        return False

    def _listen(self) -> None:
        if self._worker is None or not self._running:
            return
        message = self._worker.receive(TICK)
        if not self._ready and time.monotonic() - self._since > START_SECONDS:
            raise WorkerEnded("The worker did not start within a minute; check the runtime in the preferences.")
        if message is None:
            return
        job_id, event = message
        if isinstance(event, Ready):
            self._ready = True
        elif (run := self._running.get(job_id)) is not None:
            run.answered = True
            if isinstance(event, END):
                self._end(run, event)
            else:
                self._events.put((run.job, event))

    def _cancel(self) -> None:
        """Have jobs stopped that are to be cancelled, and end the worker that does not obey."""
        now = time.monotonic()
        for run in list(self._running.values()):
            if not run.job.cancel.is_set():
                continue
            if not run.sent:
                self._end(run, Stopped())
                if not self._running:
                    self._kill_worker()
            elif run.deadline is None:
                run.deadline = now + PATIENCE
                self._worker.cancel(run.job.id)
            elif now > run.deadline:
                self._kill_worker()
                return

    def _stop_idle_worker(self) -> None:
        heads = [run for run in self._running.values() if run.job.kind != "cutout"]
        if self._releasing and not heads:
            self._stop_worker()
            self._releasing = False
        elif self._worker is not None and not self._running and not self._waiting:
            if time.monotonic() - self._since >= self._settings.idle_seconds:
                self._stop_worker()

    def _worker_ended(self, reason: str, kill: bool = False) -> None:
        """Give a job to another worker if this one had ended before it got the job; else the job has failed."""
        if kill and self._worker is not None:
            self._worker.kill()
        self._worker = None
        for run in list(self._running.values()):
            if run.worker_was_used and not run.answered and not run.job.cancel.is_set():
                del self._running[run.job.id]
                self._waiting.insert(0, run.job)
            else:
                self._end(run, Failed(reason))

    def _kill_worker(self) -> None:
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.kill()
        for run in list(self._running.values()):
            self._end(run, Stopped())

    def _stop_worker(self) -> None:
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.stop(self._stop_seconds)
        for run in list(self._running.values()):
            self._end(run, Stopped())

    def _end(self, run: _Run, event: Event) -> None:
        del self._running[run.job.id]
        self._since = time.monotonic()
        self._tell_end(run.job, event)

    def _tell_end(self, job: Job, event: Event) -> None:
        if job.cancel.is_set():
            event = Stopped()
        self._events.put((job, job.check(event)))


@dataclass
class _Run:
    """A job that a worker has or is about to get.

    Attributes:
        worker_was_used: the worker was there before this job.
        sent: the worker has been told of it.
        answered: the worker has said something about it.
        deadline: when a worker that does not stop it is killed.
    """

    job: Job
    worker_was_used: bool
    sent: bool = False
    answered: bool = False
    deadline: float | None = None


def _apply(job: Job, event: Event | Started) -> None:
    """What an event changes."""
    now = time.monotonic()
    match event:
        case Started():
            job.state, job.started = RUNNING, job.started or now
        case Progress():
            job.stage, job.fraction, job.message, job.left = event.stage, event.fraction, event.message, event.left
            if job.computing is None and job.stage not in ("start", "load"):
                job.computing = now
        case Estimate():
            job.estimate = event.seconds
        case Log():
            job.lines.append(event.line)
        case CutOut():
            job.cutout, job.preview, job.notes = _file(event.cutout), _file(event.preview), event.notes
        case Views():
            job.views = _file(event.views)
        case Done():
            job.state, job.result, job.ended = DONE, event.result, now
        case Failed():
            job.state, job.error, job.ended = FAILED, event.message, now
        case Stopped():
            job.state, job.ended = CANCELLED, now


def _file(path: str) -> Path | None:
    """The file if it is there; the path comes from another process."""
    return Path(path) if path and Path(path).is_file() else None

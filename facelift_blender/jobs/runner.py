"""The background thread: takes one job after the other, has the worker do it, and tells the main thread by events.

Cut-outs of portraits are made by the same worker, beside the job it has; of those that wait only the newest is.

The thread only waits and moves small messages, so that Blender stays as responsive as without it. Only the main thread
changes a :class:`Job` or a :class:`CutOut`, in :meth:`Runner.poll`; what both may touch is its ``cancel`` event and the
queues.
"""

from __future__ import annotations

import atexit
import itertools
import math
import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from facelift_core import Cancelled, FaceLiftError
from facelift_core.jobs import cutout as _cutouts
from facelift_core.jobs import reconstruct as _job

from . import folders
from .process import Worker, WorkerEnded, command, environment

Request, CutOutRequest = _job.Request, _cutouts.Request

WAITING, RUNNING, DONE, FAILED, CANCELLED = "waiting", "running", "done", "failed", "cancelled"
PATIENCE = 10.0
"""Seconds a cancelled job may go on, in the middle of a step or while models load, before the worker is killed."""
START_SECONDS = 60.0
TICK = 0.1
SHUTDOWN_SECONDS = 4.0


@dataclass(frozen=True)
class How:
    """Where jobs run.

    Attributes:
        python: of the worker; None: in this process, which needs PyTorch in it.
        idle_seconds: the worker ends after these without a job.
        offline: the worker's libraries may not ask the network.
    """

    python: Path | None
    idle_seconds: float = 600.0
    offline: bool = True


@dataclass
class Job:
    """One photo on its way.

    Attributes:
        id: of the job.
        request: what to make.
        how: where it runs.
        target: the caller's, to find again where the head should go.
        state: one of WAITING, RUNNING, DONE, FAILED, CANCELLED.
        stage, fraction, message: as the worker told last.
        started, ended: clock of ``time.monotonic``, None before.
        estimate: seconds of the whole run, as the worker expected before it began; None: it does not say.
        cutout: the portrait as cut out, once it is, and `notes` on it.
        views: picture of the six views, once there is one.
        head: what was made, in state DONE.
        error: one sentence, in state FAILED.
    """

    id: str
    request: Request
    how: How
    target: Any = None
    state: str = WAITING
    stage: str = ""
    fraction: float = 0.0
    message: str = ""
    started: float | None = None
    ended: float | None = None
    computing: float | None = None
    estimate: float | None = None
    cutout: Path | None = None
    notes: tuple[str, ...] = ()
    views: Path | None = None
    head: folders.Finished | None = None
    error: str = ""
    cancel: threading.Event = field(default_factory=threading.Event)

    @property
    def name(self) -> str:
        return Path(self.request.photo).stem

    @property
    def folder(self) -> Path:
        return Path(self.request.folder)

    @property
    def over(self) -> bool:
        return self.state in (DONE, FAILED, CANCELLED)

    @property
    def cancelling(self) -> bool:
        return self.cancel.is_set() and not self.over

    def seconds_left(self) -> float | None:
        """An estimate, the worker's own until enough is done to make a better one; loading models does not count."""
        spent = 0.0 if self.computing is None else time.monotonic() - self.computing
        if self.computing is not None and self.fraction >= 0.08:
            return spent * (1.0 - self.fraction) / self.fraction
        return None if self.estimate is None else max(0.0, self.estimate - spent)


@dataclass
class CutOut:
    """The portrait of one photo on its way out of its background.

    Attributes:
        id: of it.
        request: of which photo, into which file.
        how: where it is made.
        state: one of WAITING, DONE, FAILED, CANCELLED; CANCELLED also if another one was wanted before its turn.
        notes: what a person should know of it, in state DONE.
        error: one sentence, in state FAILED.
    """

    id: str
    request: CutOutRequest
    how: How
    state: str = WAITING
    notes: tuple[str, ...] = ()
    error: str = ""
    cancel: threading.Event = field(default_factory=threading.Event)

    @property
    def over(self) -> bool:
        return self.state != WAITING


class Runner:
    """The queue of jobs, and the cut-outs beside. All methods are for the main thread and return at once."""

    def __init__(self) -> None:
        self.jobs: list[Job] = []
        self._inbox: queue.Queue[Job | Callable[[], None] | None] = queue.Queue()
        self._wanted: deque[CutOut] = deque()
        self._cutting: CutOut | None = None
        self._cutouts: list[CutOut] = []
        self._events: queue.Queue[tuple[Job | CutOut, dict[str, Any]]] = queue.Queue()
        self._thread: threading.Thread | None = None
        self._worker: Worker | None = None
        self._worker_how: How | None = None
        self._worker_ran = False
        self._models = _job.Models()
        self._idle_since = 0.0
        self._numbers = itertools.count(1)

    def submit(self, request: Request, how: How, target: Any = None) -> Job:
        job = Job(Path(request.folder).name, request, how, target)
        self.jobs.append(job)
        self._have_thread()
        self._inbox.put(job)
        return job

    def cut_out(self, request: CutOutRequest, how: How) -> CutOut:
        """Cut a portrait out as soon as the one at hand is; others that wait are dropped."""
        cutout = CutOut(f"cutout {next(self._numbers)}", request, how)
        for other in self._cutouts:
            other.cancel.set()
        self._cutouts.append(cutout)
        self._wanted.append(cutout)
        self._have_thread()
        self._inbox.put(_look_up)
        return cutout

    def _have_thread(self) -> None:
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._work, name="FaceLift jobs", daemon=True)
            self._thread.start()
            atexit.register(self.shutdown)

    @property
    def active(self) -> list[Job]:
        """Jobs that wait or run, in order."""
        return [job for job in self.jobs if not job.over]

    @property
    def cutting(self) -> bool:
        """Whether a cut-out waits or is being made."""
        return bool(self._cutouts)

    @property
    def holds_memory(self) -> bool:
        """Whether memory is in use that :meth:`release` would free."""
        return self._models.model is not None or (self._worker is not None and self._worker.running)

    @property
    def holds_models(self) -> bool:
        """Whether models are in it."""
        return self.holds_memory and (self._models.model is not None or self._worker_ran)

    def cancel(self, job: Job) -> None:
        """Soon over if it runs, at the next :meth:`poll` if it waits, whatever the one that runs is doing."""
        job.cancel.set()
        if job.state == WAITING:
            self._tell(job, {"event": CANCELLED})

    def release(self) -> None:
        """Free the models' memory after the jobs at hand."""
        if self._thread is not None and self._thread.is_alive():
            self._inbox.put(self._release)

    def poll(self) -> list[tuple[Job | CutOut, dict[str, Any]]]:
        """Bring jobs and cut-outs up to date; returns the events that did it."""
        seen = []
        while True:
            try:
                job, event = self._events.get_nowait()
            except queue.Empty:
                return seen
            if not job.over:  # cancelled while it waited, it is told of twice
                _apply(job, event)
                seen.append((job, event))
            if isinstance(job, CutOut) and job in self._cutouts:
                self._cutouts.remove(job)

    def forget(self, job: Job) -> None:
        """Take a job that is over off the list."""
        if job.over and job in self.jobs:
            self.jobs.remove(job)

    def shutdown(self) -> None:
        """Cancel everything and end the worker, within a few seconds; heads that are finished stay as files."""
        atexit.unregister(self.shutdown)
        for job in (*self.active, *self._cutouts):
            job.cancel.set()
        thread, worker = self._thread, self._worker
        self._thread = None
        if thread is None or not thread.is_alive():
            return
        self._inbox.put(None)
        # A thread that is in the middle of PyTorch when Blender quits would crash it.
        thread.join(PATIENCE if worker is None else SHUTDOWN_SECONDS)
        if worker is not None and worker.running:
            worker.kill()
            thread.join(SHUTDOWN_SECONDS)
        self.poll()

    # From here on: the background thread.

    def _work(self) -> None:
        while True:
            self._cut_out_alone()
            try:
                item = self._inbox.get(timeout=TICK * 5)
            except queue.Empty:
                self._end_idle_worker()
                continue
            if item is None:
                self._release()
                return
            if not isinstance(item, Job):
                item()
                continue
            self._tell(item, self._run(item))
            self._idle_since = time.monotonic()

    def _run(self, job: Job) -> dict[str, Any]:
        """Run `job` to its last event; whatever goes wrong becomes that event."""
        if job.cancel.is_set():
            folders.remove(job.folder)
            return {"event": "cancelled"}
        self._tell(job, {"event": "started"})
        try:
            last = self._run_here(job) if job.how.python is None else self._run_in_worker(job)
        except WorkerEnded as error:
            self._drop_worker()
            last = {"event": "failed", "message": str(error)}
        except Exception as error:
            self._drop_worker()
            last = {"event": "failed", "message": f"An error that should not happen: {type(error).__name__}: {error}"}
        if job.cancel.is_set():
            last = {"event": "cancelled"}
        if last["event"] == "done" and folders.read(job.folder) is None:
            last = {"event": "failed", "message": f"The finished head is not in {job.folder}; run it again."}
        if last["event"] != "done":
            folders.remove(job.folder)
        return last

    def _run_here(self, job: Job) -> dict[str, Any]:
        last: list[dict[str, Any]] = []

        def emit(event: dict[str, Any]) -> None:
            if event["event"] == "done":
                last.append(event)
            else:
                self._tell(job, event)

        try:
            _job.run(job.request, emit, job.cancel.is_set, self._models)
        except Cancelled:
            return {"event": "cancelled"}
        except FaceLiftError as error:
            return {"event": "failed", "message": str(error)}
        except ImportError as error:
            return {"event": "failed", "message": f"Blender's own Python cannot run FaceLift: {error}."}
        return last[0]

    def _run_in_worker(self, job: Job) -> dict[str, Any]:
        before = self._worker
        worker = self._ready_worker(job.how, job)
        if worker is None:
            return {"event": "cancelled"}
        answered, deadline = False, None
        try:
            worker.send({"do": "run", "job": job.id, "request": asdict(job.request)})
            self._worker_ran = True
            while True:
                self._cut_out_beside(worker)
                if job.cancel.is_set() and deadline is None:
                    deadline = time.monotonic() + PATIENCE
                    worker.send({"do": "cancel", "job": job.id})
                if deadline is not None and time.monotonic() > deadline:
                    self._drop_worker()
                    return {"event": "cancelled"}
                event = worker.receive(TICK)
                if event is None or event.get("job") != job.id:
                    self._hear(event)
                    continue
                answered = True
                if event["event"] in ("done", "failed", "cancelled"):
                    return event
                self._tell(job, event)
        except WorkerEnded:
            if answered or worker is not before:
                raise
            # It ended while it had nothing to do, and the system tells only now.
            self._drop_worker()
            return self._run_in_worker(job)

    def _cut_out_alone(self) -> None:
        """Make the cut-out that is wanted, until that is done or something else is wanted."""
        while self._inbox.empty():
            if self._cutting is None and not self._begin_cut_out():
                return
            if self._cutting is not None:
                try:
                    self._hear(self._worker.receive(TICK))
                except WorkerEnded as error:
                    self._end_cut_out({"event": FAILED, "message": str(error)})
                    self._drop_worker()

    def _cut_out_beside(self, worker: Worker) -> None:
        """Have `worker` begin with the cut-out that is wanted, if it can beside its job."""
        newest = self._newest_wanted()
        if self._cutting is None and newest is not None and newest.how == self._worker_how:
            self._send_cut_out(worker, self._wanted.popleft())

    def _begin_cut_out(self) -> bool:
        """Whether there was one to begin with."""
        if self._newest_wanted() is None:
            return False
        cutout = self._wanted.popleft()
        try:
            if cutout.how.python is None:
                self._tell(cutout, self._cut_out_here(cutout))
            elif (worker := self._ready_worker(cutout.how, cutout)) is None:
                self._tell(cutout, {"event": CANCELLED})
            else:
                self._send_cut_out(worker, cutout)
        except WorkerEnded as error:
            self._cutting = None
            self._tell(cutout, {"event": FAILED, "message": str(error)})
            self._drop_worker()
        return True

    def _send_cut_out(self, worker: Worker, cutout: CutOut) -> None:
        self._cutting = cutout
        worker.send({"do": "cutout", "job": cutout.id, "request": asdict(cutout.request)})

    def _newest_wanted(self) -> CutOut | None:
        """The others that wait are told that they will not be made."""
        while len(self._wanted) > 1:
            self._tell(self._wanted.popleft(), {"event": CANCELLED})
        return self._wanted[0] if self._wanted else None

    def _cut_out_here(self, cutout: CutOut) -> dict[str, Any]:
        last: list[dict[str, Any]] = []
        try:
            _cutouts.run(cutout.request, last.append, cutout.cancel.is_set, self._models.portraits)
        except Cancelled:
            return {"event": CANCELLED}
        except FaceLiftError as error:
            return {"event": FAILED, "message": str(error)}
        except ImportError as error:
            return {"event": FAILED, "message": f"Blender's own Python cannot run FaceLift: {error}."}
        except Exception as error:
            return {"event": FAILED, "message": f"An error that should not happen: {type(error).__name__}: {error}"}
        return last[-1]

    def _hear(self, event: dict[str, Any] | None) -> None:
        """An event that is not the job's at hand."""
        cutout = self._cutting
        if event is not None and cutout is not None and event.get("job") == cutout.id:
            if event["event"] in (DONE, FAILED, CANCELLED):
                self._end_cut_out(event)

    def _end_cut_out(self, event: dict[str, Any]) -> None:
        cutout, self._cutting = self._cutting, None
        if cutout is not None:
            self._idle_since = time.monotonic()
            self._tell(cutout, event)

    def _ready_worker(self, how: How, work: Job | CutOut) -> Worker | None:
        """The worker, started if need be; None if `work` is cancelled meanwhile."""
        if self._worker is not None and (self._worker_how != how or not self._worker.running):
            self._drop_worker()
        if self._worker is not None:
            return self._worker
        self._models.release()
        if isinstance(work, Job):
            self._tell(work, {"event": "progress", "stage": "start", "fraction": 0.0, "message": "Starting the worker"})
        self._worker = Worker(command(how.python, "jobs.worker"), environment(how.offline))
        self._worker_how, self._worker_ran = how, False
        deadline = time.monotonic() + START_SECONDS
        while True:
            event = self._worker.receive(TICK)
            if event is not None and event["event"] == "ready":
                return self._worker
            if work.cancel.is_set():
                self._drop_worker()
                return None
            if time.monotonic() > deadline:
                raise WorkerEnded("The worker did not start within a minute; check the runtime in the preferences.")

    def _end_idle_worker(self) -> None:
        if self._worker_how is not None and time.monotonic() - self._idle_since > self._worker_how.idle_seconds:
            self._release()

    def _release(self) -> None:
        self._models.release()
        self._end_cut_out({"event": CANCELLED})
        worker, self._worker, self._worker_how = self._worker, None, None
        if worker is not None:
            worker.stop(1.0)

    def _drop_worker(self) -> None:
        self._end_cut_out({"event": CANCELLED})
        worker, self._worker, self._worker_how = self._worker, None, None
        if worker is not None:
            worker.kill()

    def _tell(self, job: Job | CutOut, event: dict[str, Any]) -> None:
        self._events.put((job, event))


def _look_up() -> None:
    """For the inbox: a cut-out is wanted."""


def _apply(job: Job | CutOut, event: dict[str, Any]) -> None:
    """What an event changes. Its contents come from another process: nothing is trusted to have the right type."""
    kind = event["event"]
    if isinstance(job, CutOut):
        job.state, job.notes = kind, notes_of(event)
        job.error = str(event.get("message", "")) if kind == FAILED else ""
        return
    if kind == "started":
        job.state, job.started = RUNNING, time.monotonic()
    elif kind == "progress":
        fraction = event.get("fraction")
        job.stage, job.message = str(event.get("stage", "")), str(event.get("message", ""))
        if isinstance(fraction, (int, float)):
            job.fraction = min(1.0, max(0.0, float(fraction)))
        if job.computing is None and job.stage not in ("start", "load"):
            job.computing = time.monotonic()
    elif kind == "estimate":
        seconds = event.get("seconds")
        job.estimate = float(seconds) if isinstance(seconds, (int, float)) and 0 <= seconds < math.inf else None
    elif kind == "cutout":
        picture = Path(str(event.get("cutout", "")))
        job.cutout, job.notes = picture if picture.is_file() else None, notes_of(event)
    elif kind == "views":
        picture = Path(str(event.get("views", "")))
        job.views = picture if picture.is_file() else None
    elif kind in (DONE, FAILED, CANCELLED):
        job.ended = time.monotonic()
        job.head = folders.read(job.folder) if kind == DONE else None
        job.error = str(event.get("message", "")) if kind == FAILED else ""
        job.state = kind


def notes_of(event: dict[str, Any]) -> tuple[str, ...]:
    notes = event.get("notes")
    return tuple(map(str, notes)) if isinstance(notes, list) else ()

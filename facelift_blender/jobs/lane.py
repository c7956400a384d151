"""A thread that passes jobs to one worker process. Does not use ``bpy``."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass

from facelift_core.processes.client import Worker, WorkerEnded
from facelift_core.processes.protocol import END, UNEXPECTED, Event, Failed, Progress, Ready, Stopped

from .job import Job, Started, WorkerSettings

TICK = 0.1
START_SECONDS = 60.0
PATIENCE = 10.0
"""Seconds a cancelled job may continue, mid-step or while models load, before its worker is killed."""
STOP_SECONDS = {"reconstruct": 1.0}
STOP_SECONDS_ELSE = 4.0
"""Seconds a worker gets to exit by itself. Installers and downloads must end subprocesses and close files first."""


class Lane:
    """Runs one job of each kind at a time. Private attributes belong to the lane's own thread."""

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
        self._since = 0.0  # when the worker started or became idle
        self._releasing = self._ending = False
        self._thread = threading.Thread(target=self._loop, name=f"FaceLift {name}", daemon=True)
        self._thread.start()

    # Called from the main thread.

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    @property
    def has_worker(self) -> bool:
        worker = self._worker
        return worker is not None and worker.running

    @property
    def ends(self) -> float | None:
        """``time.monotonic`` time at which the idle worker exits; None while it is busy or there is none."""
        settings = self._settings
        if not self.has_worker or settings is None or self._running or self._waiting:
            return None
        return self._since + settings.idle_seconds

    def submit(self, job: Job) -> None:
        self._inbox.put(job)

    def release(self) -> None:
        self._inbox.put(lambda: setattr(self, "_releasing", True))

    def end(self) -> None:
        self._inbox.put(lambda: setattr(self, "_ending", True))

    def wait(self, seconds: float) -> None:
        """Wait for the thread to end; kill its worker if that takes longer than `seconds`."""
        self._thread.join(max(0.0, seconds))
        if self._thread.is_alive() and (worker := self._worker) is not None:
            worker.kill()
            self._thread.join(TICK * 10)

    # Called from the lane's own thread.

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
                self._worker_ended(f"{UNEXPECTED}: {type(error).__name__}: {error}")
            self._stop_idle_worker()
        self._stop_worker()
        for job in self._waiting:
            self._tell_end(job, Stopped())

    def _take(self) -> None:
        """Take one item from the inbox. If idle, block until there is one, but only briefly while a worker exists."""
        busy = bool(self._running or self._waiting)
        try:
            item = self._inbox.get(block=not busy, timeout=None if self._worker is None else 5 * TICK)
        except queue.Empty:
            return
        if isinstance(item, Job):
            self._waiting.append(item)
        else:
            item()

    def _start(self) -> None:
        """Send the worker the first waiting job of each kind that is not already running."""
        for job in self._next():
            if job.cancel.is_set():
                self._waiting.remove(job)
                self._tell_end(job, Stopped())
                continue
            if self._releasing or (self._running and job.worker != self._settings):
                continue  # starts later, with a new worker, when the running jobs have ended
            self._waiting.remove(job)
            used = self._have_worker(job)
            self._running[job.id] = _Run(job, worker_was_used=used)
            self._events.put((job, Started(loaded=used and self.used)))
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
        """Start a worker unless `job` can use the current one; returns whether it can."""
        if self._running:
            return True  # if it has died in the meantime, _listen finds out
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
            raise WorkerEnded("FaceLift did not start within a minute; click Check in its preferences.")
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
        """Ask the worker to stop cancelled jobs, and kill it if it does not respond in time."""
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
                beside = [other for other in self._running.values() if not other.job.cancel.is_set()]
                if run.job.kind == "cutout" and beside:
                    self._end(run, Stopped())  # ignore it and let the head beside it finish
                    continue
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

    def _worker_ended(self, reason: str) -> None:
        """Handle a dead worker: requeue jobs that it never received, and fail the others."""
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.kill()  # it may only be unresponsive
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
    """A job that has been assigned to the worker.

    Attributes:
        worker_was_used: the worker was started for an earlier job.
        sent: the request has been sent.
        answered: at least one event for this job has arrived.
        deadline: ``time.monotonic`` time at which the worker is killed if it has not stopped a cancelled job.
    """

    job: Job
    worker_was_used: bool
    sent: bool = False
    answered: bool = False
    deadline: float | None = None

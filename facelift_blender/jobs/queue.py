"""Job queue: submit from the main thread, run in worker processes, poll from a timer. Does not use ``bpy``.

Each lane has one thread and at most one worker process, and runs one job of each kind at a time. Heads and cut-outs
share a lane; weights and the runtime have their own, so a long download does not block a reconstruction. The threads
only wait and pass on small messages, so Blender stays responsive. Only the main thread changes a :class:`Job`, in
:meth:`Queue.poll`; its ``cancel`` event may be used from any thread.
"""

from __future__ import annotations

import atexit
import queue
import time
from collections.abc import Iterator

from facelift_core.processes.protocol import Event, Stopped

from .job import WAITING, Job, Started
from .lane import Lane

SHUTDOWN_SECONDS = 6.0
LANES = {"cutout": "reconstruct"}
"""Job kinds that share the lane, and therefore the worker, of another kind."""


class Queue:
    """All jobs of this Blender session. Call every method from the main thread; all but `shutdown` return at once."""

    def __init__(self) -> None:
        self.jobs: list[Job] = []
        self._lanes: dict[str, Lane] = {}
        self._events: queue.Queue[tuple[Job, Event | Started]] = queue.Queue()

    def submit(self, job: Job) -> Job:
        """Queue `job` behind waiting jobs of its kind. A new cut-out replaces one that is still waiting."""
        for other in self.active("cutout") if job.kind == "cutout" else ():
            if other.state == WAITING:
                self.cancel(other)
        self.jobs = [*(other for other in self.jobs if other.kind != job.kind or not other.over), job]
        name = LANES.get(job.kind, job.kind)
        lane = self._lanes.get(name)
        if lane is None or not lane.alive:
            if not self._lanes:
                atexit.register(self.shutdown)
            lane = self._lanes[name] = Lane(name, self._events)
        lane.submit(job)
        return job

    def active(self, *kinds: str) -> list[Job]:
        """Waiting and running jobs of `kinds` (default: all), in order."""
        return [job for job in self.jobs if not job.over and (not kinds or job.kind in kinds)]

    def latest(self, kind: str) -> Job | None:
        """The most recently submitted job of `kind`, whatever its state."""
        return next((job for job in reversed(self.jobs) if job.kind == kind), None)

    @property
    def holds_memory(self) -> bool:
        """Whether there is a worker that :meth:`release` would stop."""
        lane = self._lanes.get("reconstruct")
        return lane is not None and lane.has_worker

    @property
    def holds_models(self) -> bool:
        """Whether that worker has been sent a reconstruction and so may have models loaded."""
        return self.holds_memory and self._lanes["reconstruct"].used

    @property
    def models_end(self) -> float | None:
        """``time.monotonic`` time at which unused models are unloaded; None while they are used or not loaded."""
        return self._lanes["reconstruct"].ends if self.holds_models else None

    def cancel(self, job: Job) -> None:
        """Cancel `job`: soon if it is running, at the next :meth:`poll` if it is waiting."""
        job.cancel.set()
        if job.state == WAITING:
            self._events.put((job, Stopped()))

    def release(self) -> None:
        """Stop the reconstruction worker after the current head, which frees the memory of the models."""
        if "reconstruct" in self._lanes:
            self._lanes["reconstruct"].release()

    def poll(self) -> list[tuple[Job, Event | Started]]:
        """Update jobs from pending events and call their ``heard`` callbacks; returns those events."""
        seen = []
        for job, event in self._update():
            seen.append((job, event))
            job.heard(job, event)
        return seen

    def _update(self) -> Iterator[tuple[Job, Event | Started]]:
        """Apply pending events one by one."""
        while True:
            try:
                job, event = self._events.get_nowait()
            except queue.Empty:
                return
            if not job.over:  # a job cancelled while waiting gets two Stopped events
                job.apply(event)
                yield job, event

    def shutdown(self) -> None:
        """Cancel all jobs and stop all workers within a few seconds; finished heads remain as files.

        Does not call the jobs' callbacks, because Blender's data is already gone at quit.
        """
        atexit.unregister(self.shutdown)
        for job in self.active():
            job.cancel.set()
        lanes, self._lanes = list(self._lanes.values()), {}
        for lane in lanes:
            lane.end()
        deadline = time.monotonic() + SHUTDOWN_SECONDS
        for lane in lanes:
            lane.wait(deadline - time.monotonic())
        for _ in self._update():
            pass

"""The job queue: submit from the main thread, run in worker processes, poll from a timer. No ``bpy`` in here.

Each lane has one thread and at most one worker process, and runs one job of a kind at a time: heads and, beside them,
cut-outs in one lane, the released weights and the runtime in lanes of their own, so that a download of hours keeps
nobody waiting. The threads only wait and pass small messages on, so that Blender stays as responsive as without them.
Only the main thread changes a :class:`Job`, in :meth:`Queue.poll`; both may touch its ``cancel`` event.
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
"""Kinds of jobs that share the lane, and so the worker, of another kind."""


class Queue:
    """All jobs of this Blender. All methods are for the main thread and return at once."""

    def __init__(self) -> None:
        self.jobs: list[Job] = []
        self._lanes: dict[str, Lane] = {}
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
            lane = self._lanes[name] = Lane(name, self._events)
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
        for job, event in self._update():
            seen.append((job, event))
            job.heard(job, event)
        return seen

    def _update(self) -> Iterator[tuple[Job, Event | Started]]:
        """Bring jobs up to date, event by event."""
        while True:
            try:
                job, event = self._events.get_nowait()
            except queue.Empty:
                return
            if not job.over:  # one that was cancelled while it waited is told of twice
                job.apply(event)
                yield job, event

    def shutdown(self) -> None:
        """Cancel everything and end the workers, within a few seconds; heads that are finished stay as files.

        Nothing that listens is called: at quit, Blender's data are gone already.
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

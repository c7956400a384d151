"""The job queue of this Blender, and the timer that polls it while there is something to do.

Only the main thread runs what is in here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import bpy
from facelift_core import Cancelled, FaceLiftError
from facelift_core.processes.protocol import Log, Progress

from .. import window
from .job import CANCELLED, FAILED, Job
from .lane import TICK
from .queue import Queue
from .redraw_throttle import RedrawThrottle

Watcher = Callable[[], tuple[bool, bool]]
"""Called with every tick; returns whether anything has changed that should be seen, and whether to call it again."""

jobs = Queue()
_throttle = RedrawThrottle(TICK)
_watchers: list[Watcher] = []


def watch(watcher: Watcher) -> None:
    """Call `watcher` with every tick from now on."""
    _watchers.append(watcher)


def run(job: Job) -> Job:
    """Submit `job`; in Blender without a window, wait for its end.

    Raises:
        FaceLiftError: without a window: it failed.
        Cancelled: without a window: by Ctrl C.
    """
    jobs.submit(job)
    if window.background():
        wait([job])
    else:
        follow()
    return job


def run_alone(job: Job) -> Job:
    """:func:`run`, where there is one job of its kind at a time. Raises FaceLiftError also if one is running."""
    if running := jobs.active(job.kind):
        raise FaceLiftError(f"“{running[0].title}” is already running; wait until it ends or cancel it.")
    return run(job)


def end_worker() -> None:
    """End the worker that reconstructs, which uses the files of runtime and weights.

    Raises:
        FaceLiftError: it is reconstructing.
    """
    if jobs.active("reconstruct"):
        raise FaceLiftError("Wait for the reconstruction to end, or cancel it first.")
    jobs.release()


def wait(wanted: Sequence[Job]) -> None:
    """Block until all jobs in `wanted` are over; for Blender without a window.

    Raises:
        FaceLiftError: some failed.
        Cancelled: Ctrl C.
    """
    while not all(job.over for job in wanted):
        try:
            tick()
            time.sleep(TICK / 2)
        except KeyboardInterrupt:
            for job in wanted:
                jobs.cancel(job)
    tick()
    if failed := [job for job in wanted if job.state == FAILED]:
        raise FaceLiftError(
            failed[0].error if len(wanted) == 1 else " ".join(f"{job.title}: {job.error}" for job in failed)
        )
    if any(job.state == CANCELLED for job in wanted):
        raise Cancelled


def follow() -> None:
    """Start the timer, if it is not running."""
    if not window.background() and not bpy.app.timers.is_registered(tick):
        bpy.app.timers.register(tick, first_interval=TICK, persistent=True)


def tick() -> float | None:
    """Poll the queue and call the watchers; returns the seconds until the next tick, None for never."""
    events = jobs.poll()
    at_once = any(not isinstance(event, Progress | Log) for _, event in events)
    again = False
    for watcher in _watchers:
        changed, more = watcher()
        at_once, again = at_once or changed, again or more
    moving = bool(jobs.active())
    again = again or moving
    if _throttle.look(time.monotonic(), bool(events), at_once or not again, moving):
        window.redraw()
    return TICK if again else None


def detach() -> None:
    """End everything, at quit or when the extension is switched off."""
    if bpy.app.timers.is_registered(tick):
        bpy.app.timers.unregister(tick)
    _watchers.clear()
    jobs.shutdown()
    jobs.__init__()

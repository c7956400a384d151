"""The job queue of this Blender session, and the timer that polls it while jobs are active.

Call everything in this module from the main thread.
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
"""Called on every tick; returns whether to redraw now, and whether the timer must keep running."""

jobs = Queue()
MODELS_TICK = 5.0
"""Seconds between ticks while nothing runs but models are in memory: the panel tells how long they will be."""
_interval: float | None = None
_throttle = RedrawThrottle(TICK)
_watchers: list[Watcher] = []


def watch(watcher: Watcher) -> None:
    """Call `watcher` on every tick from now on."""
    _watchers.append(watcher)


def run(job: Job) -> Job:
    """Submit `job`. In background mode, also wait until it ends.

    Raises:
        FaceLiftError: in background mode, if the job failed.
        Cancelled: in background mode, on Ctrl+C.
    """
    jobs.submit(job)
    if window.background():
        wait([job])
    else:
        follow()
    return job


def run_alone(job: Job) -> Job:
    """Like :func:`run`, but raises FaceLiftError if another job of this kind is active."""
    if running := jobs.active(job.kind):
        raise FaceLiftError(f"“{running[0].title}” is already running; wait until it finishes or cancel it.")
    return run(job)


def end_worker() -> None:
    """Stop the reconstruction worker, which holds files of the runtime and the weights open.

    Raises:
        FaceLiftError: a reconstruction is active.
    """
    if jobs.active("reconstruct"):
        raise FaceLiftError("Wait until the reconstruction finishes, or cancel it first.")
    jobs.release()


def wait(wanted: Sequence[Job]) -> None:
    """Block until all jobs in `wanted` are over. For background mode.

    Raises:
        FaceLiftError: at least one job failed.
        Cancelled: a job was cancelled, for example with Ctrl+C.
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
    """Start the timer if it is not running, and let it tick fast if it only watches over unused models."""
    if window.background():
        return
    if bpy.app.timers.is_registered(tick):
        if _interval == TICK:
            return
        bpy.app.timers.unregister(tick)
    _set_interval(TICK)
    bpy.app.timers.register(tick, first_interval=TICK, persistent=True)


def _set_interval(seconds: float | None) -> float | None:
    global _interval
    _interval = seconds
    return seconds


def tick() -> float | None:
    """Poll the queue and call the watchers; returns the seconds until the next tick, or None to stop the timer."""
    events = jobs.poll()
    at_once = any(not isinstance(event, Progress | Log) for _, event in events)
    again = False
    for watcher in _watchers:
        changed, more = watcher()
        at_once, again = at_once or changed, again or more
    moving = bool(jobs.active())
    again = again or moving
    watches = not again and jobs.holds_models
    if _throttle.look(time.monotonic(), bool(events), at_once or not again, moving):
        window.redraw()
    return _set_interval(TICK if again else (MODELS_TICK if watches else None))


def detach() -> None:
    """Stop the timer and all jobs, when Blender quits or the extension is disabled."""
    if bpy.app.timers.is_registered(tick):
        bpy.app.timers.unregister(tick)
    _watchers.clear()
    jobs.shutdown()
    jobs.__init__()

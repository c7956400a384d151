"""The released weights, from Blender: the work is done by a process of the runtime's Python, apart from the worker
that reconstructs, so that a download of hours keeps nobody waiting."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from facelift_core import Cancelled, FaceLiftError
from facelift_core.jobs import weights as _job

from .process import Worker, WorkerEnded, command, environment
from .runner import PATIENCE, START_SECONDS, TICK
from .task import Work

Request = _job.Request
JOB = "weights"


def work(request: Request, python: Path | None) -> Work:
    """What a :class:`.task.Task` needs to do `request`; its result is a sentence on what is there then.

    Args:
        python: of the runtime; None: in this process, which needs the runtime's packages in it.
    """
    return _here(request) if python is None else _in_process_of_its_own(request, python)


def _here(request: Request) -> Work:
    def run(emit, cancelled) -> str:
        last: list[dict[str, Any]] = []
        try:
            _job.run_request(request, lambda e: (last.append if e["event"] == "done" else emit)(e), cancelled)
        except ImportError as error:
            raise FaceLiftError(f"Blender's own Python cannot do this: {error}.") from None
        return last[0]["message"]

    return run


def _in_process_of_its_own(request: Request, python: Path) -> Work:
    def run(emit, cancelled) -> str:
        emit({"event": "progress", "stage": "start", "fraction": 0.0, "message": "Starting the runtime"})
        worker = None
        try:
            # Online as far as the person's own HF_HUB_OFFLINE allows: whoever calls this has asked for a download.
            worker = Worker(command(python, "jobs.worker"), {"HF_HUB_OFFLINE": "0", **environment(offline=None)})
            return _follow(worker, request, emit, cancelled)
        except WorkerEnded as error:
            raise FaceLiftError(str(error)) from None
        finally:
            if worker is not None:
                worker.stop(1.0)

    return run


def _follow(worker: Worker, request: Request, emit, cancelled) -> str:
    """Until the process tells the end. Raises FaceLiftError, Cancelled, or WorkerEnded."""
    started, told_to_stop = False, None
    begun = time.monotonic()
    while True:
        event = worker.receive(TICK)
        now = time.monotonic()
        if cancelled() and not started:
            raise Cancelled
        if cancelled() and told_to_stop is None:
            told_to_stop = now
            worker.send({"do": "cancel", "job": JOB})
        if told_to_stop is not None and now - told_to_stop > PATIENCE:
            raise Cancelled
        if not started and now - begun > START_SECONDS:
            raise WorkerEnded("The runtime did not start within a minute; check it in the preferences.")
        if event is None:
            continue
        if event["event"] == "ready" and not started:
            started = True
            worker.send({"do": "weights", "job": JOB, "request": asdict(request)})
        elif event.get("job") == JOB:
            kind, message = event["event"], str(event.get("message", ""))
            if kind == "done":
                return message
            if kind == "failed":
                raise FaceLiftError(message)
            if kind == "cancelled":
                raise Cancelled
            emit({**event, "fraction": _number(event.get("fraction")), "message": message})


def _number(value: Any) -> float:
    """What comes from another process need not be what it should."""
    return float(value) if isinstance(value, int | float) else 0.0

"""The registry of job kinds, and :func:`run`, which runs a job of any kind.

Importing this module does not import PyTorch.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any

from ..errors import OUT_OF_MEMORY, Cancelled, FaceLiftError, ran_out_of_memory
from ..processes.protocol import UNEXPECTED, Done, Emit, Event, Failed, Stopped, read_request
from ..progress import Cancel
from . import convert, cutout, mesh, reconstruct, relight, rig, runtime, track, weights
from .reconstruct import Models

Handler = Callable[[Any, Emit, Cancel, Models], dict[str, Any]]

HANDLERS: dict[str, tuple[type, set[str], Handler]] = {
    "reconstruct": (reconstruct.Request, {"photo", "folder"}, reconstruct.run),
    "cutout": (cutout.Request, {"photo", "file"}, cutout.run),
    "mesh": (mesh.Request, {"head", "file"}, mesh.run),
    "relight": (relight.Request, {"head", "output"}, relight.run),
    "track": (track.Request, {"video", "output"}, track.run),
    "rig": (rig.Request, {"head", "file"}, rig.run),
    "convert": (convert.Request, {"source", "target"}, convert.run),
    "weights": (weights.Request, {"do"}, weights.handle),
    "runtime": (runtime.Request, {"do"}, runtime.run),
}
"""Kind → request class, its required fields, and the function that runs the job and returns the result."""


def run(kind: str, data: Any, emit: Emit, cancelled: Cancel, models: Models) -> Event:
    """Run a job and return its final event. Never raises.

    Args:
        kind: a key of :data:`HANDLERS`.
        data: the request, as returned by ``dataclasses.asdict``.
        emit: called with every other event.
        cancelled: polled; returns true to stop the job.
        models: caches loaded models between jobs.
    """
    try:
        if kind not in HANDLERS:
            raise FaceLiftError("This version of FaceLift does not understand the request.")
        cls, required, handler = HANDLERS[kind]
        return Done(handler(read_request(cls, data, required), emit, cancelled, models))
    except Cancelled:
        return Stopped()
    except FaceLiftError as error:
        return Failed(str(error))
    except Exception as error:
        traceback.print_exc()
        if kind == "reconstruct":
            models.release()
        if ran_out_of_memory(error):
            return Failed(OUT_OF_MEMORY)
        if isinstance(error, ImportError):
            return Failed(f"This Python cannot run FaceLift: {error}.")
        if isinstance(error, OSError) and error.strerror:
            return Failed(f"{error.filename or kind!s:.200}: {error.strerror}.")
        return Failed(f"{UNEXPECTED}: {type(error).__name__}: {error}")

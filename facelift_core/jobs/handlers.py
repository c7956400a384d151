"""The kinds of jobs, and the one way to run any of them; for the worker and for programs that run jobs themselves.

Importing this module does not need PyTorch.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any

from ..errors import Cancelled, FaceLiftError
from ..processes.protocol import UNEXPECTED, Done, Emit, Event, Failed, Stopped, read_request
from ..progress import Cancel
from . import cutout, reconstruct, runtime, weights
from .reconstruct import Models

Handler = Callable[[Any, Emit, Cancel, Models], dict[str, Any]]

HANDLERS: dict[str, tuple[type, set[str], Handler]] = {
    "reconstruct": (reconstruct.Request, {"photo", "folder"}, reconstruct.run),
    "cutout": (cutout.Request, {"photo", "file"}, cutout.run),
    "weights": (weights.Request, {"do"}, weights.handle),
    "runtime": (runtime.Request, {"do"}, runtime.run),
}
"""By kind: the request, which of its fields have to be given, and what does it and returns the result."""


def run(kind: str, data: Any, emit: Emit, cancelled: Cancel, models: Models) -> Event:
    """Run a job; returns its last event. Never raises.

    Args:
        kind: a key of :data:`HANDLERS`.
        data: the request's ``asdict``.
        models: keeps what is loaded for the next job.
    """
    try:
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
        if isinstance(error, ImportError):
            return Failed(f"The Python of the runtime cannot run FaceLift: {error}.")
        return Failed(f"{UNEXPECTED}: {type(error).__name__}: {error}")

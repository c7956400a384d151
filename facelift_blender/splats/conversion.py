"""Files of formats that need packages which Blender's Python lacks: the runtime converts them, in the background."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import bpy
from facelift_core import FaceLiftError
from facelift_core.jobs.convert import Request
from facelift_core.processes.protocol import Event

from ..jobs import timer
from ..jobs.job import Job, WorkerSettings

KIND = "convert"
_IDLE_SECONDS = 60.0
_PACKAGE = __package__.rsplit(".", 1)[0]


def convert(
    source: Path,
    target: Path,
    title: str,
    heard: Callable[[Job, Event], None] = lambda job, event: None,
    *,
    version: int = 0,
) -> Job:
    """Submit a job that writes `source` in the format of `target`. In background mode, also wait for it.

    Args:
        source, target: files with known suffixes.
        title: shown beside the progress bar.
        heard: see :class:`facelift_blender.jobs.job.Job`.
        version: version of an .spz file; 0 for the default.

    Raises:
        FaceLiftError: there is no runtime; in background mode also if the conversion failed.
    """
    return timer.run(Job(KIND, title, Request(str(source), str(target), version), _worker(title), heard))


def _worker(title: str) -> WorkerSettings:
    addon = bpy.context.preferences.addons.get(_PACKAGE)
    worker = addon.preferences.worker() if addon else None
    if worker is None:
        raise FaceLiftError(
            f"{title} needs PyTorch's environment, which has what this format takes; install it with Install PyTorch "
            "in FaceLift's preferences."
        )
    return replace(worker, idle_seconds=_IDLE_SECONDS)

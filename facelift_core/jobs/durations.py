"""Remember how long the stages of reconstructions took on this machine, by settings, in a file in the data folder.

Does not import PyTorch. If the file is missing or damaged or cannot be written, no durations are known.
"""

from __future__ import annotations

import json
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from .. import bounded_json, user_dirs
from ..errors import FaceLiftError
from ..files import private_folder, replacing

if TYPE_CHECKING:
    from .reconstruct import Request

FILE = "durations.json"
LOAD = "load"
RUNS, KINDS, FILE_BYTES = 3, 60, 1 << 18
"""Maximum runs per combination of settings, maximum combinations, and maximum size of the file in bytes."""
STEADY = 1.5
"""Maximum ratio between the slowest and the fastest of these runs for a prediction."""

Runs = list[dict[str, float]]
"""Seconds by stage of the last runs, newest last. Only runs that loaded the models have :data:`LOAD`."""


def runs(request: Request) -> Runs:
    """Return the last runs with the same settings as `request`, as far as they affect the duration."""
    return _read().get(_kind(request), [])


def load_seconds(request: Request) -> float | None:
    """Return how many seconds the weights of `request` last took to load, or None if unknown."""
    models = _kind(request).split("\n")[:2]
    of_models = (found for kind, found in _read().items() if kind.split("\n")[:2] == models)
    loads = [run[LOAD] for found in of_models for run in found if LOAD in run]
    return loads[-1] if loads else None


def run_seconds(request: Request) -> float | None:
    """Return the seconds of the last run without loading; None if there is none, or if they differ too much."""
    totals = [without_load(run) for run in runs(request)]
    return totals[-1] if totals and max(totals) <= STEADY * min(totals) else None


def without_load(run: dict[str, float]) -> float:
    return sum(seconds for stage, seconds in run.items() if stage != LOAD)


def remember(request: Request, timings: dict[str, float], loaded: bool) -> None:
    """Add a run. `loaded` says whether the models were loaded for it."""
    known = _read()
    kind = _kind(request)
    run = {stage: round(seconds, 3) for stage, seconds in timings.items() if loaded or stage != LOAD}
    known[kind] = [*known.pop(kind, []), run][-RUNS:]  # last, so that the oldest kinds come first
    for old in list(known)[:-KINDS]:
        del known[old]
    with suppress(OSError, FaceLiftError):
        private_folder(_path().parent)
        with replacing(_path()) as temporary:
            temporary.write_text(json.dumps(known), encoding="utf-8")


def _kind(request: Request) -> str:
    how = request.preset, request.steps, request.guidance_scale, request.likeness
    return "\n".join(map(str, (request.weights, request.device, *how)))


def _path() -> Path:
    return user_dirs.data_folder() / FILE


def _read() -> dict[str, Runs]:
    try:
        found = _path().stat()
    except OSError:
        return {}
    return dict(_parsed(_path(), found.st_mtime_ns, found.st_size))


@lru_cache(maxsize=2)
def _parsed(path: Path, modified: int, size: int) -> dict[str, Runs]:
    """Return the content of the file, cached by modification time and size, because panels use it in every redraw."""
    try:
        data = bounded_json.read(path, FILE_BYTES)
    except (OSError, ValueError):
        return {}
    if not isinstance(data, dict):
        return {}
    return {kind: [run for run in found if _whole(run)] for kind, found in data.items() if isinstance(found, list)}


def _whole(run: object) -> bool:
    return (
        isinstance(run, dict)
        and bool(run)
        and all(isinstance(seconds, int | float) and 0 <= seconds < 1e6 for seconds in run.values())
    )

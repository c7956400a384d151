"""The messages between a program and its worker: requests one way, events the other, one JSON object per line.

    request   {"do": kind, "job": id, "request": {…}}, with a kind of :mod:`facelift_core.jobs.handlers`
              {"do": "cancel", "job": id}      {"do": "release"}: free the memory of the models
    event     {"event": kind, "job": id, …}, with a kind and the fields of :data:`Event`

Importing this module does not need PyTorch.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass, field, fields
from typing import Any, TypeVar

from ..errors import FaceLiftError

VERSION = 2
UNEXPECTED = "Unexpected error"
"""How the message begins for an error that is a fault of ours."""


@dataclass(frozen=True)
class Ready:
    """The worker has started; sent once, for no job."""

    protocol: int
    pid: int


@dataclass(frozen=True)
class Progress:
    """Attributes:
    stage: such as "load", then those of :mod:`facelift_core.pipeline`.
    fraction: of the whole job after loading, in [0, 1].
    message: for people.
    left: seconds to the end, where that is known.
    """

    stage: str
    fraction: float
    message: str
    left: float | None = None


@dataclass(frozen=True)
class Estimate:
    """Seconds that the job will take after loading."""

    seconds: float


@dataclass(frozen=True)
class Log:
    """A line of a log."""

    line: str


@dataclass(frozen=True)
class CutOut:
    """The portrait without its background.

    Attributes:
        cutout, preview: files: the portrait, and a small picture of it on a checkerboard.
        notes: what a person should know of it.
    """

    cutout: str
    preview: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Views:
    """File with a picture of the six views, long before the head exists."""

    views: str


@dataclass(frozen=True)
class Done:
    """The job has ended well; `result` is plain data."""

    result: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Failed:
    """The job has failed; `message` is one sentence for people."""

    message: str


@dataclass(frozen=True)
class Stopped:
    """The job was cancelled."""


Event = Ready | Progress | Estimate | Log | CutOut | Views | Done | Failed | Stopped
Emit = Callable[[Event], None]
END = (Done, Failed, Stopped)
"""The events of which one ends every job."""

_KINDS: dict[str, type] = {
    "ready": Ready,
    "progress": Progress,
    "estimate": Estimate,
    "log": Log,
    "cutout": CutOut,
    "views": Views,
    "done": Done,
    "failed": Failed,
    "cancelled": Stopped,
}
_NAMES = {cls: name for name, cls in _KINDS.items()}


def encode(event: Event, job: str = "") -> str:
    """One line of JSON, without the line break."""
    return json.dumps({"event": _NAMES[type(event)], "job": job, **asdict(event)})


def decode(line: bytes | str) -> tuple[str, Event] | None:
    """The job's id and the event of a line; None if the line is not one of a worker of ours."""
    try:
        data = json.loads(line)
    except (ValueError, RecursionError):
        return None
    cls = _KINDS.get(data.get("event")) if isinstance(data, dict) and isinstance(data.get("event"), str) else None
    if cls is None:
        return None
    given = {f.name: data[f.name] for f in fields(cls) if f.name in data}
    if isinstance(given.get("notes"), list):
        given["notes"] = tuple(map(str, given["notes"]))
    try:
        event = cls(**given)
    except TypeError:
        return None
    return (
        (str(data.get("job", "")), event) if all(_valid(name, value) for name, value in vars(event).items()) else None
    )


def _valid(name: str, value: Any) -> bool:
    """Whether a field of an event from another process has the type and range that it should have."""
    if name == "left":
        return value is None or _number(value)
    if name == "fraction":
        return _number(value) and value <= 1
    if name in ("seconds", "protocol", "pid"):
        return _number(value)
    if name == "notes":
        return isinstance(value, tuple)
    return isinstance(value, dict if name == "result" else str)


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= sys.float_info.max


T = TypeVar("T")


def read_request(cls: type[T], data: Any, required: Collection[str]) -> T:
    """The dataclass `cls` of strings, numbers and switches from its ``asdict``; fields with a default may be missing.

    Raises:
        FaceLiftError: `data` is something else, for example of another version.
    """
    types = {f.name: type(f.default) if isinstance(f.default, (bool, int, float)) else str for f in fields(cls)}
    if not isinstance(data, dict) or not set(required) <= set(data) <= set(types):
        raise FaceLiftError("The request is not one that this version of FaceLift understands.")
    for name, value in data.items():
        if not (type(value) is types[name] or (types[name] is float and type(value) is int)):
            raise FaceLiftError(f"The request's {name} should be a {types[name].__name__}, not {value!r}.")
    return cls(**data)

"""The protocol between a program and its worker: requests one way, events the other, one JSON object per line.

    request   {"do": kind, "job": id, "request": {…}}, with a kind of :mod:`facelift_core.jobs.handlers`
              {"do": "cancel", "job": id}      {"do": "release"}: free the memory of the models
    event     {"event": kind, "job": id, …}, with a kind and the fields of :data:`Event`

Importing this module does not import PyTorch.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass, field, fields
from typing import Any, TypeVar

from .. import bounded_json
from ..errors import FaceLiftError

VERSION = 2
UNEXPECTED = "Unexpected error"
"""Beginning of the message for an error that is a bug."""


@dataclass(frozen=True)
class Ready:
    """The worker has started. Sent once, without a job."""

    protocol: int
    pid: int


@dataclass(frozen=True)
class Progress:
    """Progress of a job.

    Attributes:
        stage: name of the stage, such as "load" or a stage of :mod:`facelift_core.pipeline`.
        fraction: fraction of the whole job after loading, in [0, 1].
        message: what is being done, for the user.
        left: estimated seconds left, if known.
    """

    stage: str
    fraction: float
    message: str
    left: float | None = None


@dataclass(frozen=True)
class Log:
    """A line for the log."""

    line: str


@dataclass(frozen=True)
class CutOut:
    """The portrait without its background.

    Attributes:
        cutout, preview: paths of the portrait and of a small image of it on a checkerboard.
        notes: notes for the user, one sentence each.
    """

    cutout: str
    preview: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Views:
    """Path of an image of the six views, sent long before the head is finished."""

    views: str


@dataclass(frozen=True)
class Done:
    """The job has succeeded; `result` is plain data."""

    result: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Failed:
    """The job has failed; `message` is one sentence for the user."""

    message: str


@dataclass(frozen=True)
class Stopped:
    """The job was cancelled."""


Event = Ready | Progress | Log | CutOut | Views | Done | Failed | Stopped
Emit = Callable[[Event], None]
END = (Done, Failed, Stopped)
"""The final events; every job ends with exactly one of them."""

_KINDS: dict[str, type] = {
    "ready": Ready,
    "progress": Progress,
    "log": Log,
    "cutout": CutOut,
    "views": Views,
    "done": Done,
    "failed": Failed,
    "cancelled": Stopped,
}
_NAMES = {cls: name for name, cls in _KINDS.items()}


def encode(event: Event, job: str = "") -> str:
    """Encode an event as one line of JSON, without the line break."""
    return json.dumps({"event": _NAMES[type(event)], "job": job, **asdict(event)})


def decode(line: bytes | str) -> tuple[str, Event] | None:
    """Decode a line to the job's ID and the event; None if the line is not a valid event."""
    try:
        data = bounded_json.parse(line)
    except ValueError:
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
    """Return whether a field of an event has a valid type and range."""
    if name == "left":
        return value is None or _number(value)
    if name == "fraction":
        return _number(value) and value <= 1
    if name in ("protocol", "pid"):
        return _number(value)
    if name == "notes":
        return isinstance(value, tuple)
    return isinstance(value, dict if name == "result" else str)


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= sys.float_info.max


T = TypeVar("T")


def read_request(cls: type[T], data: Any, required: Collection[str]) -> T:
    """Create a request from its ``asdict``, with validation. Fields that are not required may be missing.

    Args:
        cls: dataclass with fields of type str, int, float or bool.
        data: the data from the other process.
        required: names of the fields that must be present.

    Raises:
        FaceLiftError: `data` is invalid, for example because it comes from another version.
    """
    types = {f.name: type(f.default) if isinstance(f.default, (bool, int, float)) else str for f in fields(cls)}
    if not isinstance(data, dict) or not set(required) <= set(data) <= set(types):
        raise FaceLiftError("This version of FaceLift does not understand the request.")
    for name, value in data.items():
        if not (type(value) is types[name] or (types[name] is float and type(value) is int)):
            raise FaceLiftError(f"{name} in the request must be of type {types[name].__name__}, not {value!r:.99}.")
        if isinstance(value, str) and "\0" in value:
            raise FaceLiftError(f"{name} in the request contains a character that no path can have.")
    return cls(**data)

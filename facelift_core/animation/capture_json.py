"""Face captures as JSON, in the layouts that programs write: where the names, the frames, and the times are."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np

from .. import bounded_json
from ..errors import FaceLiftError
from .capture_times import find_times, seconds
from .rig import SHAPES
from .take import FRAMES_MAX, HEAD, Take, assemble, canonical

SIZE_MAX = 100_000_000
"""Bytes of a document, which takes up to ten times as much in memory."""
_RATES = ("exportfps", "fps", "framerate", "frame_rate")
_FRAMES = ("frames", "weightmat", "weights", "data", "animation", "blendshapes", "values", "keyframes")
_LABELS, _VALUES = ("categoryname", "name", "blendshapelocation", "shape"), ("score", "value", "weight")
_DEPTH = 4
LARGEST = 1e300
"""Larger numbers count as infinite; integers may be too large for a float."""


def take_from_json(content: bytes, fps: float) -> Take:
    """The take in a JSON document.

    Args:
        fps: frames per second of documents that tell neither a rate nor times.

    Raises:
        FaceLiftError: the document is damaged or no face capture. The sentence begins with a verb.
    """
    try:
        document = bounded_json.parse(content, SIZE_MAX)
    except ValueError as error:
        raise FaceLiftError(f"cannot be read as JSON: {error}.") from None
    fields = _lower(document)
    frames = _frames(document)
    if frames is None:
        raise FaceLiftError("contains no list of frames; it is no face capture.")
    if len(frames) > FRAMES_MAX:
        raise FaceLiftError(f"has more than {FRAMES_MAX:,} frames; cut the take into parts.")
    names = _names(fields)
    rows = [dict(_shapes(frame, names, _DEPTH)) for frame in frames]
    found = set().union(*rows) & set(SHAPES)
    if not found:
        raise FaceLiftError("contains no name of a face shape, such as jawOpen; it is no face capture.")
    columns = {}
    for name in set().union(*rows):
        # A shape that one frame lacks is at 0; a frame without any shape has no face.
        columns[name] = np.array([row.get(name, 0.0) if row else np.nan for row in rows])
    rate = next((fields[name] for name in _RATES if _positive(fields.get(name))), fps)
    time = find_times(_lower(frames[0]))
    clock = [_lower(frame).get(time) for frame in frames] if time else [0.0] * len(frames)
    return assemble(columns, seconds(time, clock, float(rate)))


def take_to_json(take: Take) -> str:
    """A document with one list of names, and per frame its time and its values in their order."""
    rows = np.concatenate([take.weights, take.head], axis=1).astype(np.float64).round(6)
    frames = [{"time": time, "values": row.tolist()} for time, row in zip(take.times.tolist(), rows, strict=True)]
    return json.dumps({"names": [*SHAPES, *HEAD], "frames": frames})


def _frames(document: Any) -> list | None:
    """The list of frames of a document: it, a list in it, or its entries in the order of their numbers."""
    if isinstance(document, list):
        return document or None
    fields = _lower(document)
    for name in _FRAMES:
        value = fields.get(name)
        if isinstance(value, list) and value and isinstance(value[0], dict | list):
            return value
    inner = [_frames(value) for value in fields.values() if isinstance(value, dict)]
    if fields and all(_numeral(name) for name in fields):
        return [fields[name] for name in sorted(fields, key=float)]
    return next((frames for frames in inner if frames), None)


def _names(fields: dict[str, Any]) -> list[str | None]:
    """What the columns of rows of numbers mean: the first list of texts among which there are names of shapes."""
    for value in fields.values():
        if isinstance(value, list) and value and all(isinstance(name, str) for name in value):
            names = [canonical(name) for name in value]
            if set(names) & set(SHAPES):
                return names
    return []


def _shapes(frame: Any, names: list[str | None], depth: int) -> Iterator[tuple[str, float]]:
    """Names and values in a frame, however they are written."""
    if isinstance(frame, list):
        if frame and all(map(_is_number, frame)):
            if names and len(frame) != len(names):
                raise FaceLiftError(f"has a frame with {len(frame)} weights for {len(names)} names.")
            yield from ((name, _float(value)) for name, value in zip(names, frame, strict=False) if name)
            return
        for entry in frame:
            fields = _lower(entry)
            label = next((fields[key] for key in _LABELS if isinstance(fields.get(key), str)), None)
            value = next((fields[key] for key in _VALUES if _is_number(fields.get(key))), None)
            if label and canonical(label) and value is not None:
                yield canonical(label), _float(value)
            elif depth and label is None:
                yield from _shapes(entry, names, depth - 1)
        return
    if not isinstance(frame, dict):
        return
    own = [(canonical(key), value) for key, value in frame.items()]
    yield from ((name, _float(value)) for name, value in own if name and _is_number(value))
    fields = _lower(frame)
    if depth and "weights" in fields:
        names = _names(fields) or names
    for value in frame.values():
        # Of lists of numbers, those of another length are something else, such as a position.
        fits = isinstance(value, dict) or (isinstance(value, list) and (not names or len(value) == len(names)))
        if depth and fits:
            yield from _shapes(value, names, depth - 1)


def _lower(value: Any) -> dict[str, Any]:
    return {key.lower(): entry for key, entry in value.items()} if isinstance(value, dict) else {}


def _numeral(text: str) -> bool:
    return text.isascii() and text.replace(".", "", 1).isdigit()


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _float(value: int | float) -> float:
    return float(value) if abs(value) < LARGEST else np.inf


def _positive(value: Any) -> bool:
    return _is_number(value) and 0.1 <= value <= 1000

"""The times of a recording, from a column of timecodes, seconds, milliseconds, or frame numbers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import numpy as np

_TIMECODE = re.compile(r"(\d{1,3}):(\d{1,2}):(\d{1,2})(?:[:;](\d{1,3}(?:\.\d+)?)|(\.\d+))?")
_NAMES = (
    re.compile(r"timecode|time_?stamp|time|t|sec|secs|seconds|s"),
    re.compile(r"((time|time_?stamp)_?)?\(?(ms|msec|millis|milliseconds)\)?"),
    re.compile(r"frames?|index|frame_?(number|id|index|no)"),
)
_TIME, _MILLISECONDS, _FRAME = _NAMES
_RATES = (24, 25, 30, 48, 50, 60, 100, 120, 240)
_MIDNIGHT = 24 * 3600.0


def find_times(names: Iterable[str]) -> str | None:
    """Which of the names of a file's fields tells the time: the first that means one, else the first frame number."""
    names = list(names)
    return next((name for kind in _NAMES for name in names if kind.fullmatch(name.strip().lower())), None)


def seconds(name: str | None, values: Sequence[str | float], rate: float) -> np.ndarray:
    """Seconds of each frame.

    Args:
        name: name of the field that tells the times, or None.
        values: T timecodes (hh:mm:ss:ff.sub or hh:mm:ss.sub) or numbers.
        rate: frames per second of frame numbers, and of files whose times are missing, unreadable, or not increasing.

    Returns:
        (T,) float64, increasing.
    """
    even = np.arange(len(values)) / rate
    if name is None:
        return even
    codes = [_TIMECODE.fullmatch(value.strip()) if isinstance(value, str) else None for value in values]
    if all(codes):
        times = _from_timecodes([[float(part or 0) for part in code.groups()] for code in codes], rate)
    else:
        try:
            times = np.array([float(value) for value in values])
        except (TypeError, ValueError):
            return even
        plain, step = name.strip().lower(), float(np.median(np.diff(times))) if len(times) > 1 else 0.0
        if _FRAME.fullmatch(plain):
            times = times / rate
        elif _MILLISECONDS.fullmatch(plain) or step > 1:  # nobody records one frame in more than a second
            times = times / 1000
    return times if np.isfinite(times).all() and (np.diff(times) > 0).all() else even


def _from_timecodes(parts: list[list[float]], rate: float) -> np.ndarray:
    """Seconds of (T, 5) hours, minutes, seconds, frames, and fractions of a second.

    A timecode does not tell its frames per second: they are those with which the times are most even, else `rate`.
    """
    hours, minutes, whole, frames, fractions = np.array(parts).T
    whole = 3600 * hours + 60 * minutes + whole + fractions
    whole += _MIDNIGHT * np.cumsum(np.diff(whole, prepend=whole[0]) < -_MIDNIGHT / 2)
    rates = [each for each in (rate, *_RATES) if each > frames.max()] or [frames.max() + 1]
    return min((whole + frames / each for each in rates), key=_unevenness)


def _unevenness(times: np.ndarray) -> float:
    steps = np.diff(times)
    return round(float(np.abs(steps - np.median(steps)).mean()), 4) if len(steps) else 0.0

"""A face capture: the weights of the 52 shapes and the rotation of the head, over time. Needs NumPy alone."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from ..errors import FaceLiftError
from .rig import SHAPES

HEAD = ("HeadYaw", "HeadPitch", "HeadRoll")
"""Names of the three angles of a head, as Live Link Face has them."""
FRAMES_MAX = 200_000
"""Frames of a take: almost an hour at 60 frames per second."""
HEAD_MAX, WEIGHT_MAX = 2.0, 10.0
"""Larger angles are degrees, larger weights percent: nobody in front of a camera turns the head by 2 radians."""
_SEPARATORS = re.compile(r"[._ -]")
_SIDE = re.compile(r"(left|l|right|r)$")


@dataclass(frozen=True)
class Take:
    """A recorded performance of T frames.

    Attributes:
        weights: (T, 52) float32 in [0, 1], strengths of the shapes in the order of :data:`SHAPES`.
        head: (T, 3) float32 rotation of the head in radians, zeros if unknown: yaw to the person's left, pitch up, roll
            to the person's right shoulder. :attr:`rotations` has them as matrices.
        times: (T,) float64 seconds since the first frame, increasing.
        notes: sentences for the user about the recording, for example that a part of it is missing.
    """

    weights: np.ndarray
    head: np.ndarray
    times: np.ndarray
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.times)

    @property
    def rotations(self) -> np.ndarray:
        """(T, 3, 3) float32 rotations of the head in the world (Z up, facing −Y): first roll, then pitch, then yaw."""
        yaw, pitch, roll = self.head.astype(np.float64).T
        return (_turn(2, yaw) @ _turn(0, -pitch) @ _turn(1, -roll)).astype(np.float32)


def resample(take: Take, fps: float) -> Take:
    """The take at `fps` frames per second, by linear interpolation.

    Raises:
        FaceLiftError: the rate is not positive, or gives more than 200,000 frames.
    """
    if not 0 < fps <= 1000:
        raise FaceLiftError(f"A frame rate must be between 0 and 1000, not {fps}.")
    count = int(np.floor(take.times[-1] * fps + 1e-6)) + 1
    if count > FRAMES_MAX:
        raise FaceLiftError(f"At {fps:g} frames per second the take has more than {FRAMES_MAX:,} frames.")
    times = np.arange(count) / fps
    head = np.unwrap(take.head.astype(np.float64), axis=0)
    return Take(
        _interpolated(times, take.times, take.weights), _interpolated(times, take.times, head), times, take.notes
    )


def canonical(name: str) -> str | None:
    """The name in :data:`SHAPES` or :data:`HEAD` that another program's `name` means, or None.

    Case and separators do not count; the side may be written out or be L or R, also of a shape that has none here.
    """
    plain = _SEPARATORS.sub("", name).lower()
    side = _SIDE.search(plain)
    if plain in _NAMES or not side:
        return _NAMES.get(plain)
    stem = plain[: side.start()]
    return _NAMES.get(stem + ("left" if side.group().startswith("l") else "right")) or _NAMES.get(stem)


_NAMES = {name.lower(): name for name in (*SHAPES, *HEAD)}


def assemble(columns: dict[str, np.ndarray], times: np.ndarray, notes: tuple[str, ...] = ()) -> Take:
    """A take from what a file has: percent become fractions, degrees radians, and what is missing is interpolated.

    Args:
        columns: name of :data:`SHAPES` or :data:`HEAD` → (T,) values, NaN where the face was lost.
        times: (T,) increasing seconds.

    Raises:
        FaceLiftError: there are no weights at all, or a value is infinite. The sentence begins with a verb.
    """
    values = np.zeros((len(times), len(SHAPES) + len(HEAD)))
    for place, name in enumerate((*SHAPES, *HEAD)):
        if name in columns:
            values[:, place] = columns[name]
    if np.isinf(values).any():
        raise FaceLiftError("contains infinite values.")
    lost = np.isnan(values)
    if lost[:, [place for place, name in enumerate(SHAPES) if name in columns]].all():
        raise FaceLiftError("contains no face in any frame.")
    if lost.any():
        frames = int(lost.any(axis=1).sum())
        notes += (f"The face is missing in {frames} of {len(times)} frames; they are interpolated.",)
        for column, missing in zip(values.T, lost.T, strict=True):
            if missing.any():
                column[missing] = 0 if missing.all() else np.interp(times[missing], times[~missing], column[~missing])
    weights, head = values[:, : len(SHAPES)], values[:, len(SHAPES) :]
    if weights.max() > WEIGHT_MAX:
        weights = weights / 100
    if np.abs(head).max() > HEAD_MAX:
        head = np.radians(head)
    return Take(np.clip(weights, 0, 1).astype(np.float32), head.astype(np.float32), times - times[0], notes)


def _interpolated(times: np.ndarray, known: np.ndarray, values: np.ndarray) -> np.ndarray:
    return np.stack([np.interp(times, known, column) for column in values.T], axis=1).astype(np.float32)


def _turn(axis: int, angles: np.ndarray) -> np.ndarray:
    """(T, 3, 3) rotations about an axis of the world."""
    a, b = (axis + 1) % 3, (axis + 2) % 3
    turns = np.zeros((len(angles), 3, 3))
    turns[:, axis, axis] = 1
    turns[:, a, a] = turns[:, b, b] = np.cos(angles)
    turns[:, b, a], turns[:, a, b] = np.sin(angles), -np.sin(angles)
    return turns

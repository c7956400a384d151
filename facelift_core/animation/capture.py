"""Read face captures of other programs (.csv, .json), and write them as Live Link Face does. Needs NumPy alone."""

from __future__ import annotations

import csv
import io
import os
import stat
from array import array
from pathlib import Path

import numpy as np

from ..errors import FaceLiftError
from ..files import replacing
from .capture_json import take_from_json, take_to_json
from .capture_times import find_times, seconds
from .rig import SHAPES
from .take import FRAMES_MAX, HEAD, Take, assemble, canonical, resample

__all__ = ["Take", "check_output", "read_take", "resample", "write_csv", "write_take"]

SIZE_MAX = 200_000_000
"""Bytes of a file."""
COLUMNS_MAX = 2_000
FPS = 60
"""Frames per second of Live Link Face, and of files that do not tell."""
# The order in which Live Link Face writes the shapes.
_PAIRED_EYES = ("Blink", "LookDown", "LookIn", "LookOut", "LookUp", "Squint", "Wide")
_ORDER = (
    *(f"Eye{action}{side}" for side in ("Left", "Right") for action in _PAIRED_EYES),
    "JawForward", "JawRight", "JawLeft", "JawOpen", "MouthClose", "MouthFunnel", "MouthPucker", "MouthRight",
    "MouthLeft", "MouthSmileLeft", "MouthSmileRight", "MouthFrownLeft", "MouthFrownRight", "MouthDimpleLeft",
    "MouthDimpleRight", "MouthStretchLeft", "MouthStretchRight", "MouthRollLower", "MouthRollUpper",
    "MouthShrugLower", "MouthShrugUpper", "MouthPressLeft", "MouthPressRight", "MouthLowerDownLeft",
    "MouthLowerDownRight", "MouthUpperUpLeft", "MouthUpperUpRight", "BrowDownLeft", "BrowDownRight", "BrowInnerUp",
    "BrowOuterUpLeft", "BrowOuterUpRight", "CheekPuff", "CheekSquintLeft", "CheekSquintRight", "NoseSneerLeft",
    "NoseSneerRight", "TongueOut",
)  # fmt: skip
_EYES = tuple(f"{side}Eye{angle}" for side in ("Left", "Right") for angle in ("Yaw", "Pitch", "Roll"))
HEADER = ("Timecode", "BlendshapeCount", *_ORDER, *HEAD, *_EYES)
"""Columns of a file of Live Link Face."""


def read_take(path: str | Path) -> Take:
    """Read a face capture.

    Understands .csv of Live Link Face and of others with ARKit's 52 names (in any order, case, and spelling of the
    side; separated by commas, semicolons, or tabs; with or without times), and .json with the same names: lists of
    frames, one list of names with rows of weights, and exports of Audio2Face. Shapes that a file lacks stay at 0.

    Args:
        path: the file, of at most 200,000 frames and 200 MB (.json: 100 MB).

    Raises:
        FaceLiftError: the file is missing, too large, damaged, or no face capture.
    """
    path = Path(path)
    try:
        state = os.stat(path)
        if not stat.S_ISREG(state.st_mode):
            raise FaceLiftError("is not a file.")
        if state.st_size > SIZE_MAX:
            raise FaceLiftError(f"is larger than {SIZE_MAX // 1_000_000} MB; cut the take into parts.")
        with open(path, "rb") as file:
            content = file.read(SIZE_MAX)
        if path.suffix.lower() == ".json" or content.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] in (b"{", b"["):
            return take_from_json(content, FPS)
        return _from_csv(content)
    except FileNotFoundError:
        raise FaceLiftError(f"There is no file {path}.") from None
    except OSError as error:
        raise FaceLiftError(f"Cannot read {path}: {error.strerror or error}.") from None
    except FaceLiftError as error:
        raise FaceLiftError(f"{path.name} {error}") from None


def check_output(path: str | Path) -> None:
    """Raise FaceLiftError if :func:`write_take` could not write to `path`: another suffix, or a missing folder."""
    path = Path(path)
    if path.suffix.lower() not in (".csv", ".json"):
        raise FaceLiftError(f"{path.name}: the name of a face capture must end with .csv or .json.")
    if not path.absolute().parent.is_dir():
        raise FaceLiftError(f"Cannot write {path}: the folder {path.parent} does not exist.")


def write_take(take: Take, path: str | Path) -> None:
    """Write a take as .csv in the layout of Live Link Face, or as .json, atomically.

    Raises:
        FaceLiftError: as :func:`check_output`, or the file cannot be written.
    """
    check_output(path)
    if Path(path).suffix.lower() == ".csv":
        write_csv(take, path)
        return
    with replacing(path) as temporary:
        temporary.write_text(take_to_json(take), encoding="utf-8")


def write_csv(take: Take, path: str | Path, fps: int = FPS) -> None:
    """Write a take in the layout of Live Link Face, atomically, so that other programs read it.

    Args:
        fps: frames per second that the timecode counts, whatever those of the take are.

    Raises:
        FaceLiftError: the file cannot be written.
    """
    names = {name.lower(): place for place, name in enumerate(SHAPES)}
    order = [names[name.lower()] for name in _ORDER]
    with replacing(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(HEADER)
        for time, weights, head in zip(take.times, take.weights[:, order], take.head, strict=True):
            values = [f"{value:.8f}" for value in (*weights, *head, *(0.0,) * len(_EYES))]
            writer.writerow([_timecode(time, fps), len(values), *values])


def _timecode(time: float, fps: int) -> str:
    thousandths = round(time * fps * 1000)
    frames, rest = divmod(thousandths, 1000)
    seconds, frame = divmod(frames, fps)
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}:{frame:02d}.{rest:03d}"


def _from_csv(content: bytes) -> Take:
    try:
        text = content.decode("utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    except UnicodeDecodeError:
        raise FaceLiftError("is not a text file; choose the .csv or .json file of a face capture.") from None
    first = text[: text.find("\n")] if "\n" in text else text
    separator = max(",;\t", key=first.count)
    try:
        rows = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
        header = [cell.strip() for cell in next(rows, [])]
        if len(header) > COLUMNS_MAX:
            raise FaceLiftError(f"has more than {COLUMNS_MAX:,} columns.")
        names = [canonical(cell) for cell in header]
        if not set(names) & set(SHAPES):
            raise FaceLiftError("has no column with the name of a face shape, such as JawOpen; it is no face capture.")
        used = {name: place for place, name in enumerate(names) if name}
        time = find_times(header)
        values, clock = array("d"), []
        for row in rows:
            if not any(map(str.strip, row)):
                continue
            if len(clock) == FRAMES_MAX:
                raise FaceLiftError(f"has more than {FRAMES_MAX:,} frames; cut the take into parts.")
            row = [_point(cell, separator) for cell in row[: len(header)]] + [""] * (len(header) - len(row))
            values.extend(_number(row[place], rows.line_num) for place in used.values())
            clock.append(row[header.index(time)] if time else "")
    except csv.Error as error:
        raise FaceLiftError(f"is damaged: {error}.") from None
    if not clock:
        raise FaceLiftError("contains no frames.")
    return assemble(dict(zip(used, np.array(values).reshape(len(clock), -1).T, strict=True)), seconds(time, clock, FPS))


def _point(cell: str, separator: str) -> str:
    """A cell with a decimal point, which files separated by semicolons may write as a comma."""
    return cell.strip() if separator == "," else cell.strip().replace(",", ".")


def _number(cell: str, line: int) -> float:
    """The number in a cell; NaN if it is empty, as where Live Link Face has lost the face."""
    if not cell:
        return np.nan
    try:
        value = float(cell)
    except ValueError:
        value = np.nan
    if not np.isfinite(value):
        raise FaceLiftError(f"has {cell[:20]!r} instead of a number in line {line}.")
    return value

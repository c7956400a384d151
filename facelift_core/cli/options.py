"""Argument types for argparse, with range checks and error messages."""

from __future__ import annotations

import glob
import math
import os
import re
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Callable, Sequence
from pathlib import Path

from ..errors import FaceLiftError
from ..files import target_of


class UsageError(FaceLiftError):
    """The combination of options is invalid; exit code 2."""


def whole_number(lowest: int, highest: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = lowest - 1
        if not lowest <= value <= highest:
            raise ArgumentTypeError(f"“{text}” is not a whole number from {lowest} to {highest}")
        return value

    return parse


def number(lowest: float, highest: float = math.inf) -> Callable[[str], float]:
    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not (math.isfinite(value) and lowest <= value <= highest):
            upper = f" to {highest:g}" if math.isfinite(highest) else ""
            raise ArgumentTypeError(f"“{text}” is not a number from {lowest:g}{upper}")
        return value

    return parse


def device(text: str) -> str:
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", text):
        raise ArgumentTypeError(f"“{text}” is not a device; use auto, cuda, cuda:1 and so on, mps or cpu")
    return text


def add_camera_arguments(parser: ArgumentParser, azimuth: str) -> None:
    """Add --azimuth, --elevation and --background; `azimuth` is the help of the first."""
    parser.add_argument("--azimuth", type=number(-360, 360), default=0.0, metavar="DEGREES", help=azimuth)
    parser.add_argument(
        "--elevation",
        type=number(-89, 89),
        default=0.0,
        metavar="DEGREES",
        help="camera elevation above the horizon (default 0)",
    )
    parser.add_argument(
        "--background", type=color, default=(1.0, 1.0, 1.0), help="color name or #rrggbb (default white)"
    )


def check_output(path: Path) -> None:
    """Raise FaceLiftError if `path` is no file that could be replaced, or in a folder that does not exist."""
    if target_of(path).is_dir() or not path.parent.is_dir():
        raise FaceLiftError(f"Cannot write {path}: its folder does not exist, or it is a folder itself.")


def matching(paths: Sequence[Path]) -> list[Path]:
    """Expand patterns such as “*.jpg”, which shells on Windows pass on; a file of that very name comes first."""
    expanded = []
    for path in paths:
        found = [path] if os.path.lexists(path) else [Path(name) for name in sorted(glob.glob(str(path)))]
        expanded += found or [path]
    return expanded


def color(text: str) -> tuple[float, float, float]:
    """Parse a color name or #rrggbb to RGB in [0, 1]."""
    try:
        from PIL import ImageColor
    except ImportError:
        raise ArgumentTypeError("colors need Pillow; install it with “facelift setup”") from None
    try:
        red, green, blue = ImageColor.getrgb(text)[:3]
    except ValueError:
        raise ArgumentTypeError(f"“{text}” is neither a color name nor #rrggbb") from None
    return red / 255, green / 255, blue / 255

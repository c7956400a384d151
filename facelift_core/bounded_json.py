"""JSON that others wrote: requests, answers, settings, manifests. Bounded in size and depth before it is used."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

SIZE_MAX = 1 << 20
"""Bytes of a document; callers with longer ones pass their own bound."""
DEPTH_MAX = 32


def parse(content: bytes | str, size_max: int = SIZE_MAX) -> Any:
    """Parse a JSON document in UTF-8.

    Raises:
        ValueError: it is too long, too deep, or not valid JSON; ``str(error)`` says which, without a period.
    """
    if len(content) > size_max:
        raise ValueError(f"longer than {size_max:,} bytes")
    try:
        value = json.loads(
            content.decode("utf-8-sig") if isinstance(content, bytes) else content, parse_constant=_refuse
        )
    except UnicodeDecodeError:
        raise ValueError("not UTF-8") from None
    except RecursionError:
        raise ValueError("nested too deeply") from None
    level = [value]
    for _ in range(DEPTH_MAX):
        level = [
            child
            for entry in level
            if isinstance(entry, dict | list)
            for child in (entry.values() if isinstance(entry, dict) else entry)
        ]
        if not level:
            return value
    raise ValueError("nested too deeply")


def read(path: str | Path, size_max: int = SIZE_MAX) -> Any:
    """Read and parse a file, see :func:`parse`. Devices and pipes are refused, because they may never end.

    Raises:
        ValueError: as :func:`parse`, or the path is not a file.
        OSError: the file cannot be read.
    """
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise ValueError("not a file")
    with open(path, "rb") as file:
        return parse(file.read(size_max + 1), size_max)


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is not a number")

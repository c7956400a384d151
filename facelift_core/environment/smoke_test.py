"""The proof that a runtime works: the built-in checkpoint on a drawn portrait, through the worker, to a head."""

from __future__ import annotations

import json
import struct
import time
import zlib
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..errors import Cancelled, FaceLiftError
from ..jobs import reconstruct as job
from . import launch

SIDE = 128
STEPS = 2
SILENCE_SECONDS = 900.0
"""Slow disks and virus scanners take minutes over the first import of PyTorch."""


def run(
    python: Path, folder: Path, device: str, tell: Callable[[str], None], cancelled: Callable[[], bool]
) -> dict[str, Any]:
    """Reconstruct in `python`; returns the worker's summary.

    Args:
        folder: for the portrait and the head; the caller removes it.
        device: "auto", "cpu", "cuda" or "mps".

    Raises:
        FaceLiftError: it does not work; the reason in a sentence.
        Cancelled: `cancelled` answered true.
    """
    folder.mkdir(parents=True, exist_ok=True)
    photo = folder / "trial.png"
    photo.write_bytes(portrait())
    request = job.Request(
        str(photo), str(folder / "trial"), device=device, steps=STEPS, crop=False, matting="none", guidance_scale=1.0
    )
    said = json.dumps({"do": "run", "job": "trial", "request": asdict(request)}) + "\n"
    last: dict[str, Any] = {}
    words: list[str] = []
    heard = time.monotonic()

    def hear(line: str | None) -> None:
        nonlocal heard
        if cancelled():
            raise Cancelled
        if line is None:
            if time.monotonic() - heard > SILENCE_SECONDS:
                raise FaceLiftError("The trial run does not answer; install again, or see the log.")
            return
        heard = time.monotonic()
        try:
            event = json.loads(line)
        except ValueError:
            event = None
        if not isinstance(event, dict) or event.get("job") != "trial":
            words.append(line)
        elif event["event"] == "progress":
            tell(str(event.get("message", "")))
        elif event["event"] in ("done", "failed", "cancelled"):
            last.update(event)
            raise _Over

    with launch.Child(launch.command(python, "jobs.worker"), launch.environment(), said) as child:
        try:
            code = child.follow(hear)
        except _Over:
            code = 0
    if last.get("event") == "done" and last.get("gaussians", 0) > 0:
        return last
    if last:
        raise FaceLiftError(str(last.get("message") or "The trial run gave no head."))
    raise FaceLiftError(f"The worker ended with code {code}: {words[-1] if words else 'it said nothing'}")


class _Over(Exception):
    """The worker's last word on the job."""


def portrait(side: int = SIDE) -> bytes:
    """A PNG of a face as children draw it, RGB, `side`², on white; without any imaging library."""

    def colour(x: float, y: float) -> tuple[int, int, int]:
        if (x / 0.6) ** 2 + (y / 0.8) ** 2 > 1:
            return 255, 255, 255
        if min((x - 0.22) ** 2, (x + 0.22) ** 2) + (y + 0.15) ** 2 < 0.006:
            return 40, 30, 30
        if (x / 0.25) ** 2 + ((y - 0.4) / 0.06) ** 2 < 1:
            return 170, 80, 80
        shade = 0.85 - 0.3 * x
        return int(235 * shade), int(190 * shade), int(165 * shade)

    scale = 2 / side
    rows = (
        bytes([0, *(v for x in range(side) for v in colour((x + 0.5) * scale - 1, (y + 0.5) * scale - 1))])
        for y in range(side)
    )
    parts = (
        (b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(b"".join(rows))),
        (b"IEND", b""),
    )
    chunks = (struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in parts)
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)

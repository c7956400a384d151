"""Smoke test of a runtime: reconstruct a head from a drawn portrait with the built-in weights, through the worker."""

from __future__ import annotations

import struct
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..errors import Cancelled, FaceLiftError
from ..processes.client import Worker, WorkerEnded
from ..processes.protocol import Done, Failed, Progress

JOB = "trial"
SIDE = 128
STEPS = 2
TICK_SECONDS = 0.2
SILENCE_SECONDS = 900.0
"""Generous: on slow disks or with virus scanners, the first import of PyTorch takes minutes."""


def run(
    python: Path, folder: Path, device: str, tell: Callable[[str], None], cancelled: Callable[[], bool]
) -> dict[str, Any]:
    """Run a reconstruction in `python` and return the worker's summary.

    Args:
        python: the runtime's Python.
        folder: folder for the portrait and the head; the caller removes it.
        device: "auto", "cpu", "cuda" or "mps".
        tell: called with progress messages.
        cancelled: polled; returns true to stop.

    Raises:
        FaceLiftError: the reconstruction failed.
        Cancelled: `cancelled` returned true.
    """
    folder.mkdir(parents=True, exist_ok=True)
    photo = folder / "trial.png"
    photo.write_bytes(portrait())
    request = {
        "photo": str(photo),
        "folder": str(folder / "trial"),
        "device": device,
        "steps": STEPS,
        "crop": False,
        "matting": "none",
        "guidance_scale": 1.0,
    }
    try:
        worker = Worker(python)
    except WorkerEnded as error:
        raise FaceLiftError(str(error)) from None
    heard = time.monotonic()
    try:
        worker.request("reconstruct", JOB, request)
        while True:
            if cancelled():
                raise Cancelled
            message = worker.receive(TICK_SECONDS)
            if message is None:
                if time.monotonic() - heard > SILENCE_SECONDS:
                    raise FaceLiftError("The test run does not respond; install again, or see the log.")
                continue
            heard = time.monotonic()
            job, event = message
            if job == JOB and isinstance(event, Progress):
                tell(event.message)
            elif job == JOB and isinstance(event, Failed):
                raise FaceLiftError(event.message)
            elif job == JOB and isinstance(event, Done):
                if not event.result.get("gaussians"):
                    raise FaceLiftError("The test run produced no head; install again, or see the log.")
                return event.result
    except WorkerEnded as error:
        raise FaceLiftError(str(error)) from None
    finally:
        worker.kill()


def portrait(side: int = SIDE) -> bytes:
    """Return an RGB PNG of a simple drawn face on white, `side` × `side`, made without an imaging library."""

    def color(x: float, y: float) -> tuple[int, int, int]:
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
        bytes([0, *(v for x in range(side) for v in color((x + 0.5) * scale - 1, (y + 0.5) * scale - 1))])
        for y in range(side)
    )
    parts = (
        (b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(b"".join(rows))),
        (b"IEND", b""),
    )
    chunks = (struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in parts)
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)

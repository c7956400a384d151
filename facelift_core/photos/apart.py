"""Decode a photo in a process of its own, with limits of memory and time, whose crash or noise does not reach ours."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress

from PIL import Image

from .. import bounded_json
from ..errors import FaceLiftError
from ..processes import launch
from .photo import Photo

MEMORY = 3 * 2**30
"""Address space of the process in bytes, where the system can limit it: enough for 256 megapixels in most formats."""
SECONDS, SECONDS_PER_BYTE = 6.0, 2e-6
"""Processor time for a photo, and more for each byte of its file."""
WAIT = 4.0
"""The process may take this many times as long by the clock, because others use the processor as well."""
TOO_LARGE = "{} takes too much memory to decode; reduce its size first."
TOO_LONG = "{} takes too long to decode; it may be damaged: save it as a JPEG and use that."
CRASHED = "{} is damaged or incomplete; save or download it again."


def decode(content: bytes, name: str, orientation: int = 1) -> Photo:
    """Decode a file like :func:`.opening.decode_content`, in another process.

    Raises:
        FaceLiftError: as there, or the file takes too much memory or time.
    """
    seconds = SECONDS + SECONDS_PER_BYTE * len(content)
    task = {"name": name, "orientation": orientation, "bytes": len(content), "seconds": seconds, "memory": MEMORY}
    try:
        done = launch.run(
            launch.command(sys.executable, "photos.apart"),
            WAIT * seconds,
            json.dumps(task).encode() + b"\n" + content,
            {"OPENBLAS_NUM_THREADS": "1"},
            subprocess.DEVNULL,
        )
    except launch.OutOfTime:
        raise FaceLiftError(TOO_LONG.format(name)) from None
    except FaceLiftError as error:
        raise FaceLiftError(f"{name} cannot be decoded: {error}") from None
    answer, _, pixels = done.stdout.partition(b"\n")
    if done.returncode or not answer:
        out_of_time = sys.platform != "win32" and done.returncode in (-signal.SIGXCPU, -signal.SIGKILL)
        raise FaceLiftError((TOO_LONG if out_of_time else CRASHED).format(name))
    said = bounded_json.parse(answer)
    if "problem" in said:
        raise FaceLiftError(said["problem"])
    image = Image.frombytes(said["mode"], tuple(said["size"]), pixels)
    return Photo(image, name, tuple(said["notes"]))


def main() -> None:
    """Read a task and the file from standard input, and write the answer and the pixels to standard output."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # nothing that a library prints gets between
    task = bounded_json.parse(sys.stdin.buffer.readline())
    content = sys.stdin.buffer.read(task["bytes"])
    _limit(task["seconds"], task["memory"])
    Image.MAX_IMAGE_PIXELS = None  # our own limits apply
    from .opening import decode_content

    try:
        photo = decode_content(content, task["name"], task["orientation"])
        image = photo.image
        answer = {"mode": image.mode, "size": image.size, "notes": photo.notes}
        pixels = image.tobytes()
    except MemoryError:
        answer, pixels = {"problem": TOO_LARGE.format(task["name"])}, b""
    except FaceLiftError as error:
        ran_out = isinstance(error.__cause__, MemoryError)
        answer, pixels = {"problem": TOO_LARGE.format(task["name"]) if ran_out else str(error)}, b""
    answers.write(json.dumps(answer).encode() + b"\n")
    answers.write(pixels)
    answers.close()


def _limit(seconds: float, memory: int) -> None:
    with suppress(ImportError):  # Windows has no such limits
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        with suppress(ValueError, OSError):  # macOS does not limit address space
            resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
        resource.setrlimit(resource.RLIMIT_CPU, (int(seconds + 1), int(seconds + 1) + 2))


if __name__ == "__main__":
    main()

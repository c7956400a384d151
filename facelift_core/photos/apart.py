"""Decode a photo in a process of its own; see :mod:`facelift_core.processes.confined`."""

from __future__ import annotations

from typing import Any

from PIL import Image

from ..errors import FaceLiftError
from ..processes import confined, launch
from .photo import Photo

MEMORY = 3 * 2**30
"""Address space of the process in bytes: enough for 256 megapixels in most formats."""
SECONDS, SECONDS_PER_BYTE = 6.0, 2e-6
"""Processor time for a photo, and more for each byte of its file."""


def decode(content: bytes, name: str, orientation: int = 1) -> Photo:
    """Decode a file like :func:`.opening.decode_content`, in another process.

    Raises:
        FaceLiftError: as there, or the file takes too much memory or time.
    """
    seconds = SECONDS + SECONDS_PER_BYTE * len(content)
    task = {"name": name, "orientation": orientation}
    try:
        said, pixels = confined.run("photos.apart", task, content, seconds=seconds, memory=MEMORY)
    except launch.OutOfTime:
        problem = f"{name} takes too long to decode; it may be damaged: save it as a JPEG and use that."
    except confined.OutOfMemory:
        problem = f"{name} takes too much memory to decode; reduce its size first."
    except confined.Crashed:
        problem = f"{name} is damaged or incomplete; save or download it again."
    else:
        image = Image.frombytes(said["mode"], tuple(said["size"]), pixels)
        return Photo(image, name, tuple(said["notes"]))
    raise FaceLiftError(problem)


def _decode(task: dict[str, Any], content: bytes) -> tuple[dict[str, Any], bytes]:
    Image.MAX_IMAGE_PIXELS = None  # our own limits apply
    from .opening import decode_content

    photo = decode_content(content, task["name"], task["orientation"])
    return {"mode": photo.image.mode, "size": photo.image.size, "notes": photo.notes}, photo.image.tobytes()


if __name__ == "__main__":
    confined.serve(_decode)

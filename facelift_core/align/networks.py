"""MediaPipe's networks, run by OpenCV; licences and sources: ``weights/README.md``."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

import cv2
import numpy as np

from ..errors import FaceLiftError

WEIGHTS = Path(__file__).parent / "weights"


@cache
def weights_of(name: str, sha256: str, purpose: str) -> np.ndarray:
    """The bytes of the network file `name`.

    Args:
        purpose: what it does, for people.

    Raises:
        FaceLiftError: it is missing or not the one with this checksum.
    """
    try:
        content = (WEIGHTS / name).read_bytes()
    except OSError as error:
        raise FaceLiftError(f"{name}, which {purpose}, is missing; install again.") from error
    if hashlib.sha256(content).hexdigest() != sha256:
        raise FaceLiftError(f"{name}, which {purpose}, is damaged; install again.")
    return np.frombuffer(content, np.uint8)


def load_network(name: str, sha256: str, purpose: str) -> cv2.dnn.Net:
    """A network of its own for the caller: running one is not safe in two threads at once. As :func:`weights_of`."""
    return cv2.dnn.readNetFromTFLite(weights_of(name, sha256, purpose))

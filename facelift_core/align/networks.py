"""Load MediaPipe's networks with OpenCV. Licenses and sources: ``weights/README.md``."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import cv2
import numpy as np

from ..files import read_shipped

WEIGHTS = Path(__file__).parent / "weights"


@cache
def weights_of(name: str, sha256: str, purpose: str) -> np.ndarray:
    """Read a network file and verify its checksum.

    Args:
        name: file name in the ``weights`` folder.
        sha256: expected checksum, hexadecimal.
        purpose: what the network does, as a verb phrase for error messages.

    Returns:
        The bytes of the file, uint8.

    Raises:
        FaceLiftError: the file is missing or has another checksum.
    """
    return np.frombuffer(read_shipped(WEIGHTS / name, sha256, purpose), np.uint8)


def load_network(name: str, sha256: str, purpose: str) -> cv2.dnn.Net:
    """Create a new network from a file; arguments and errors as in :func:`weights_of`.

    Networks are not shared, because a network must not run in two threads at once.
    """
    return cv2.dnn.readNetFromTFLite(weights_of(name, sha256, purpose))

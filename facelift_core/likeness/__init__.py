"""Make the head look like the photo, with a front made of the photo's pixels.

``surface`` finds the visible surface of the head, ``skin`` covers it with the photo's pixels as Gaussians, ``harmony``
adapts the colors of the rest, and ``refine`` fits the result to the photo by gradient descent. Importing this package
does not import PyTorch.
"""

from __future__ import annotations

from typing import Literal, get_args

from ..errors import FaceLiftError

Likeness = Literal["off", "photo", "refined"]
"""The published method; with a front made from the photo; and with that front fitted to the photo."""
LIKENESS: tuple[str, ...] = get_args(Likeness)


def check(likeness: str) -> None:
    """Raise FaceLiftError unless `likeness` is one of :data:`LIKENESS`."""
    if likeness not in LIKENESS:
        raise FaceLiftError(f"Unknown likeness “{likeness}”; use one of {', '.join(LIKENESS)}.")

"""The head looks like the photo: its front is made of the photo's pixels.

``surface`` finds where the camera's rays meet the head, ``skin`` puts the photo there as Gaussians, ``harmony`` carries
its colours on to the rest, ``refine`` fits all of it to the photo through the renderer. Importing this package does not
need PyTorch.
"""

from __future__ import annotations

from typing import Literal, get_args

from ..errors import FaceLiftError

Likeness = Literal["off", "photo", "refined"]
"""As published, from the six views alone; with a front from the photo; and that fitted to the photo."""
LIKENESS: tuple[str, ...] = get_args(Likeness)


def check(likeness: str) -> None:
    """Raise FaceLiftError unless `likeness` is one of :data:`LIKENESS`."""
    if likeness not in LIKENESS:
        raise FaceLiftError(f"“{likeness}” is not a likeness FaceLift knows; use {', '.join(LIKENESS)}.")

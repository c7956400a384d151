"""How much of the photo itself the head shows. Importing this does not need PyTorch."""

from __future__ import annotations

from ..errors import FaceLiftError

LIKENESS = ("off", "photo", "refined")


def check(likeness: str) -> None:
    """Raises FaceLiftError for a likeness that is none."""
    if likeness not in LIKENESS:
        raise FaceLiftError(f"“{likeness}” is not a likeness FaceLift knows; use {', '.join(LIKENESS)}.")

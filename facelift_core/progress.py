"""Progress reporting and cancellation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from .errors import Cancelled

ProgressCallback = Callable[[str, float, str], None]
"""Called with the stage ("align", "views", "gaussians", "filter", "skin", "refine"), the fraction
of the whole run in [0, 1], and a message."""

Cancel = Callable[[], bool]
"""Polled often; the run stops when it returns true."""


@dataclass(frozen=True)
class Monitor:
    """Reports the progress of one stage to the caller's callbacks.

    Attributes:
        stage: name of the stage.
        progress, cancelled: the caller's callbacks, or None.
        start, end: the part of the whole run that this stage covers, in [0, 1].
    """

    stage: str
    progress: ProgressCallback | None = None
    cancelled: Cancel | None = None
    start: float = 0.0
    end: float = 1.0

    def __call__(self, fraction: float, message: str) -> None:
        """Report that `fraction` of the stage is done. Raises Cancelled if the run was cancelled."""
        self.check()
        if self.progress is not None:
            self.progress(self.stage, self.start + (self.end - self.start) * fraction, message)

    def part(self, start: float, end: float) -> Monitor:
        """Return a monitor for the part of this stage between two fractions of it."""
        width = self.end - self.start
        return replace(self, start=self.start + width * start, end=self.start + width * end)

    def check(self) -> None:
        """Raise Cancelled if the run was cancelled."""
        if self.cancelled is not None and self.cancelled():
            raise Cancelled

    def forward(self, stage: str, fraction: float, message: str) -> None:
        """The :data:`ProgressCallback` for a callee whose whole run is this stage."""
        if self.progress is not None:
            self.progress(self.stage, self.start + (self.end - self.start) * fraction, message)

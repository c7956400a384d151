"""How a run tells where it is, and is told to stop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from .errors import Cancelled

Progress = Callable[[str, float, str], None]
"""Called with the stage ("align", "views", "gaussians", "filter", "skin", "refine"), the fraction of the whole run,
and a message."""

Cancel = Callable[[], bool]
"""Asked often; true stops the run."""


@dataclass(frozen=True)
class Monitor:
    """One stage's view of the caller's callbacks.

    Attributes:
        stage: name of the stage.
        progress, cancelled: the caller's, or None.
        start, end: the part of the whole run that this stage is.
    """

    stage: str
    progress: Progress | None = None
    cancelled: Cancel | None = None
    start: float = 0.0
    end: float = 1.0

    def __call__(self, fraction: float, message: str) -> None:
        """Report that `fraction` of the stage is done, unless the run is cancelled: raises Cancelled."""
        self.check()
        if self.progress is not None:
            self.progress(self.stage, self.start + (self.end - self.start) * fraction, message)

    def part(self, start: float, end: float) -> Monitor:
        """Of a piece of the stage, from one fraction of it to another."""
        width = self.end - self.start
        return replace(self, start=self.start + width * start, end=self.start + width * end)

    def check(self) -> None:
        """Raise Cancelled if the caller wants to stop."""
        if self.cancelled is not None and self.cancelled():
            raise Cancelled

    def forward(self, stage: str, fraction: float, message: str) -> None:
        """A :data:`Progress` for a callee whose whole run is this stage."""
        if self.progress is not None:
            self.progress(self.stage, self.start + (self.end - self.start) * fraction, message)

"""How far a run is in time, and how much longer it takes. Does not import PyTorch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

MEASURED_PART, MEASURED_SECONDS = 0.1, 0.5
"""Of a stage, from which on its speed counts as measured."""


@dataclass
class RunClock:
    """Turns fractions of a run into fractions of its time, and tells the seconds left where it can.

    What is left of a stage is extrapolated from its own speed. The stages after it take as long as in an earlier run,
    corrected by how this stage compares to it. Without an earlier run they are guessed, to within a factor of 2, and
    the sum is told only while less than half of it is guessed: it is right within a factor of 1.5, or not told.

    Attributes:
        usual: seconds of each stage, in order, in whose proportions the fractions come.
        past: seconds of the same stages in an earlier run on this machine; None if there is none.
    """

    usual: Mapping[str, float]
    past: Mapping[str, float] | None = None
    _stage: str = ""
    _begun: tuple[float, float] = (0.0, 0.0)

    def look(self, stage: str, fraction: float, now: float) -> tuple[float, float | None]:
        """Fraction of the run's time, and seconds left or None, at `fraction` of the run and time `now` in seconds."""
        if stage not in self.usual:
            return fraction, None
        expected = self.past or self.usual
        stages, whole = list(self.usual), sum(expected.values())
        at = stages.index(stage)
        before, later = (sum(expected[name] for name in part) for part in (stages[:at], stages[at + 1 :]))
        done = expected[stage] * self._part(stage, at, fraction)
        if stage != self._stage:
            self._stage, self._begun = stage, (now, done)
        took, did = now - self._begun[0], done - self._begun[1]
        measured = took >= MEASURED_SECONDS and did > 0 and did >= MEASURED_PART * expected[stage]
        slower = took / did if measured else 1.0
        rest = (expected[stage] - done) * slower
        left = rest + later * (slower if self.past else 1.0)
        told = self.past is not None or (measured and later <= rest)
        return (before + done) / max(whole, 1e-9), left if told else None

    def _part(self, stage: str, at: int, fraction: float) -> float:
        """Fraction of the stage that is done at `fraction` of the run."""
        whole = sum(self.usual.values())
        before = sum(list(self.usual.values())[:at])
        return min(1.0, max(0.0, (fraction * whole - before) / max(self.usual[stage], 1e-9)))

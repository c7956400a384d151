"""Estimate the progress of a run by time, and the time left. Does not import PyTorch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

MEASURED_PART, MEASURED_SECONDS = 0.1, 0.5
"""Minimum fraction of a stage, and minimum seconds, after which its speed counts as measured."""


@dataclass
class RunClock:
    """Converts fractions of a run to fractions of its time, and estimates the seconds left.

    The rest of the current stage is extrapolated from its own speed. Later stages are expected to take as long as in an
    earlier run, scaled by how the current stage compares with it. Without an earlier run, their times are guesses
    within a factor of 2, and the sum is returned only if less than half of it is guessed, so that it is right within a
    factor of 1.5.

    Attributes:
        usual: typical seconds of each stage, in order; the fractions of the run are in these proportions.
        past: seconds of the same stages in an earlier run on this machine; None if there is none.
    """

    usual: Mapping[str, float]
    past: Mapping[str, float] | None = None
    _stage: str = ""
    _begun: tuple[float, float] = (0.0, 0.0)

    def look(self, stage: str, fraction: float, now: float) -> tuple[float, float | None]:
        """Return the fraction of the run's time and the seconds left (None if unknown).

        Args:
            stage: the current stage.
            fraction: fraction of the run.
            now: current time in seconds.
        """
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
        """Return the fraction of the stage that is done at `fraction` of the run."""
        whole = sum(self.usual.values())
        before = sum(list(self.usual.values())[:at])
        return min(1.0, max(0.0, (fraction * whole - before) / max(self.usual[stage], 1e-9)))

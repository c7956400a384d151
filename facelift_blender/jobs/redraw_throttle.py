"""Limits how often the panel is redrawn while a job runs. Does not use ``bpy``."""

from __future__ import annotations

from dataclasses import dataclass

SHORTEST, LONGEST = 0.5, 2.0
"""Minimum and maximum seconds between redraws caused by progress."""
CLOCK = 1.0
"""Seconds between redraws that only update the elapsed time."""
SHARE = 0.02
"""Largest fraction of the interface's time spent redrawing; slow redraws happen less often."""


@dataclass
class RedrawThrottle:
    """Decides on every timer tick whether to redraw, based on the measured cost of a redraw.

    Attributes:
        tick: seconds between calls of :meth:`look`.
        pending: there are changes that have not been drawn.
        drawn: time of the last redraw, in seconds.
        cost: estimated seconds per redraw: how late the tick after a redraw was.
    """

    tick: float
    pending: bool = False
    drawn: float = float("-inf")
    cost: float = 0.0
    _expected: float | None = None

    def look(self, now: float, news: bool, at_once: bool, moving: bool) -> bool:
        """Whether to redraw now.

        Args:
            now: current time in seconds.
            news: something changed that can wait, such as the progress bar.
            at_once: something changed that must be shown immediately.
            moving: the panel shows an elapsed time, which advances without other changes.
        """
        if self._expected is not None:
            self.cost, self._expected = max(now - self._expected, self.cost / 2, 0.0), None
        self.pending = self.pending or news
        pause = min(LONGEST, max(SHORTEST, self.cost / SHARE))
        waited = now - self.drawn
        if not (at_once or (self.pending and waited >= pause) or (moving and waited >= max(CLOCK, pause))):
            return False
        self.pending, self.drawn, self._expected = False, now, now + self.tick
        return True

"""How often the panel is drawn while a job runs. No ``bpy`` in here."""

from __future__ import annotations

from dataclasses import dataclass

SHORTEST, LONGEST = 0.5, 2.0
"""Seconds between two drawings: no more often than eyes need, no less often than people believe in."""
CLOCK = 1.0
"""Seconds after which the time that has passed is drawn, without other news."""
SHARE = 0.02
"""Of the interface's time that drawing may take: where it is slow, it happens less often."""


@dataclass
class RedrawThrottle:
    """Decides at every tick of the timer whether to draw, by what drawing costs on this machine.

    Attributes:
        tick: seconds from one look to the next.
        pending: there is news that has not been drawn.
        drawn: clock of the last drawing.
        cost: seconds by which ticks after drawings were late: what they cost.
    """

    tick: float
    pending: bool = False
    drawn: float = float("-inf")
    cost: float = 0.0
    _expected: float | None = None

    def look(self, now: float, news: bool, at_once: bool, moving: bool) -> bool:
        """Whether to draw now.

        Args:
            now: clock in seconds.
            news: something has changed that can wait, such as the bar.
            at_once: something has changed that cannot.
            moving: a clock in the panel moves without news.
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

"""Progress of moving many bytes: how many, how fast, how long still."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field, replace

from ..progress import Monitor
from .store import size_text

REPORT_SECONDS = 0.2
SPEED_SECONDS = 10.0
"""The speed is that of these last seconds."""


@dataclass
class Transfer:
    """Counts bytes towards `total` and tells `monitor`; ``advance`` is cheap enough to call for every block.

    Attributes:
        verb: what is going on, for people.
        done: bytes so far, also those of earlier runs, which do not count for the speed.
    """

    monitor: Monitor
    verb: str
    total: int
    done: int = 0
    _marks: deque[tuple[float, int]] = field(default_factory=deque)
    _told: float = 0.0

    def advance(self, count: int = 0) -> None:
        """`count` more bytes are done. Raises Cancelled if the caller of it all wants to stop."""
        self.done += count
        now = time.monotonic()
        if now - self._told < REPORT_SECONDS:
            self.monitor.check()
            return
        self._told = now
        self._marks.append((now, self.done))
        while now - self._marks[0][0] > SPEED_SECONDS:
            self._marks.popleft()
        self.monitor(self.fraction, self._message())

    def restart(self, done: int) -> None:
        """Go on from `done` bytes, which may be fewer than before; nothing was moved."""
        self.done = done
        self._marks.clear()

    def monitor_here(self) -> Monitor:
        """For something on the way, during which the fraction stands still."""
        here = self.monitor.start + (self.monitor.end - self.monitor.start) * self.fraction
        return replace(self.monitor, start=here, end=here)

    @property
    def fraction(self) -> float:
        return min(1.0, self.done / max(self.total, 1))

    def _message(self) -> str:
        text = f"{self.verb}: {size_text(self.done)} of {size_text(self.total)}"
        (start, before), (end, now) = self._marks[0], self._marks[-1]
        if end - start < 1.0 or now <= before:
            return text
        speed = (now - before) / (end - start)
        return f"{text}, {size_text(speed)}/s, {_duration((self.total - self.done) / speed)} left"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"

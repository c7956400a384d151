"""Progress of a transfer in bytes, with speed and time left."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field, replace

from ..progress import Monitor
from .store import size_text

REPORT_SECONDS = 0.2
SPEED_SECONDS = 10.0
"""The speed is averaged over the last this many seconds."""


@dataclass
class ByteProgress:
    """Counts bytes and reports them to a monitor. :meth:`advance` is cheap enough to call for every block.

    Attributes:
        monitor: receives the progress.
        verb: what is being done, such as "Downloading"; begins the message.
        total: number of bytes in all.
        done: bytes done so far, including earlier runs. Those do not count toward the speed.
    """

    monitor: Monitor
    verb: str
    total: int
    done: int = 0
    _marks: deque[tuple[float, int]] = field(default_factory=deque)
    _told: float = 0.0

    def advance(self, count: int = 0) -> None:
        """Add `count` bytes. Raises Cancelled if the run was cancelled."""
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
        """Resume from `done` bytes, which may be fewer than before. Resets the speed."""
        self.done = done
        self._marks.clear()

    def monitor_here(self) -> Monitor:
        """Return a monitor for an intermediate step during which the fraction does not change."""
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

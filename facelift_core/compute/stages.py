"""The stages of a run: their share of the progress, and how long each takes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch

from ..progress import Cancel, Monitor, Progress
from .device import wait_for


@dataclass(frozen=True)
class Stages:
    """Times the stages of one run and reports them.

    Attributes:
        device: that they work on, and are over when it is done.
        expected: seconds that each stage takes, in their order; only their proportions count.
        timings: seconds that each has taken.
    """

    device: torch.device
    progress: Progress | None
    cancelled: Cancel | None
    expected: dict[str, float]
    timings: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str, message: str) -> Iterator[Monitor]:
        stages, whole = list(self.expected), sum(self.expected.values())
        before = sum(self.expected[stage] for stage in stages[: stages.index(name)])
        span = before / whole, (before + self.expected[name]) / whole
        monitor = Monitor(name, self.progress, self.cancelled, *span)
        monitor(0.0, message)
        start = time.perf_counter()
        yield monitor
        wait_for(self.device)
        self.timings[name] = time.perf_counter() - start
        monitor(1.0, message)

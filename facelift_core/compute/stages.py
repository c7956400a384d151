"""Time the stages of a run and report their progress."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch

from ..progress import Cancel, Monitor, ProgressCallback
from .device import wait_for


@dataclass(frozen=True)
class Stages:
    """Times the stages of one run and reports them.

    Attributes:
        device: the device of the run; a stage ends when its work there is finished.
        expected: expected seconds of each stage, in order; only their proportions matter.
        timings: measured seconds of each finished stage.
    """

    device: torch.device
    progress: ProgressCallback | None
    cancelled: Cancel | None
    expected: dict[str, float]
    timings: dict[str, float] = field(default_factory=dict)

    def monitor(self, name: str) -> Monitor:
        """Return the monitor of a stage, for work before it that does not count as its time."""
        stages, whole = list(self.expected), sum(self.expected.values())
        before = sum(self.expected[stage] for stage in stages[: stages.index(name)])
        return Monitor(name, self.progress, self.cancelled, before / whole, (before + self.expected[name]) / whole)

    @contextmanager
    def stage(self, name: str, message: str) -> Iterator[Monitor]:
        monitor = self.monitor(name)
        monitor(0.0, message)
        start = time.perf_counter()
        yield monitor
        wait_for(self.device)
        self.timings[name] = time.perf_counter() - start
        monitor(1.0, message)

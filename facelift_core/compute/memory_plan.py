"""Estimate the memory of a reconstruction and choose a plan that fits. Does not import PyTorch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

RESERVE = 400 * 2**20
"""Bytes for what is not counted: convolution workspaces and fragmentation."""
SLACK = 1.15
BATCHED, BRANCHES = "unet", 2
"""The network whose `work` doubles if both guidance branches run in one batch."""
HEADS_MAX = 2


@dataclass(frozen=True)
class MemoryPlan:
    """A trade-off between memory and speed. All plans give the same views and Gaussians.

    Attributes:
        name: display name.
        batch_guidance: evaluate both guidance branches in one batch of 12 views; otherwise in two batches of 6.
        offload: weight offloading: keep a network's weights on the device only while it runs; otherwise keep all there.
    """

    name: str
    batch_guidance: bool
    offload: bool


PLANS = (
    MemoryPlan("all weights loaded, 12 views at once", True, False),
    MemoryPlan("all weights loaded, 6 views at once", False, False),
    MemoryPlan("weights in turn, 12 views at once", True, True),
    MemoryPlan("weights in turn, 6 views at once", False, True),
)
"""From the fastest to the one that needs the least memory."""


@dataclass(frozen=True)
class Needs:
    """Memory of the networks in bytes, by network name.

    Attributes:
        weights: size of the weights while the network runs.
        parked: size of the offloaded weights if they stay in the same memory; 0 if they are elsewhere, as the weights
            of a GPU are in main memory.
        work: activations and workspaces for six views at once, in addition to the weights.

        overhead: constant overhead of the libraries.
        skin: memory for making the front from the photo, when no network runs.
    """

    weights: Mapping[str, int]
    parked: Mapping[str, int]
    work: Mapping[str, int]

    overhead: int = 0
    skin: int = 0

    def peak(self, plan: MemoryPlan, heads: int = 1) -> int:
        """Return the peak memory of a run with `plan`, in bytes, with the views of `heads` heads in one batch."""
        batches = heads * (BRANCHES if plan.batch_guidance else 1)
        work = {name: size * (batches if name == BATCHED else 1) for name, size in self.work.items()}
        if not plan.offload:
            return self.overhead + sum(self.weights.values()) + max(*work.values(), self.skin)
        copied = {name: size if size > self.parked[name] else 0 for name, size in self.weights.items()}
        at_work = max(copied[name] + work[name] for name in self.weights)
        return self.overhead + sum(self.parked.values()) + max(at_work, self.skin)


def choose(free: int | None, needs: Needs) -> MemoryPlan:
    """Return the fastest plan whose peak fits into `free` bytes, or the one with the lowest peak if none fits.

    Args:
        free: bytes available for weights and work; None if unknown, which is treated as unlimited.
    """
    if free is None:
        return PLANS[0]
    fitting = (plan for plan in PLANS if needs.peak(plan) * SLACK + RESERVE <= free)
    return next(fitting, min(PLANS, key=needs.peak))


def heads_at_once(free: int | None, needs: Needs, plan: MemoryPlan) -> int:
    """Return the number of heads whose views to draw in one batch, at most :data:`HEADS_MAX`.

    Args:
        free: bytes available besides the loaded weights; None if unknown, which is treated as too few.
        plan: the current plan; if it saves memory, heads are drawn one by one.
    """
    if free is None or plan != PLANS[0]:
        return 1
    work = needs.peak(plan, HEADS_MAX) - sum(needs.weights.values())
    return HEADS_MAX if work * SLACK + RESERVE <= free else 1


def step_down(plan: MemoryPlan) -> MemoryPlan | None:
    """Return the next plan in :data:`PLANS` after `plan`, or None.

    The order counts, not the estimates: if memory ran out, the estimates were wrong.
    """
    return next(iter(PLANS[PLANS.index(plan) + 1 :]), None)

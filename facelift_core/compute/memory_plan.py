"""How much memory a reconstruction takes, and the plan that fits what is free. Importing this does not need PyTorch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

RESERVE = 400 * 2**20
"""For what is not counted: workspaces of the convolutions, the allocator's fragments."""
SLACK = 1.15
BRANCH_OF_TWO = 2


@dataclass(frozen=True)
class Plan:
    """How to spend memory. All give the same views and Gaussians.

    Attributes:
        name: for people.
        together: both branches of guidance in one batch of 12 views; else one after the other, 2 × 6.
        in_turn: only the network at work has its weights on the device; else all stay there.
    """

    name: str
    together: bool
    in_turn: bool


PLANS = (
    Plan("all weights loaded, 12 views at once", True, False),
    Plan("all weights loaded, 6 views at once", False, False),
    Plan("weights in turn, 12 views at once", True, True),
    Plan("weights in turn, 6 views at once", False, True),
)
"""From the fastest to the one that needs least."""


@dataclass(frozen=True)
class Needs:
    """Bytes that the networks take, by the name of the network.

    Attributes:
        weights: while at work.
        parked: that stay in the same memory while another is at work and weights take turns; 0 where they lie
            elsewhere, as those of a graphics card do in main memory.
        work: beside the weights, for six views at once.
        batched: the network whose `work` doubles with both branches at once.
        overhead: of the libraries, whatever is at work.
        skin: of what puts the photo on the head, when no network is at work.
    """

    weights: Mapping[str, int]
    parked: Mapping[str, int]
    work: Mapping[str, int]
    batched: str = "unet"
    overhead: int = 0
    skin: int = 0

    def peak(self, plan: Plan) -> int:
        """Bytes at the peak of a run by `plan`."""
        work = {
            name: size * (BRANCH_OF_TWO if plan.together and name == self.batched else 1)
            for name, size in self.work.items()
        }
        if not plan.in_turn:
            return self.overhead + sum(self.weights.values()) + max(*work.values(), self.skin)
        copied = {name: size if size > self.parked[name] else 0 for name, size in self.weights.items()}
        at_work = max(copied[name] + work[name] for name in self.weights)
        return self.overhead + sum(self.parked.values()) + max(at_work, self.skin)


def choose(free: int | None, needs: Needs) -> Plan:
    """The fastest plan whose peak fits into `free` bytes; where none does, or nobody knows, one that has a chance.

    Args:
        free: bytes that weights and work may take; None: unknown, which is taken for plenty.
    """
    if free is None:
        return PLANS[0]
    fitting = (plan for plan in PLANS if needs.peak(plan) * SLACK + RESERVE <= free)
    return next(fitting, min(PLANS, key=needs.peak))


def step_down(plan: Plan) -> Plan | None:
    """The plan after `plan`, or None. By their order: when memory did not suffice, the estimates were wrong."""
    return next(iter(PLANS[PLANS.index(plan) + 1 :]), None)

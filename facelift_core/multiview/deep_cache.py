"""Feature reuse: the UNet's deep blocks change little from step to step, so that most steps can do without them.

The idea is DeepCache's (Ma et al., CVPR 2024); diffusers' own hooks do not know this UNet's batch of branches, views.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from diffusers import UNet2DConditionModel


@dataclass
class Reuse:
    """What the deep blocks gave, per guidance branch.

    Attributes:
        every: they are computed every so many steps.
        branch: names the rows of the evaluation to come, for what one saw is of no use to another.
    """

    every: int
    branch: Hashable = None
    fresh: bool = True
    known: dict[tuple[Hashable, int], Any] = field(default_factory=dict)

    def begin_step(self, step: int) -> None:
        """Before the evaluations of step number `step`, counted from 0."""
        self.fresh = step % self.every == 0

    def around(self, number: int, forward: Callable) -> Callable:
        def reused(*args, **kwargs):
            key = self.branch, number
            if self.fresh or key not in self.known:
                self.known[key] = forward(*args, **kwargs)
            return self.known[key]

        return reused


@contextmanager
def reused_features(unet: UNet2DConditionModel, every: int) -> Iterator[Reuse]:
    """Within, all blocks of `unet` but the first and the last are computed every `every` steps only.

    The outermost level, first block down and last block up, always runs: it sees the step's own latents and draws the
    detail. With 1, nothing is reused.
    """
    reuse = Reuse(every)
    deep = (
        [*unet.down_blocks[1:], unet.mid_block, *unet.up_blocks[:-1]] if every > 1 and len(unet.up_blocks) > 1 else []
    )
    before = [block.__dict__.get("forward") for block in deep]  # one that was compiled
    for number, block in enumerate(deep):
        block.forward = reuse.around(number, block.forward)
    try:
        yield reuse
    finally:
        for block, forward in zip(deep, before, strict=True):
            if forward is None:
                del block.forward
            else:
                block.forward = forward
        reuse.known.clear()

"""Feature reuse: the outputs of the UNet's deep blocks change little between steps, so some steps can reuse them.

Based on DeepCache (Ma et al., CVPR 2024). The hooks in diffusers do not support this UNet's batch of branches and
views.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from diffusers import UNet2DConditionModel


@dataclass
class Reuse:
    """Cached outputs of the deep blocks.

    Attributes:
        every: compute the deep blocks every `every` steps.
        branch: guidance branch of the next evaluation; each branch has its own outputs.
        fresh: whether the current step computes the deep blocks.
        known: the outputs by branch and block number.
    """

    every: int
    branch: Hashable = None
    fresh: bool = True
    known: dict[tuple[Hashable, int], Any] = field(default_factory=dict)

    def begin_step(self, step: int) -> None:
        """Start step `step` (0-based). Call this before its evaluations."""
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
    """Context manager in which `unet` computes its deep blocks only every `every` steps.

    The first down block and the last up block always run: they see the latents of the step and produce the detail. With
    ``every=1``, nothing is reused.
    """
    reuse = Reuse(every)
    deep = (
        [*unet.down_blocks[1:], unet.mid_block, *unet.up_blocks[:-1]] if every > 1 and len(unet.up_blocks) > 1 else []
    )
    before = [block.__dict__.get("forward") for block in deep]  # set if the block is compiled
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

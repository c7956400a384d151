"""Feature reuse: the outputs of the UNet's deep blocks change little between steps, so some steps can reuse them.

Based on DeepCache (Ma et al., CVPR 2024). The hooks in diffusers do not support this UNet's batch of branches and
views.
"""

from __future__ import annotations

import threading
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

    def computed(self, number: int, forward: Callable, args: tuple, kwargs: dict) -> Any:
        """Return the output of block `number`, computed by `forward` or known from an earlier step."""
        key = self.branch, number
        if self.fresh or key not in self.known:
            self.known[key] = forward(*args, **kwargs)
        return self.known[key]


@dataclass
class _Blocks:
    """The deep blocks of a UNet whose ``forward`` looks for the :class:`Reuse` of the run in its thread.

    Attributes:
        before: what ``forward`` was set to; None for the class's own. It is set if the block is compiled.
        runs: the runs that use the blocks now.
    """

    blocks: list[Any]
    before: list[Callable | None]
    runs: int = 0


_lock = threading.Lock()
_installed: dict[int, _Blocks] = {}
"""By the id of the UNet, while at least one run reuses features of it."""
_thread = threading.local()


def _reuses() -> dict[int, Reuse]:
    """Return the runs of this thread, by the id of their UNet."""
    if not hasattr(_thread, "reuses"):
        _thread.reuses = {}
    return _thread.reuses


@contextmanager
def reused_features(unet: UNet2DConditionModel, every: int) -> Iterator[Reuse]:
    """Context manager in which `unet` computes its deep blocks only every `every` steps, for calls of this thread.

    The first down block and the last up block always run: they see the latents of the step and produce the detail. With
    ``every=1``, nothing is reused. Other threads may use `unet` at the same time, each with its own features.
    """
    reuse = Reuse(every)
    if every == 1 or len(unet.up_blocks) == 1:
        yield reuse
        return
    outer = _reuses().get(id(unet))
    _install(unet)
    _reuses()[id(unet)] = reuse
    try:
        yield reuse
    finally:
        if outer is None:
            del _reuses()[id(unet)]
        else:
            _reuses()[id(unet)] = outer
        _uninstall(unet)
        reuse.known.clear()


def _install(unet: UNet2DConditionModel) -> None:
    with _lock:
        found = _installed.get(id(unet))
        if found is None:
            blocks = [*unet.down_blocks[1:], unet.mid_block, *unet.up_blocks[:-1]]
            found = _installed[id(unet)] = _Blocks(blocks, [block.__dict__.get("forward") for block in blocks])
            for number, block in enumerate(blocks):
                block.forward = _looking_for_reuse(id(unet), number, block.forward)
        found.runs += 1


def _uninstall(unet: UNet2DConditionModel) -> None:
    with _lock:
        found = _installed[id(unet)]
        found.runs -= 1
        if found.runs:
            return
        del _installed[id(unet)]
        for block, forward in zip(found.blocks, found.before, strict=True):
            if forward is None:
                del block.forward
            else:
                block.forward = forward


def _looking_for_reuse(unet: int, number: int, forward: Callable) -> Callable:
    def called(*args, **kwargs):
        reuse = _reuses().get(unet)
        return forward(*args, **kwargs) if reuse is None else reuse.computed(number, forward, args, kwargs)

    return called

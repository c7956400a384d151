"""Evaluations recorded as CUDA graphs: a small UNet spends its time on launching a thousand kernels, not in them."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

import torch
from torch import Tensor

Work = Callable[..., Tensor]
"""Tensors to a tensor, the same kernels on every call."""


@dataclass
class Recordings:
    """What was recorded in one run, by a key that tells works apart.

    Attributes:
        record: makes of a work and its arguments what repeats it on others; None: nothing is recorded.
    """

    record: Callable[[Work, tuple[Tensor, ...]], Work] | None
    seen: set[Hashable] = field(default_factory=set)
    recorded: dict[Hashable, Work] = field(default_factory=dict)

    def __call__(self, key: Hashable, work: Work, *inputs: Tensor, needs: Hashable = None) -> Tensor:
        """``work(*inputs)``: at first as it is, which prepares what a recording may not; recorded from then on.

        Args:
            needs: key of the work whose results `work` reads: before that is recorded they have no fixed place.
        """
        if self.record is None:
            return work(*inputs)
        if key not in self.recorded:
            if key not in self.seen or (needs is not None and needs not in self.recorded):
                self.seen.add(key)
                return work(*inputs)
            try:
                self.recorded[key] = self.record(work, inputs)
            except torch.OutOfMemoryError:
                raise
            except RuntimeError:  # something in it cannot be recorded on this system
                self.record = None
                return work(*inputs)
        return self.recorded[key](*inputs)


def cuda_graph(work: Work, inputs: tuple[Tensor, ...]) -> Work:
    """`work` as a CUDA graph, for arguments of the sizes of `inputs`."""
    places = [tensor.clone() for tensor in inputs]
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):  # other threads may use the card meanwhile
        out = work(*places)

    def replay(*arguments: Tensor) -> Tensor:
        for place, argument in zip(places, arguments, strict=True):
            place.copy_(argument)
        graph.replay()
        return out.clone()

    return replay

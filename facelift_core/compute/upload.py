"""Copy weights from files to a GPU, so that it receives one piece while the next is read.

Weights are memory-mapped. A GPU copies directly only from memory that the system cannot move ("pinned"), so a copy from
a mapped file first reads it and then waits for the transfer. Here the pieces go through two pinned buffers in turn.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

PIECE_BYTES = 32 * 2**20


class Event(Protocol):
    """A point in the GPU's queue of work."""

    def synchronize(self) -> None:
        """Wait until the GPU has got there."""


@dataclass
class Staging:
    """Two buffers in main memory that pieces pass through in turn.

    Attributes:
        buffers: uint8, of equal sizes.
        mark: puts an event behind the work that the GPU has been given so far.
    """

    buffers: tuple[Tensor, Tensor]
    mark: Callable[[], Event]
    _sent: list[Event | None] = field(default_factory=lambda: [None, None])
    _turn: int = 0

    def send(self, source: Tensor, target: Tensor) -> None:
        """Copy `source` (main memory) to `target` (GPU), both contiguous and of the same dtype."""
        pieces = len(self.buffers[0])
        for here, there in zip(_bytes(source).split(pieces), _bytes(target).split(pieces), strict=True):
            if (sent := self._sent[self._turn]) is not None:
                sent.synchronize()  # the GPU still reads this buffer
            buffer = self.buffers[self._turn][: len(here)]
            buffer.copy_(here)
            there.copy_(buffer, non_blocking=True)
            self._sent[self._turn] = self.mark()
            self._turn = 1 - self._turn


def staging_for(device: torch.device) -> Staging | None:
    """Return buffers for `device`; None if it is not CUDA, or if the system does not grant pinned memory."""
    if device.type != "cuda":
        return None
    try:
        first, second = (torch.empty(PIECE_BYTES, dtype=torch.uint8, pin_memory=True) for _ in range(2))
    except RuntimeError:
        return None
    return Staging((first, second), lambda: torch.cuda.current_stream(device).record_event())


def upload(
    tensor: Tensor,
    dtype: torch.dtype,
    device: torch.device,
    channels_last: bool = False,
    staging: Staging | None = None,
) -> Tensor:
    """Return `tensor` on `device` in `dtype`. The device changes dtype and layout, which is faster on a GPU.

    Args:
        channels_last: use this layout if `tensor` has four dimensions.
        staging: for tensors in memory that is not pinned; None to leave the transfer to PyTorch.
    """
    if staging is None or tensor.device.type != "cpu" or tensor.is_pinned():
        there = tensor.to(device, non_blocking=True)
    else:
        there = torch.empty(tensor.shape, dtype=tensor.dtype, device=device)
        staging.send(tensor.contiguous(), there)
    layout = torch.channels_last if channels_last and tensor.ndim == 4 else torch.preserve_format
    return there.to(dtype, memory_format=layout)


def _bytes(tensor: Tensor) -> Tensor:
    return tensor.view(-1).view(torch.uint8)

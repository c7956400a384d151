"""Distributed training: one process, or several started by `accelerate launch`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import torch
from accelerate import PartialState
from accelerate.utils import broadcast, reduce
from torch import Tensor, nn

from ..compute.device import select_device


@dataclass(frozen=True)
class Processes:
    """This process in a group of training processes.

    Attributes:
        wanted: requested device: "auto", "cuda", "mps" or "cpu".
    """

    wanted: str = "cpu"

    @cached_property
    def _state(self) -> PartialState:
        # Called first, because its error message names missing devices.
        return PartialState(cpu=select_device(self.wanted).type == "cpu")

    @property
    def device(self) -> torch.device:
        return self._state.device

    @property
    def main(self) -> bool:
        """Whether this is the main process, which validates and saves."""
        return self._state.is_main_process

    @property
    def count(self) -> int:
        return self._state.num_processes

    @property
    def stream(self) -> tuple[int, ...]:
        """Seed suffix of this process. Empty for the first one, so that single-process runs do not change."""
        return () if self.main else (self._state.process_index,)

    def wait(self) -> None:
        self._state.wait_for_everyone()

    def agree_on(self, tensors: Iterable[Tensor]) -> None:
        """Broadcast the first process's values to all others, in place."""
        if self.count > 1:
            for tensor in tensors:
                tensor.data.copy_(broadcast(tensor.data))

    def average_gradients(self, parameters: list[nn.Parameter]) -> None:
        """Replace every gradient with its mean over all processes, in a single all-reduce."""
        if self.count == 1:
            return
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        mean = reduce(torch.cat([gradient.flatten() for gradient in gradients]), "mean")
        for parameter, piece in zip(parameters, mean.split([p.numel() for p in parameters]), strict=True):
            parameter.grad = piece.view_as(parameter)

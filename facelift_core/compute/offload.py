"""Where the weights of the networks lie: all on the device, or each only while it is at work."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from .device import release_memory, trim_heap
from .memory_plan import PLANS, Needs, Plan, step_down

HOME_DTYPE = torch.float16
"""Of weights that wait in main memory beside a CPU's work in float32; what released checkpoints are stored in."""
CPU_OVERHEAD = 96 * 2**20
"""Measured: pages of the libraries' code, compiled kernels, modules imported on use."""
SKIN_BYTES = 144 * 2**20
"""Measured, with the heap: a portrait that fills its frame, on 400,000 Gaussians. Always in main memory."""
HEAP_SHARE, HEAP_MAX = 0.7, 256 * 2**20
"""What the C library's heap takes beyond the tensors that live, as part of their size; measured on small weights.
Tensors of more than 32 MiB are not in the heap, so that it does not grow with large ones."""


@dataclass
class Part:
    """One network.

    Attributes:
        module: its weights have the number format to work in.
        work: bytes that it takes beside them, for six views at once.
        home: its weights in main memory while they take turns, by the order of :meth:`tensors`; else None.
    """

    module: nn.Module
    work: int
    home: list[Tensor] | None = None

    def tensors(self) -> list[Tensor]:
        return [*self.module.parameters(), *self.module.buffers()]

    def bytes(self, dtype: torch.dtype | None = None) -> int:
        """Of the weights; in `dtype` where given and smaller."""
        return sum(t.numel() * min(t.itemsize, dtype.itemsize if dtype else t.itemsize) for t in self.tensors())


@dataclass
class Residence:
    """The networks of one model and the plan by which they share a device.

    Attributes:
        device: to work on.
        parts: the networks by name; added by :meth:`add`.
        plan: in force since :meth:`settle`.
    """

    device: torch.device
    parts: dict[str, Part] = field(default_factory=dict)
    plan: Plan = PLANS[0]
    _dtypes: dict[str, list[torch.dtype]] = field(default_factory=dict)

    def add(self, name: str, module: nn.Module, work: int) -> None:
        """A network on the CPU or, where all stay there anyway, on the device, in its number format."""
        self.parts[name] = Part(module, work)
        self._dtypes[name] = [tensor.dtype for tensor in self.parts[name].tensors()]

    @property
    def needs(self) -> Needs:
        on_cpu = self.device.type == "cpu"
        heap = {name: min(int(part.work * HEAP_SHARE), HEAP_MAX) if on_cpu else 0 for name, part in self.parts.items()}
        return Needs(
            {name: self._work_bytes(name) for name in self.parts},
            {name: part.bytes(HOME_DTYPE) if on_cpu else 0 for name, part in self.parts.items()},
            {name: part.work + heap[name] for name, part in self.parts.items()},
            overhead=CPU_OVERHEAD if on_cpu else 0,
            skin=SKIN_BYTES if on_cpu else 0,
        )

    def settle(self, plan: Plan) -> None:
        """Put the weights where `plan` has them.

        Raises:
            torch.OutOfMemoryError or RuntimeError: they do not fit.
        """
        self.plan = plan
        for name, part in self.parts.items():
            if plan.in_turn and part.home is None:
                part.home = [_at_home(tensor, self.device) for tensor in part.tensors()]
                self._send_home(part)
            elif not plan.in_turn:
                self._fetch(name, part)
                part.home = None
        release_memory()

    def step_down(self) -> bool:
        """Go over to the next plan that takes less; false if there is none."""
        less = step_down(self.plan)
        if less is not None:
            self.settle(less)
        return less is not None

    @contextmanager
    def using(self, name: str) -> Iterator[None]:
        """Within, the weights of network `name` are on the device. Afterwards its work space is given back."""
        part = self.parts.get(name)
        take_turns = part is not None and part.home is not None
        try:
            if take_turns:
                self._fetch(name, part)
            yield
        finally:
            if take_turns:
                self._send_home(part)
            if self.device.type == "cpu":
                trim_heap()

    @contextmanager
    def without(self, name: str) -> Iterator[None]:
        """Within :meth:`using` of `name`: where weights take turns, make room for others meanwhile."""
        part = self.parts.get(name)
        take_turns = part is not None and part.home is not None
        if take_turns:
            self._send_home(part)
        yield
        if take_turns:
            self._fetch(name, part)

    def _work_bytes(self, name: str) -> int:
        tensors = zip(self.parts[name].tensors(), self._dtypes[name], strict=True)
        return sum(tensor.numel() * dtype.itemsize for tensor, dtype in tensors)

    def _fetch(self, name: str, part: Part) -> None:
        for tensor, dtype in zip(part.tensors(), self._dtypes[name], strict=True):
            tensor.data = tensor.data.to(self.device, dtype, non_blocking=True)

    @staticmethod
    def _send_home(part: Part) -> None:
        for tensor, home in zip(part.tensors(), part.home, strict=True):
            tensor.data = home


def _at_home(tensor: Tensor, device: torch.device) -> Tensor:
    """`tensor` in main memory: in half precision beside a CPU's work, else as it is, pinned for fast copies."""
    if device.type == "cpu":
        return tensor.data.to(HOME_DTYPE) if tensor.dtype == torch.float32 else tensor.data
    home = tensor.data.to("cpu")
    try:
        return home.pin_memory() if device.type == "cuda" else home
    except RuntimeError:  # the system pins only so much
        return home

"""Weight offloading: all networks on the device, or each only while it runs."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from .device import release_memory, trim_heap
from .memory_plan import PLANS, MemoryPlan, Needs, step_down
from .upload import staging_for, upload

HOME_DTYPE = torch.float16
"""Dtype of offloaded weights when the CPU computes in float32; released checkpoints are stored in it."""
CPU_OVERHEAD = 96 * 2**20
"""Bytes, measured: library code, compiled kernels, and modules imported on first use."""
SKIN_BYTES = 128 * 2**20
"""Bytes in main memory, measured with the heap: a portrait that fills its frame, on 400,000 Gaussians."""
HEAP_SHARE, HEAP_MAX = 0.7, 256 * 2**20
"""Heap overhead of the C library beyond live tensors, as a fraction of their size and at most; measured on small
weights. Tensors over 32 MiB are not on the heap, so it does not grow with them."""


@dataclass
class Part:
    """One network.

    Attributes:
        module: the network, with weights in the dtype it computes in.
        work: bytes it needs in addition to its weights, for six views at once.
        channels_last: whether a GPU keeps its weights in this layout, in which convolutions are faster there.
        home: offloaded copies of the weights in main memory, in the order of :meth:`tensors`; None without offloading.
        users: number of runs that compute with the network now.
        fetched: whether the weights of an offloaded network are on the device.
    """

    module: nn.Module
    work: int
    channels_last: bool = False
    home: list[Tensor] | None = None
    users: int = 0
    fetched: bool = False

    def tensors(self) -> list[Tensor]:
        return [*self.module.parameters(), *self.module.buffers()]

    def bytes(self, dtype: torch.dtype | None = None) -> int:
        """Return the size of the weights; in `dtype`, if given and smaller."""
        return sum(t.numel() * min(t.itemsize, dtype.itemsize if dtype else t.itemsize) for t in self.tensors())


@dataclass
class WeightOffload:
    """The networks of one model and the plan by which they share a device.

    Several threads may use the model at once: weights leave the device when the last user of a network is done.

    Attributes:
        device: the device to compute on.
        parts: the networks by name; see :meth:`add`.
        plan: the plan applied by the last :meth:`settle`.
    """

    device: torch.device
    parts: dict[str, Part] = field(default_factory=dict)
    plan: MemoryPlan = PLANS[0]
    _dtypes: dict[str, list[torch.dtype]] = field(default_factory=dict)
    _change: threading.Condition = field(default_factory=threading.Condition, repr=False, compare=False)

    def add(self, name: str, module: nn.Module, work: int, channels_last: bool = False) -> None:
        """Add a network on the CPU, in the dtype it computes in. :meth:`settle` places it."""
        self.parts[name] = Part(module, work, channels_last)
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

    def settle(self, plan: MemoryPlan) -> None:
        """Move the weights to where `plan` keeps them, once no other run uses them.

        Raises:
            torch.OutOfMemoryError or RuntimeError: the weights do not fit.
        """
        with self._change:
            self._change.wait_for(lambda: not self.in_use)
            self.plan = plan
            for name, part in self.parts.items():
                if plan.offload and part.home is None:
                    part.home = [_at_home(tensor, self.device) for tensor in part.tensors()]
                    self._send_home(part)
                elif not plan.offload:
                    self._fetch(name, part)
                    part.home = None
        release_memory()

    @property
    def in_use(self) -> bool:
        """Whether a run computes with any of the networks now."""
        return any(part.users for part in self.parts.values())

    def step_down(self) -> bool:
        """Switch to the next plan in :data:`.memory_plan.PLANS`. Return False if there is none."""
        less = step_down(self.plan)
        if less is not None:
            self.settle(less)
        return less is not None

    @contextmanager
    def using(self, name: str) -> Iterator[None]:
        """Context manager that keeps the weights of network `name` on the device, and trims the CPU heap afterwards."""
        part = self.parts.get(name)
        try:
            self._enter(name, part)
            yield
        finally:
            self._leave(part)
            if self.device.type == "cpu":
                trim_heap()

    @contextmanager
    def without(self, name: str) -> Iterator[None]:
        """Context manager inside :meth:`using` that offloads `name` again, to make room for another network."""
        part = self.parts.get(name)
        self._leave(part)
        try:
            yield
        except BaseException:
            if part is not None:
                with self._change:
                    part.users += 1  # :meth:`using` counts it down
            raise
        self._enter(name, part)

    def _enter(self, name: str, part: Part | None) -> None:
        if part is not None:
            with self._change:
                part.users += 1
                if part.home is not None and not part.fetched:
                    self._fetch(name, part)

    def _leave(self, part: Part | None) -> None:
        if part is not None:
            with self._change:
                part.users -= 1
                if part.home is not None and not part.users:
                    self._send_home(part)
                self._change.notify_all()

    def _work_bytes(self, name: str) -> int:
        tensors = zip(self.parts[name].tensors(), self._dtypes[name], strict=True)
        return sum(tensor.numel() * dtype.itemsize for tensor, dtype in tensors)

    def _fetch(self, name: str, part: Part) -> None:
        channels_last, staging = part.channels_last and self.device.type == "cuda", staging_for(self.device)
        for tensor, dtype in zip(part.tensors(), self._dtypes[name], strict=True):
            tensor.data = upload(tensor.data, dtype, self.device, channels_last, staging)
        part.fetched = True

    @staticmethod
    def _send_home(part: Part) -> None:
        part.fetched = False
        for tensor, home in zip(part.tensors(), part.home, strict=True):
            tensor.data = home


def _at_home(tensor: Tensor, device: torch.device) -> Tensor:
    """Return `tensor` in main memory: in half precision if the CPU computes, else unchanged and pinned if possible."""
    if device.type == "cpu":
        return tensor.data.to(HOME_DTYPE) if tensor.dtype == torch.float32 else tensor.data
    home = tensor.data.to("cpu")
    try:
        return home.pin_memory() if device.type == "cuda" else home
    except RuntimeError:  # the system limits pinned memory
        return home

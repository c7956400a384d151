"""Record UNet evaluations as CUDA graphs: launching a thousand kernels often takes longer than running them."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from functools import lru_cache

import torch
from torch import Tensor

from ..compute.device import LARGE
from ..errors import first_line
from ..presets import Sampling

logger = logging.getLogger(__name__)

Work = Callable[..., tuple[Tensor, ...]]
"""A function from tensors to tensors that runs the same kernels in every call."""
Record = Callable[[Work, tuple[Tensor, ...]], Work]
"""Records a :data:`Work` with example arguments; returns a function that replays it with other arguments."""

REPEATS_MIN = 6
"""Minimum number of evaluations of a large UNet for which recording pays off; the first two run unrecorded."""

_failures: list[str] = []
"""Reasons why recordings failed in this process."""


@dataclass
class Recordings:
    """The recordings of one run, by key.

    Attributes:
        record: the recorder; None to record nothing.
        seen: keys that have run once without being recorded.
        recorded: functions that replay a recording.
    """

    record: Record | None
    seen: set[Hashable] = field(default_factory=set)
    recorded: dict[Hashable, Work] = field(default_factory=dict)

    def __call__(self, key: Hashable, work: Work, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Return ``work(*inputs)``: the first call runs normally, as a warm-up; later calls are recorded and replayed.

        Tensors that `work` reads besides `inputs` must stay where they are.
        """
        if self.record is None:
            return work(*inputs)
        if key not in self.recorded:
            if key not in self.seen:
                self.seen.add(key)
                return work(*inputs)
            if not self._add(key, work, inputs):
                return work(*inputs)
        return self.recorded[key](*inputs)

    def _add(self, key: Hashable, work: Work, inputs: tuple[Tensor, ...]) -> bool:
        """Record `work`. If it fails, return False and record nothing more."""
        try:
            self.recorded[key] = self.record(work, inputs)
            return True
        except torch.OutOfMemoryError:
            self.stop()
        except RuntimeError as error:  # some operation cannot be recorded on this system
            self.stop()
            _failures.append(first_line(error))
            logger.warning(
                "CUDA graphs do not work here (%s); continuing without them, which is slower.", _failures[-1]
            )
        return False

    def stop(self) -> None:
        """Record nothing more, and free the memory of all recordings."""
        self.record = None
        if self.recorded:
            self.recorded.clear()
            torch.cuda.empty_cache()  # otherwise the allocator keeps the graphs' memory for other graphs only


class CudaGraphs:
    """Records functions as CUDA graphs that share a memory pool, and must therefore be replayed one after the other."""

    def __init__(self):
        self.pool = torch.cuda.graph_pool_handle()

    def __call__(self, work: Work, inputs: tuple[Tensor, ...]) -> Work:
        """Record `work`; the returned function takes arguments of the same shapes as `inputs`.

        Raises:
            RuntimeError: it cannot be recorded. Unrecorded work is not affected.
        """
        places = [tensor.clone() for tensor in inputs]
        graph, stream = torch.cuda.CUDAGraph(), torch.cuda.current_stream()
        try:
            # "thread_local", because other threads may use the GPU at the same time.
            with torch.cuda.graph(graph, pool=self.pool, capture_error_mode="thread_local"):
                out = work(*places)
        except Exception:
            # A failed capture leaves its stream current and its pool open.
            torch.cuda.set_stream(stream)
            with contextlib.suppress(RuntimeError, AttributeError):
                torch._C._cuda_endAllocateToPool(stream.device_index, self.pool)
            raise

        def repeat(*arguments: Tensor) -> tuple[Tensor, ...]:
            for place, argument in zip(places, arguments, strict=True):
                place.copy_(argument)
            graph.replay()
            return tuple(tensor.clone() for tensor in out)

        return repeat


def problem() -> str | None:
    """Return why CUDA graphs cannot be used in this process, or None."""
    return _failures[-1] if _failures else _problem_of_machine()


@lru_cache(maxsize=1)
def _problem_of_machine() -> str | None:
    if not torch.cuda.is_available():
        return "no CUDA device"
    try:
        return trial(CudaGraphs(), torch.device("cuda"))
    except RuntimeError as error:
        return first_line(error)


def trial(record: Record, device: torch.device) -> str | None:
    """Record and replay a small function on `device`. Return what is wrong, or None."""
    recordings = Recordings(record)
    steps = (torch.full((8,), step, device=device) for step in range(3))
    results = [recordings("trial", lambda x: (x * 2 + 1,), step)[0] for step in steps]
    if recordings.record is None:
        return _failures[-1] if _failures else "not enough memory"
    right = torch.stack(results).tolist() == [[2.0 * step + 1] * 8 for step in range(3)]
    return None if right else "CUDA graphs compute wrongly here"


def worth_recording(parameters: int, how: Sampling) -> bool:
    """Return whether recording the evaluations of a UNet with this many parameters saves time."""
    return parameters < LARGE or how.steps // how.reuse >= REPEATS_MIN

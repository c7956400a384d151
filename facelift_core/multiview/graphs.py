"""Evaluations recorded as CUDA graphs: launching a UNet's thousand kernels takes a processor longer than many a card
takes to run them."""

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

Work = Callable[..., Tensor]
"""Tensors to a tensor, the same kernels on every call."""
Record = Callable[[Work, tuple[Tensor, ...]], Work]
"""Makes of a work and its arguments what repeats it on others."""

REPEATS_MIN = 6
"""Evaluations of a large UNet from which recording them is worth it: the first two are launched all the same."""

_failures: list[str] = []
"""Why a recording failed in this process."""


@dataclass
class Recordings:
    """What was recorded in one run, by a key that tells works apart.

    Attributes:
        record: None: nothing is recorded.
    """

    record: Record | None
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
            if not self._add(key, work, inputs):
                return work(*inputs)
        return self.recorded[key](*inputs)

    def _add(self, key: Hashable, work: Work, inputs: tuple[Tensor, ...]) -> bool:
        """Record `work`; false where that fails, after which nothing is recorded any more."""
        try:
            self.recorded[key] = self.record(work, inputs)
            return True
        except torch.OutOfMemoryError:
            self.stop()
        except RuntimeError as error:  # something in it cannot be recorded on this system
            self.stop()
            _failures.append(first_line(error))
            logger.warning("CUDA graphs do not work here (%s); going on without, which is slower.", _failures[-1])
        return False

    def stop(self) -> None:
        """Record nothing from now on, and give back the memory of what was recorded."""
        self.record = None
        if self.recorded:
            self.recorded.clear()
            torch.cuda.empty_cache()  # graphs' memory serves nothing else while the allocator keeps it


class CudaGraphs:
    """Records works as CUDA graphs that share their memory.

    So they have to be repeated one after the other, and may read of each other only tensors that were alive when they
    were recorded: whatever is recorded later stays clear of these.
    """

    def __init__(self):
        self.pool = torch.cuda.graph_pool_handle()

    def __call__(self, work: Work, inputs: tuple[Tensor, ...]) -> Work:
        """`work`, for arguments of the sizes of `inputs`.

        Raises:
            RuntimeError: it cannot be recorded; further work goes on as before.
        """
        places = [tensor.clone() for tensor in inputs]
        graph, stream = torch.cuda.CUDAGraph(), torch.cuda.current_stream()
        try:
            # Other threads may use the card meanwhile.
            with torch.cuda.graph(graph, pool=self.pool, capture_error_mode="thread_local"):
                out = work(*places)
        except Exception:
            # A capture that the driver gave up leaves its stream current and its pool open.
            torch.cuda.set_stream(stream)
            with contextlib.suppress(RuntimeError, AttributeError):
                torch._C._cuda_endAllocateToPool(stream.device_index, self.pool)
            raise

        def repeat(*arguments: Tensor) -> Tensor:
            for place, argument in zip(places, arguments, strict=True):
                place.copy_(argument)
            graph.replay()
            return out.clone()

        return repeat


def problem() -> str | None:
    """Why nothing is recorded on this machine, or None."""
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
    """What is wrong with what `record` makes of a small work on `device`, or None."""
    recordings = Recordings(record)
    results = [recordings("trial", lambda x: x * 2 + 1, torch.full((8,), step, device=device)) for step in range(3)]
    if recordings.record is None:
        return _failures[-1] if _failures else "not enough memory"
    right = torch.stack(results).tolist() == [[2.0 * step + 1] * 8 for step in range(3)]
    return None if right else "CUDA graphs compute wrongly here"


def worth_recording(parameters: int, how: Sampling) -> bool:
    """Whether recording the evaluations of a UNet of so many `parameters` takes less time than it saves."""
    return parameters < LARGE or how.steps // how.reuse >= REPEATS_MIN

"""Select a device and dtype, and free memory after a run."""

from __future__ import annotations

import ctypes
import gc
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

import torch

from ..errors import OUT_OF_MEMORY, Cancelled, FaceLiftError, ran_out_of_memory
from .memory import memory

LARGE = 100_000_000
"""Number of parameters from which half precision pays off on a CPU."""


class NotEnoughMemory(FaceLiftError):
    """Out of memory. The run has released everything it held."""


def select_device(device: str | torch.device = "auto") -> torch.device:
    """Return the device to run on.

    Args:
        device: "auto" (CUDA, else Apple's MPS, else the CPU), "cuda", "cuda:1", "mps" or "cpu". ROCm counts as CUDA.

    Raises:
        FaceLiftError: the name is unknown, or the device is not available.
    """
    if device == "auto":
        return next(d for d in map(torch.device, ("cuda", "mps", "cpu")) if _problem(d) is None)
    try:
        chosen = torch.device(device)
    except (RuntimeError, TypeError):
        chosen = None
    if chosen is None or chosen.type not in ("cuda", "mps", "cpu"):
        raise FaceLiftError(f"Unknown device “{device}”; use auto, cuda, cuda:1, mps or cpu.")
    if problem := _problem(chosen):
        raise FaceLiftError(f"Cannot run on “{device}”: {problem}; use auto or cpu.")
    return chosen


def select_dtype(device: torch.device, parameters: int = 0) -> torch.dtype:
    """Return the dtype for the large weights.

    float16 on CUDA (as in the reference) and MPS. On a CPU, float32, or bfloat16 for a large network if it is faster.

    Args:
        parameters: number of parameters of the largest network.
    """
    if device.type != "cpu":
        return torch.float16
    return torch.bfloat16 if parameters >= LARGE and bfloat16_pays() else torch.float32


def bfloat16_pays() -> bool:
    """Return whether this CPU has bfloat16 instructions. A fixed rule, so that results are reproducible."""
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def free_memory(device: torch.device) -> int | None:
    """Return the bytes that this process can still allocate on `device`, or None if unknown."""
    if device.type == "cuda":
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + kept
    if device.type == "mps":
        return torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()
    try:
        return memory().get("available")
    except OSError:
        return None


def _problem(device: torch.device) -> str | None:
    """Return why `device` cannot be used, or None. Runs an operation: a GPU too old for PyTorch fails only then."""
    if device.type == "cuda" and not torch.cuda.is_available():
        return "PyTorch finds no CUDA device"
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        return f"there are only {torch.cuda.device_count()} CUDA devices"
    if device.type == "mps" and not torch.backends.mps.is_available():
        return "PyTorch finds no MPS device"
    try:
        torch.ones(1, device=device).add_(1)
    except RuntimeError as error:
        return f"PyTorch cannot compute on it ({str(error).splitlines()[0]})"
    return None


def wait_for(device: torch.device) -> None:
    """Wait until `device` has finished all queued work, so that a timing includes it."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def release_memory() -> None:
    """Return unreferenced memory to the system and to other programs on the GPU."""
    gc.collect()
    trim_heap()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    elif torch.backends.mps.is_available():
        torch.mps.empty_cache()


def trim_heap() -> None:
    """Return freed heap memory to the system; by default glibc keeps free blocks that lie between used ones."""
    trim = getattr(_c_library(), "malloc_trim", None)
    if trim is not None:
        trim(0)


@lru_cache(maxsize=1)
def _c_library() -> ctypes.CDLL | None:
    return ctypes.CDLL(None) if sys.platform == "linux" else None


@contextmanager
def nothing_left_behind() -> Iterator[None]:
    """Context manager around a run that frees its tensors if it is cancelled or runs out of memory.

    An exception keeps the local variables of all frames in its traceback alive, so a caller that holds the exception
    would also hold the latents. The frames are therefore cleared.

    Raises:
        NotEnoughMemory: in place of PyTorch's out-of-memory errors.
    """
    try:
        yield
    except Cancelled as stopped:
        traceback.clear_frames(stopped.__traceback__)
        release_memory()
        raise
    except (RuntimeError, MemoryError, OSError, ImportError) as error:
        # The CPU allocator, oneDNN and MPS raise a plain RuntimeError.
        if not isinstance(error, torch.OutOfMemoryError) and not ran_out_of_memory(error):
            raise
        traceback.clear_frames(error.__traceback__)
        release_memory()
        raise NotEnoughMemory(_out_of_memory_message(error)) from None


def _out_of_memory_message(error: BaseException) -> str:
    if "cuda" in str(error).lower() or "mps" in str(error).lower():
        return (
            "Not enough graphics memory; close other programs that use it, use smaller weights, or run on the device "
            "“cpu”."
        )
    return OUT_OF_MEMORY

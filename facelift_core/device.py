"""Which processor and number format to work in, and leaving nothing behind on it."""

from __future__ import annotations

import gc
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from .errors import Cancelled, FaceLiftError


def select_device(device: str | torch.device = "auto") -> torch.device:
    """The device to run on.

    Args:
        device: "auto" (CUDA, else Apple's MPS, else the CPU), "cuda", "cuda:1", "mps" or "cpu". ROCm counts as CUDA.

    Raises:
        FaceLiftError: unknown name, or this machine does not have it.
    """
    if device == "auto":
        return next(d for d in map(torch.device, ("cuda", "mps", "cpu")) if _problem(d) is None)
    try:
        chosen = torch.device(device)
    except (RuntimeError, TypeError):
        chosen = None
    if chosen is None or chosen.type not in ("cuda", "mps", "cpu"):
        raise FaceLiftError(f"“{device}” is not a device FaceLift knows; use auto, cuda, cuda:1, mps or cpu.")
    if problem := _problem(chosen):
        raise FaceLiftError(f"Cannot run on “{device}”: {problem}; use auto or cpu.")
    return chosen


def select_dtype(device: torch.device) -> torch.dtype:
    """The number format of the large weights: float16 on CUDA (as the reference) and MPS, float32 on a CPU."""
    return torch.float32 if device.type == "cpu" else torch.float16


def _problem(device: torch.device) -> str | None:
    """Why `device` cannot be used, or None. Tries it, for a GPU too old for this PyTorch is found only that way."""
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


def release_memory() -> None:
    """Give memory that is no longer referenced back to the system and to other programs on the GPU."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    elif torch.backends.mps.is_available():
        torch.mps.empty_cache()


@contextmanager
def nothing_left_behind() -> Iterator[None]:
    """Around a run: free its tensors when it is cancelled or out of memory, and say the latter in one sentence.

    An exception keeps alive every local variable of the frames it came through, so that a caller who holds it would
    hold the latents too; hence the frames are cleared.
    """
    try:
        yield
    except Cancelled as stopped:
        traceback.clear_frames(stopped.__traceback__)
        release_memory()
        raise
    except (torch.OutOfMemoryError, MemoryError) as error:
        traceback.clear_frames(error.__traceback__)
        release_memory()
        raise FaceLiftError(_out_of_memory_message(error)) from None
    except RuntimeError as error:
        # The CPU allocator and MPS raise plain RuntimeErrors.
        if not any(sign in str(error) for sign in ("out of memory", "allocate memory", "not enough memory")):
            raise
        traceback.clear_frames(error.__traceback__)
        release_memory()
        raise FaceLiftError(_out_of_memory_message(error)) from None


def _out_of_memory_message(error: BaseException) -> str:
    where = "graphics memory" if "cuda" in str(error).lower() or "mps" in str(error).lower() else "memory"
    return f"Not enough {where}; close other programs that use it, use smaller weights, or run with the device “cpu”."

"""Time and memory of a call, the same way in every benchmark."""

from __future__ import annotations

import platform
import resource
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch

T = TypeVar("T")


def timed(run: Callable[[], T], device: torch.device) -> tuple[float, T]:
    """Seconds and result. On a CPU the processor's time over all threads, which other programs disturb less; on a GPU
    the clock's, from and to an idle device."""
    if device.type == "cpu":
        start = time.process_time()
        result = run()
        return time.process_time() - start, result
    _wait(device)
    start = time.perf_counter()
    result = run()
    _wait(device)
    return time.perf_counter() - start, result


def start_peak(device: torch.device) -> None:
    """Begin to measure :func:`peak_mib` anew, where the device can."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_mib(device: torch.device) -> float:
    """MiB at the peak: of the GPU's allocator since :func:`start_peak`, else of the process since it began."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    status = Path("/proc/self/status")
    if status.exists():  # Linux, where ru_maxrss begins at the peak of the process that started this one
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def device_name(device: torch.device) -> str:
    """What a figure should be quoted with; for a GPU what nvidia-smi calls it."""
    if device.type == "cuda":
        try:
            command = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
            return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[0]
        except (OSError, subprocess.CalledProcessError, IndexError):
            return torch.cuda.get_device_name(device)
    return f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}, {torch.get_num_threads()} threads"


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()

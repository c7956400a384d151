"""Measure time and memory of a call."""

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
    """Return seconds and result. On a CPU, processor time over all threads, which other programs affect less; on a GPU,
    wall time, with synchronization before and after."""
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
    """Reset :func:`peak_mib`, if the device supports it."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_mib(device: torch.device) -> float:
    """Return the peak in MiB: of the GPU's allocator since :func:`start_peak`, or of the process since its start."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    status = Path("/proc/self/status")
    if status.exists():  # On Linux, ru_maxrss starts at the peak of the parent process.
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def device_name(device: torch.device) -> str:
    """Return the device's name; for a GPU, as in nvidia-smi."""
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

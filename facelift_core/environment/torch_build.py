"""Choose the PyTorch build for a machine; download and disk size of the runtime with each build.

The pinned version is available for CUDA 12.6, 13.0 and 13.2, for ROCm 7.2 and for the CPU only; for Linux, PyPI has
the build for CUDA 13.0. The CUDA 12.6 builds support cards from Maxwell to Hopper (compute capability 5.0 to 9.0) and
need driver 525 or newer; the CUDA 13.0 builds support Turing (7.5) and newer and need driver 580 or newer.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import FaceLiftError
from .machine import Machine

PYTORCH_INDEX = "https://download.pytorch.org/whl"
GB = 10**9


@dataclass(frozen=True)
class Build:
    """One build of PyTorch on one system.

    Attributes:
        name: name of its index below :data:`PYTORCH_INDEX`.
        label: display name.
        device: the device it computes on, "cuda", "mps" or "cpu".
        own_index: whether it is on PyTorch's own index instead of PyPI.
        download, disk: bytes of the whole runtime with this build, rounded up.
    """

    name: str
    label: str
    device: str
    own_index: bool
    download: int
    disk: int

    @property
    def index(self) -> str:
        """URL of PyTorch's index for this build; empty if the build is on PyPI."""
        return f"{PYTORCH_INDEX}/{self.name}" if self.own_index else ""


_LINUX_CPU = Build("cpu", "CPU only", "cpu", True, int(0.4 * GB), int(1.5 * GB))
BUILDS: dict[str, tuple[Build, ...]] = {
    "linux": (
        Build("cu130", "CUDA 13.0", "cuda", False, int(3.1 * GB), int(7.0 * GB)),
        Build("cu126", "CUDA 12.6", "cuda", True, int(3.5 * GB), int(7.5 * GB)),
        Build("rocm7.2", "ROCm 7.2", "cuda", True, int(6.0 * GB), int(20.0 * GB)),
        _LINUX_CPU,
    ),
    "win32": (
        Build("cu130", "CUDA 13.0", "cuda", True, int(2.5 * GB), int(5.5 * GB)),
        Build("cu126", "CUDA 12.6", "cuda", True, int(3.0 * GB), int(6.0 * GB)),
        Build("cpu", "CPU only", "cpu", False, int(0.4 * GB), int(1.5 * GB)),
    ),
    "darwin": (Build("mps", "Apple GPU", "mps", False, int(0.3 * GB), int(1.2 * GB)),),
}
"""Builds by system. The sizes for Linux, CPU only, were measured; the others are estimated from the wheels."""


def choose(machine: Machine, wish: str = "auto") -> tuple[Build, str]:
    """Return the build for `machine`, and a note for the user about the choice, or "".

    Args:
        machine: see :func:`.machine.detect`.
        wish: name of a build in :data:`BUILDS` to use instead, or "auto".

    Raises:
        FaceLiftError: there is no such build, or none for this machine.
    """
    builds = {build.name: build for build in BUILDS.get(machine.system, ())}
    if not builds:
        raise FaceLiftError(f"PyTorch does not support the system “{machine.system}”.")
    if machine.system == "darwin" and machine.processor != "arm64":
        raise FaceLiftError("PyTorch no longer supports Macs with Intel processors; use a Mac with Apple silicon.")
    if machine.processor not in ("x86_64", "arm64"):
        raise FaceLiftError(f"PyTorch does not support {machine.processor} processors.")
    if wish != "auto":
        if wish not in builds:
            raise FaceLiftError(f"There is no PyTorch build “{wish}” for this system; use one of {', '.join(builds)}.")
        return builds[wish], ""
    if machine.system == "darwin":
        return builds["mps"], ""
    if machine.maker == "amd" and machine.processor == "x86_64" and "rocm7.2" in builds:
        return builds["rocm7.2"], ""
    if machine.maker == "nvidia" and not (machine.system == "win32" and machine.processor == "arm64"):
        name, note = _cuda(machine)
        return builds[name], note
    return builds["cpu"], ""


def _cuda(machine: Machine) -> tuple[str, str]:
    driver, card = machine.driver[0], machine.card
    capability = machine.capability or (8, 0)
    if capability < (5, 0):
        return "cpu", f"{card} is too old for PyTorch, so the CPU is used."
    if capability < (7, 5):
        if driver < 525:
            return "cpu", f"To use {card}, update its driver to 525 or newer (now {driver}); the CPU is used."
        return "cu126", ""
    if driver >= 580:
        return "cu130", ""
    if capability >= (10, 0) or driver < 525:
        return "cpu", f"To use {card}, update its driver to 580 or newer (now {driver}); the CPU is used."
    return "cu126", ""

"""The builds of PyTorch, which machine each is for, and how large the whole runtime gets with it.

Of the pinned version there are builds for CUDA 12.6, 13.0 and 13.2, for ROCm 7.2 and for processors alone; 13.0 is the
one on PyPI for Linux. The builds for CUDA 12.6 know cards from Maxwell to Hopper (capability 5.0 to 9.0) and need a
driver from 525 on; those for 13.0 know Turing and newer (7.5) and need 580.
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
        name: of its index below PYTORCH_INDEX.
        label: for people.
        device: of the trial run, "cuda", "mps" or "cpu".
        own_index: it is not on PyPI.
        download, disk: bytes of the whole runtime, rounded up.
    """

    name: str
    label: str
    device: str
    own_index: bool
    download: int
    disk: int

    @property
    def index(self) -> str:
        """Address of PyTorch's own index of this build; empty if PyPI has it."""
        return f"{PYTORCH_INDEX}/{self.name}" if self.own_index else ""


_LINUX_CPU = Build("cpu", "processor only", "cpu", True, int(0.4 * GB), int(1.5 * GB))
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
        Build("cpu", "processor only", "cpu", False, int(0.4 * GB), int(1.5 * GB)),
    ),
    "darwin": (Build("mps", "Apple GPU", "mps", False, int(0.3 * GB), int(1.2 * GB)),),
}
"""By system. Measured: Linux, processor only. The others are estimates from the sizes of the wheels."""


def choose(machine: Machine, wish: str = "auto") -> tuple[Build, str]:
    """The build for `machine`, and what a person should know about the choice, or "".

    Args:
        wish: a name of BUILDS that overrules what was found, or "auto".

    Raises:
        FaceLiftError: there is no such build, or none for this machine.
    """
    builds = {build.name: build for build in BUILDS.get(machine.system, ())}
    if not builds:
        raise FaceLiftError(f"There is no PyTorch for the system {machine.system}.")
    if machine.system == "darwin" and machine.processor != "arm64":
        raise FaceLiftError("PyTorch does not exist any more for Macs with Intel processors; Apple silicon is needed.")
    if machine.processor not in ("x86_64", "arm64"):
        raise FaceLiftError(f"There is no PyTorch for {machine.processor} processors.")
    if wish != "auto":
        if wish not in builds:
            raise FaceLiftError(f"There is no build “{wish}” of PyTorch here; there are {', '.join(builds)}.")
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
        return "cpu", f"{card} is too old for PyTorch; the processor computes."
    if capability < (7, 5):
        if driver < 525:
            return "cpu", f"For {card} update its driver to 525 or newer (it is {driver}); else the processor computes."
        return "cu126", ""
    if driver >= 580:
        return "cu130", ""
    if capability >= (10, 0) or driver < 525:
        return "cpu", f"For {card} update its driver to 580 or newer (it is {driver}); else the processor computes."
    return "cu126", ""

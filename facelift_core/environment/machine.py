"""Detect the hardware that determines which PyTorch build to use."""

from __future__ import annotations

import platform
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from ..errors import FaceLiftError
from ..processes import launch

QUERY_SECONDS = 30.0
KFD_NODES = Path("/sys/class/kfd/kfd/topology/nodes")


@dataclass(frozen=True)
class Machine:
    """System and graphics card.

    Attributes:
        system: "linux", "win32" or "darwin", as in ``sys.platform``.
        processor: "x86_64" or "arm64"; others as the system reports them.
        card: name of the graphics card to compute on; empty if there is none.
        maker: "nvidia", "amd" or "apple"; empty if there is no such card.
        driver: version of the NVIDIA driver, such as (580, 65).
        capability: NVIDIA compute capability, such as (8, 6); None if the driver does not report it.
    """

    system: str
    processor: str
    card: str = ""
    maker: str = ""
    driver: tuple[int, ...] = ()
    capability: tuple[int, int] | None = None


def detect() -> Machine:
    """Detect this machine. Runs ``nvidia-smi`` if there is one, which takes a moment."""
    system = "linux" if sys.platform.startswith("linux") else sys.platform
    processor = platform.machine().lower()
    processor = {"amd64": "x86_64", "x64": "x86_64", "aarch64": "arm64"}.get(processor, processor)
    if system == "darwin":
        apple = processor == "arm64"
        return Machine(system, processor, "Apple GPU" if apple else "", "apple" if apple else "")
    if said := _ask_nvidia():
        card, driver, capability = best_nvidia(said)
        if driver:
            return Machine(system, processor, card, "nvidia", driver, capability)
    if system == "linux" and (card := _amd()):
        return Machine(system, processor, card, "amd")
    return Machine(system, processor)


def best_nvidia(said: str) -> tuple[str, tuple[int, ...], tuple[int, int] | None]:
    """Return name, driver and capability of the card with the highest capability.

    Args:
        said: output of nvidia-smi, lines of the form "name, driver[, capability]".
    """
    cards = []
    for line in said.splitlines():
        fields = [field.strip() for field in line.split(",")]
        if len(fields) < 2 or not re.fullmatch(r"\d+(\.\d+)+", fields[1]):
            continue
        found = re.fullmatch(r"(\d+)\.(\d+)", fields[2]) if len(fields) > 2 else None
        capability = (int(found[1]), int(found[2])) if found else None
        cards.append((capability or (0, 0), fields[0], tuple(map(int, fields[1].split("."))), capability))
    if not cards:
        return "", (), None
    _, name, driver, capability = max(cards)
    return name, driver, capability


def _ask_nvidia() -> str:
    """Return the output of nvidia-smi; empty if it is missing or cannot reach the driver."""
    program = launch.program("nvidia-smi")
    if program is None:
        return ""
    for fields in ("name,driver_version,compute_cap", "name,driver_version"):  # older drivers lack compute_cap
        try:
            answer = launch.run([program, f"--query-gpu={fields}", "--format=csv,noheader"], QUERY_SECONDS)
        except FaceLiftError:
            return ""
        if answer.returncode == 0:
            return answer.stdout.decode(errors="replace")
    return ""


def _amd() -> str:
    """Return the first AMD card that Linux offers for compute and that the ROCm builds support (gfx9 or newer)."""
    for properties in sorted(KFD_NODES.glob("*/properties")):
        try:
            text = properties.read_text()
        except OSError:
            continue
        version = re.search(r"^gfx_target_version (\d+)$", text, re.MULTILINE)
        if version and int(version[1]) >= 90000:
            number = int(version[1])
            return f"AMD gfx{number // 10000}{number // 100 % 100:x}{number % 100:x}"
    return ""

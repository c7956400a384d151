"""State of the runtime for the panels. Checks run in a thread, so drawing never waits for them."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from facelift_core import FaceLiftError
from facelift_core.environment import location
from facelift_core.environment.check import Check, quick_check, thorough_check
from facelift_core.environment.machine import detect
from facelift_core.environment.torch_build import choose

USE = "Use Installed PyTorch…"
"""Label of the button that chooses a Python."""
MACHINE = Path()
"""Stands for this machine among the Pythons that are being checked."""


@dataclass
class _Known:
    """Check results by Python executable, and the size of the download; written by the checking threads."""

    checks: dict[Path, Check] = field(default_factory=dict)
    running: set[Path] = field(default_factory=set)
    download: str = "0.3 to 6 GB"


@dataclass(frozen=True)
class State:
    """State of the runtime as shown in the interface.

    Attributes:
        text, icon: one-line summary.
        problems, notes: sentences.
        ready: no known problem prevents running.
        checking: a check is in progress.
        outdated: FaceLift installed this runtime for other versions.
    """

    text: str
    icon: str
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    ready: bool = False
    checking: bool = False
    outdated: bool = False


_known = _Known()


def find(preferences) -> location.Found | None:
    return location.find(preferences.runtime_python)


def current(preferences) -> State:
    """The state as known now; does not start a check."""
    found = find(preferences)
    if found is None:
        if location.read(location.chosen_folder()) is not None:
            problem = "The one-time setup is incomplete; installing again continues where it stopped."
        else:
            problem = f"One-time setup: FaceLift needs PyTorch ({_known.download})."
        return State("PyTorch is not installed.", "ERROR", (problem,))
    where = f"{found.python} (from {found.source})"
    if found.python in _known.running:
        return State(f"Checking {where} …", "SORTTIME", checking=True, ready=True)
    check = _known.checks.get(found.python)
    if check is None:
        return State(f"{where}, not yet checked.", "QUESTION", ready=True)
    if check.problems:
        return State(where, "ERROR", check.problems, check.notes)
    versions = f"Python {check.python}, PyTorch {check.packages.get('torch', '')}"
    devices = _devices(check)
    return State(f"{where}: {versions}{devices}", "CHECKMARK", (), check.notes, ready=True, outdated=check.outdated)


def _look_at_machine() -> None:
    """Find out the size of the download for this machine, which may take a moment to ask its graphics driver."""
    with suppress(FaceLiftError):
        _known.download = f"{choose(detect())[0].download / 1e9:.1f} GB"
    _known.running.discard(MACHINE)


def is_chosen(preferences) -> bool:
    """Whether the user has chosen a Python, in which case an installed runtime would not be used."""
    return bool(preferences.runtime_python.strip() or os.environ.get(location.VARIABLE))


def forget() -> None:
    """Discard all check results, after the runtime has changed."""
    _known.checks.clear()


def check_soon(preferences, thorough: bool = False, weights: str = "mini") -> threading.Thread | None:
    """Start a thread that checks the runtime; returns it, or None if there is no runtime or a check is running.

    Without a runtime, the thread finds out how large the download for this machine would be.
    """
    found = find(preferences)
    if found is None:
        if MACHINE not in _known.running:
            _known.running.add(MACHINE)
            threading.Thread(target=_look_at_machine, name="FaceLift machine check", daemon=True).start()
        return None
    if found.python in _known.running:
        return None
    _known.running.add(found.python)
    thread = threading.Thread(
        target=_check, args=(found.python, thorough, weights), name="FaceLift runtime check", daemon=True
    )
    thread.start()
    return thread


def known(python: Path) -> Check | None:
    return _known.checks.get(python)


_running_before = False


def watch() -> tuple[bool, bool]:
    """Watcher for the timer: whether a check has started or ended since the last tick, and whether one is running."""
    global _running_before
    running, before = bool(_known.running), _running_before
    _running_before = running
    return running != before, running


def _check(python: Path, thorough: bool, weights: str) -> None:
    try:
        check = thorough_check(python, weights) if thorough else quick_check(python)
        _known.checks[python] = check
    finally:
        _known.running.discard(python)


def _devices(check: Check) -> str:
    if not check.info or not isinstance(check.info.get("devices"), dict):
        return ""
    names = [
        str(device.get("name"))
        for name, device in check.info["devices"].items()
        if isinstance(device, dict) and name != "cpu"
    ]
    return f", {', '.join(names)}" if names else ", no GPU"

"""What is known about the runtime, for the panel: found out in a thread, so that drawing never waits."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass, field
from pathlib import Path

from facelift_core.environment import location
from facelift_core.environment.check import Check, quick_check, thorough_check


@dataclass
class _Known:
    """Results of checks by Python; written by the threads that make them."""

    checks: dict[Path, Check] = field(default_factory=dict)
    running: set[Path] = field(default_factory=set)


@dataclass(frozen=True)
class State:
    """What to show.

    Attributes:
        text, icon: in one line.
        problems, notes: sentences.
        ready: nothing known speaks against running.
        checking: a check is under way.
        outdated: it was installed by us, for other versions.
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
    """What is known now; does not start anything."""
    found = find(preferences)
    if found is None:
        begun = location.read(location.chosen_folder()) is not None
        text = "installation was not finished; it goes on where it stopped" if begun else "computes with PyTorch"
        subject = "The runtime's" if begun else "FaceLift"
        more = "." if begun else ", which Install Runtime puts into a folder of its own."
        return State("No runtime.", "ERROR", (f"{subject} {text}{more}",))
    where = f"{found.python} (from {found.source})"
    if found.python in _known.running:
        return State(f"Checking {where} …", "SORTTIME", checking=True, ready=True)
    check = _known.checks.get(found.python)
    if check is None:
        return State(f"{where}, not checked yet.", "QUESTION", ready=True)
    if check.problems:
        return State(where, "ERROR", check.problems, check.notes)
    versions = f"Python {check.python}, PyTorch {check.packages.get('torch', '')}"
    devices = _devices(check)
    return State(f"{where}: {versions}{devices}", "CHECKMARK", (), check.notes, ready=True, outdated=check.outdated)


def is_chosen(preferences) -> bool:
    """Whether the runtime is one that a person has named, so that installing another would not be used."""
    return bool(preferences.runtime_python.strip() or os.environ.get(location.VARIABLE))


def forget() -> None:
    """Ask again: the runtime has changed."""
    _known.checks.clear()


def check_soon(preferences, thorough: bool = False, weights: str = "mini") -> threading.Thread | None:
    """Check the runtime of the preferences in a thread, which is returned; None if there is nothing to check."""
    found = find(preferences)
    if found is None or found.python in _known.running:
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
    """For :func:`.timer.watch`: whether a check has begun or ended since the last tick, and whether one runs."""
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
    return f", {', '.join(names)}" if names else ", no graphics card"

"""Check whether a Python can run FaceLift, and what it lacks."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..processes import launch
from . import location
from .pins import PYTHONS, pins, ranges

MODULES = {
    "torch": "torch",
    "diffusers": "diffusers",
    "transformers": "transformers",
    "safetensors": "safetensors",
    "huggingface_hub": "huggingface_hub",
    "einops": "einops",
    "numpy": "numpy",
    "scipy": "scipy",
    "Pillow": "PIL",
    "opencv-python-headless": "cv2",
}
"""Modules that a reconstruction imports, by distribution name."""

QUICK_CHECK = """
import importlib.metadata as metadata, importlib.util as util, json, sys
found = {}
for name, module in json.loads(sys.argv[1]).items():
    if util.find_spec(module) is None:
        continue
    try:
        found[name] = metadata.version(name)
    except metadata.PackageNotFoundError:
        found[name] = ""
print(json.dumps({"python": sys.version_info[:3], "packages": found}))
"""


@dataclass(frozen=True)
class Check:
    """The result of a check.

    Attributes:
        problems: what prevents the runtime from working, one sentence each; empty if it works.
        notes: anything unusual, one sentence each.
        python: version of Python.
        packages: installed versions of the packages in :data:`MODULES`.
        info: the full report of :func:`thorough_check`; None after a quick check.
        outdated: whether this is an installed runtime with other versions than this FaceLift requires.
    """

    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    python: str = ""
    packages: dict[str, str] = field(default_factory=dict)
    info: dict[str, Any] | None = None
    outdated: bool = False


def quick_check(python: Path, seconds: float = 20.0) -> Check:
    """Check that `python` starts and has the packages, without importing them. Takes a fraction of a second."""
    made = location.read(python.parents[1]) if len(python.parents) > 1 else None
    if made is not None and not made.complete:
        return Check(("The installation of PyTorch is incomplete; choose Install PyTorch to resume it.",))
    if not python.exists():
        gone = "the Python it was created with was removed: choose Repair" if made else "choose another one"
        return Check((f"There is no Python at {python}; {gone}.",))
    answer = launch.ask(launch.isolated(python, "-c", QUICK_CHECK, json.dumps(MODULES)), seconds)
    if isinstance(answer, str):
        return Check((f"{python} is not a working Python: {answer}",))
    try:
        version, packages = tuple(map(int, answer["python"])), dict(answer["packages"])
        packages = {str(name): str(version) for name, version in packages.items()}
    except (KeyError, TypeError, ValueError):
        return Check((f"{python} is not a working Python: its output was not understood.",))
    python_version = ".".join(map(str, version))
    problems = []
    if not PYTHONS[0] <= version[:2] <= PYTHONS[1]:
        lowest, highest = (".".join(map(str, v)) for v in PYTHONS)
        problems.append(f"This is Python {python_version}; FaceLift needs Python {lowest} to {highest}.")
    missing = [name for name in MODULES if name not in packages]
    old = [name for name in MODULES if name in packages and too_old(packages[name], ranges().get(name, ""))]
    if missing or old:
        has = [f"has {name} {packages[name]}, which is too old" for name in old]
        lacks = [f"lacks {', '.join(missing)}"] if missing else []
        wanted = " ".join(f"“{pins().get(name, name)}”" for name in [*missing, *old])
        said = "; it ".join([*lacks, *has])
        problems.append(f"This Python {said}. To fix this, choose another one, or: “{python}” -m pip install {wanted}")
    notes = [
        f"{name} {packages[name]}; tested with {pins()[name].removeprefix(name)}"
        for name in ("torch", "diffusers", "transformers")
        if packages.get(name) and name in pins() and name not in old and not _close(packages[name], pins()[name])
    ]
    outdated = made is not None and made.outdated
    if outdated:
        notes.append(f"PyTorch was installed for FaceLift {made.version}; choose Install PyTorch to update it.")
    return Check(tuple(problems), tuple(notes), python_version, packages, None, outdated)


def thorough_check(python: Path, weights: str = "mini", seconds: float = 300.0) -> Check:
    """Like :func:`quick_check`, but also import everything, try the devices and inspect the weights. Takes seconds."""
    check = quick_check(python)
    if check.problems:
        return check
    answer = launch.ask(launch.command(python, "jobs.worker", "--check", weights), seconds)
    problems = []
    if isinstance(answer, str):
        problems.append(f"This Python cannot run FaceLift: {answer}")
        answer = {}
    elif not isinstance(answer, dict):
        problems.append("This Python cannot run FaceLift: its output was not understood.")
        answer = {}
    elif answer.get("problem"):
        problems.append(f"This Python cannot run FaceLift: {answer['problem']}")
    devices = answer.get("devices")
    if isinstance(devices, dict) and (problem := devices.get("problem")):
        problems.append(f"There is no device to compute on: {problem}")
    return replace(check, problems=tuple(problems), info=answer)


def too_old(version: str, pin: str) -> bool:
    """Return whether `version` is older than `pin` allows: lower major for “==”, lower major or minor for “>=”."""
    wanted = re.search(r"[=>]=(\d+)(?:\.(\d+))?", pin)
    have = re.match(r"(\d+)(?:\.(\d+))?", version)
    if not wanted or not have:
        return False
    if "==" in pin:
        return int(have[1]) < int(wanted[1])
    return (int(have[1]), int(have[2] or 0)) < (int(wanted[1]), int(wanted[2] or 0))


def _close(version: str, pin: str) -> bool:
    """Return whether the major and minor version agree."""
    wanted = re.search(r"==(\d+\.\d+)", pin)
    return wanted is None or version.startswith(f"{wanted[1]}.") or version == wanted[1]

"""Whether a Python can run FaceLift, and what it lacks."""

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
"""What a reconstruction imports, by the name it is installed under."""

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
    """What was found out about a runtime.

    Attributes:
        problems: what keeps it from working, each one sentence; none: it works.
        notes: what is unusual about it.
        python: its version.
        packages: versions of what it has of MODULES.
        info: the whole answer of the thorough check, None after a quick one.
        outdated: it is an installed runtime of other versions than this FaceLift asks for.
    """

    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    python: str = ""
    packages: dict[str, str] = field(default_factory=dict)
    info: dict[str, Any] | None = None
    outdated: bool = False


def quick_check(python: Path, seconds: float = 20.0) -> Check:
    """Whether `python` starts and has the packages; a fraction of a second, without importing them."""
    made = location.read(python.parents[1]) if len(python.parents) > 1 else None
    if made is not None and not made.complete:
        return Check(("This runtime was not installed to its end; Install Runtime goes on where it stopped.",))
    if not python.exists():
        gone = "the Python that it was made with is gone; Repair makes it anew" if made else "choose another one"
        return Check((f"There is no Python at {python}; {gone}.",))
    answer = launch.ask([str(python), "-c", QUICK_CHECK, json.dumps(MODULES)], seconds)
    if isinstance(answer, str):
        return Check((f"{python} is not a Python that works: {answer}",))
    try:
        version, packages = tuple(answer["python"]), dict(answer["packages"])
    except (KeyError, TypeError, ValueError):
        return Check((f"{python} is not a Python that works: it answers something else.",))
    python_version = ".".join(map(str, version))
    problems = []
    if not PYTHONS[0] <= version[:2] <= PYTHONS[1]:
        lowest, highest = (".".join(map(str, v)) for v in PYTHONS)
        problems.append(f"The runtime is Python {python_version}; FaceLift needs one from {lowest} to {highest}.")
    missing = [name for name in MODULES if name not in packages]
    old = [name for name in MODULES if name in packages and too_old(packages[name], ranges().get(name, ""))]
    if missing or old:
        has = [f"has {name} {packages[name]}, which is too old" for name in old]
        lacks = [f"lacks {', '.join(missing)}"] if missing else []
        wanted = " ".join(f"“{pins().get(name, name)}”" for name in [*missing, *old])
        said = "; it ".join([*lacks, *has])
        problems.append(f"The runtime {said}. In a terminal: “{python}” -m pip install {wanted}")
    notes = [
        f"{name} {packages[name]}; tested with {pins()[name].removeprefix(name)}"
        for name in ("torch", "diffusers", "transformers")
        if packages.get(name) and name in pins() and name not in old and not _close(packages[name], pins()[name])
    ]
    outdated = made is not None and made.outdated
    if outdated:
        notes.append(f"This runtime was made for FaceLift {made.version}; Install Runtime brings it up to date.")
    return Check(tuple(problems), tuple(notes), python_version, packages, None, outdated)


def thorough_check(python: Path, weights: str = "mini", seconds: float = 300.0) -> Check:
    """Also import everything, try the devices and look at the weights; takes seconds."""
    check = quick_check(python)
    if check.problems:
        return check
    answer = launch.ask(launch.command(python, "jobs.worker", "--check", weights), seconds)
    problems = []
    if isinstance(answer, str):
        problems.append(f"The runtime cannot run FaceLift: {answer}")
        answer = {}
    elif answer.get("problem"):
        problems.append(f"The runtime cannot run FaceLift: {answer['problem']}")
    devices = answer.get("devices")
    if isinstance(devices, dict) and (problem := devices.get("problem")):
        problems.append(f"No device to compute on: {problem}")
    return replace(check, problems=tuple(problems), info=answer)


def too_old(version: str, pin: str) -> bool:
    """Whether `version` is of another major version than `pin` wants, from below, or below its lowest."""
    wanted = re.search(r"[=>]=(\d+)(?:\.(\d+))?", pin)
    have = re.match(r"(\d+)(?:\.(\d+))?", version)
    if not wanted or not have:
        return False
    if "==" in pin:
        return int(have[1]) < int(wanted[1])
    return (int(have[1]), int(have[2] or 0)) < (int(wanted[1]), int(wanted[2] or 0))


def _close(version: str, pin: str) -> bool:
    """Whether the first two numbers agree."""
    wanted = re.search(r"==(\d+\.\d+)", pin)
    return wanted is None or version.startswith(f"{wanted[1]}.") or version == wanted[1]

"""Which Python the worker runs in, and whether that one can."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from .. import core
from . import process

VARIABLE = "FACELIFT_PYTHON"
PYTHONS = ((3, 11), (3, 13))
MODULES = {
    "torch": "torch",
    "diffusers": "diffusers",
    "transformers": "transformers",
    "safetensors": "safetensors",
    "huggingface_hub": "huggingface_hub",
    "einops": "einops",
    "numpy": "numpy",
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
class Runtime:
    """A Python to run the worker in and where that choice comes from, for people."""

    python: Path
    source: str


@dataclass(frozen=True)
class Check:
    """What was found out about a runtime.

    Attributes:
        problems: what keeps it from working, each one sentence; none: it works.
        notes: what is unusual about it.
        python: its version.
        packages: versions of what it has of MODULES.
        info: the whole answer of the thorough check, None after a quick one.
    """

    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    python: str = ""
    packages: dict[str, str] = field(default_factory=dict)
    info: dict[str, Any] | None = None


def user_folder() -> Path:
    """Where a runtime of the user's is looked for: one for all Blender versions."""
    return core.module("cache").data_folder() / "runtime"


def find_runtime(preference: str = "") -> Runtime | None:
    """The Python of the preferences, else of the environment variable FACELIFT_PYTHON, else in the user's folder.

    The first that is set is taken, also where it is wrong: what a person has set is not passed over in silence.
    """
    if preference.strip():
        return Runtime(_python_in(Path(preference.strip()).expanduser()), "the preferences")
    if os.environ.get(VARIABLE, "").strip():
        return Runtime(_python_in(Path(os.environ[VARIABLE].strip()).expanduser()), VARIABLE)
    python = _python_in(user_folder())
    return Runtime(python, "the runtime folder") if python.is_file() else None


def quick_check(python: Path, seconds: float = 20.0) -> Check:
    """Whether `python` starts and has the packages; a fraction of a second, without importing them."""
    if not python.exists():
        return Check((f"There is no Python at {python}; choose another one.",))
    arguments = [str(python), "-c", QUICK_CHECK, json.dumps(MODULES)]
    answer = _ask(arguments, seconds)
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
    if missing := [name for name in MODULES if name not in packages]:
        wanted = " ".join(f"“{pins()[name]}”" if name in pins() else name for name in missing)
        problems.append(f"The runtime lacks {', '.join(missing)}. In a terminal: “{python}” -m pip install {wanted}")
    notes = [
        f"{name} {packages[name]}; tested with {pins()[name].removeprefix(name)}"
        for name in ("torch", "diffusers", "transformers")
        if packages.get(name) and name in pins() and not _close(packages[name], pins()[name])
    ]
    return Check(tuple(problems), tuple(notes), python_version, packages)


def thorough_check(python: Path, weights: str = "mini", seconds: float = 300.0) -> Check:
    """Also import everything, try the devices and look at the weights; takes seconds."""
    check = quick_check(python)
    if check.problems:
        return check
    answer = _ask(process.command(python, "worker", "--check", weights), seconds)
    problems = []
    if isinstance(answer, str):
        problems.append(f"The runtime cannot run FaceLift: {answer}")
        answer = {}
    elif answer.get("problem"):
        problems.append(f"The runtime cannot run FaceLift: {answer['problem']}")
    for section in ("devices",):
        if isinstance(answer.get(section), dict) and (problem := answer[section].get("problem")):
            problems.append(f"No device to compute on: {problem}")
    return Check(tuple(problems), check.notes, check.python, check.packages, answer)


@cache
def pins() -> dict[str, str]:
    """The requirements by name, such as torch → torch==2.13.0; from the zip, or from pyproject.toml beside us."""
    staged = Path(__file__).parents[1] / "requirements.txt"
    if staged.is_file():
        lines = staged.read_text(encoding="utf-8").splitlines()
    else:
        import tomllib

        project = Path(__file__).parents[2] / "pyproject.toml"
        lines = tomllib.loads(project.read_text(encoding="utf-8"))["project"]["dependencies"]
    return {re.split(r"[<>=!~ ]", line)[0]: line for line in lines if line.strip()}


def _python_in(path: Path) -> Path:
    """`path`, or the Python of the environment if it is the folder of one. Links stay: they are the environment."""
    if not path.is_dir():
        return path
    candidates = [
        path / "bin" / "python",
        path / "bin" / "python3",
        path / "Scripts" / "python.exe",
        path / "python.exe",
    ]
    return next((c for c in candidates if c.exists()), candidates[2 if sys.platform == "win32" else 0])


def _ask(arguments: list[str], seconds: float) -> Any:
    """The JSON that a process prints, or a sentence on why there is none."""
    try:
        answer = subprocess.run(
            arguments,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=seconds,
            env=process.environment(),
            **process.apart(),
        )
    except subprocess.TimeoutExpired:
        return f"no answer within {seconds:.0f} seconds."
    except OSError as error:
        return f"{error.strerror or error}."
    try:
        return json.loads(answer.stdout)
    except ValueError:
        words = answer.stderr.decode(errors="replace").strip().splitlines()
        return words[-1] if words else f"exit code {answer.returncode}."


def _close(version: str, pin: str) -> bool:
    """Whether the first two numbers agree."""
    wanted = re.search(r"==(\d+\.\d+)", pin)
    return wanted is None or version.startswith(f"{wanted[1]}.") or version == wanted[1]

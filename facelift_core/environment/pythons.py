"""A Python to make the environment with: Blender's own, else one of the system's."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from ..errors import FaceLiftError
from ..processes import launch
from .pins import PYTHONS

PROBE = """
import importlib.util, json, struct, sys
print(json.dumps({
    "version": sys.version_info[:3],
    "bits": 8 * struct.calcsize("P"),
    "lacks": [name for name in ("venv", "ensurepip") if importlib.util.find_spec(name) is None],
}))
"""


def choose(given: Path | None = None, avoid: Path | None = None) -> Path:
    """The first Python that can make an environment: `given`, or of those at hand, this one first.

    Args:
        avoid: the environment's own folder, whose Python cannot make itself.

    Raises:
        FaceLiftError: there is none; it says what the first one lacks.
    """
    first = ""
    for python in [given] if given is not None else _candidates():
        if avoid is not None and avoid in python.parents:
            continue
        problem = unfit(python)
        if not problem:
            return python
        first = first or problem
    lowest, highest = (".".join(map(str, version)) for version in PYTHONS)
    raise FaceLiftError(
        first or f"There is no Python from {lowest} to {highest} to make the runtime with; install one."
    )


def unfit(python: Path) -> str:
    """What keeps `python` from making an environment, as a sentence; empty: nothing."""
    answer = launch.ask([str(python), "-I", "-c", PROBE], 20.0)
    if isinstance(answer, str):
        return f"{python} is not a Python that works: {answer}"
    version = tuple(answer["version"])
    name = ".".join(map(str, version))
    if not PYTHONS[0] <= version[:2] <= PYTHONS[1]:
        lowest, highest = (".".join(map(str, v)) for v in PYTHONS)
        return (
            f"{python} is Python {name}, and the runtime needs one from {lowest} to {highest}; install such a Python, "
            "or name one that you have."
        )
    if answer["bits"] != 64:
        return f"{python} is a {answer['bits']}-bit Python, and PyTorch needs a 64-bit one."
    if answer["lacks"]:
        advice = ""
        if sys.platform.startswith("linux"):
            advice = f": on Debian and Ubuntu “sudo apt install python{version[0]}.{version[1]}-venv” brings it"
        return f"{python} cannot make environments, for it lacks {' and '.join(answer['lacks'])}{advice}."
    return ""


def _candidates() -> Iterator[Path]:
    """This Python, then those of the command line, the newest that will do first."""
    if sys.executable:
        yield Path(sys.executable)
    lowest, highest = PYTHONS[0][1], PYTHONS[1][1]
    for minor in range(highest, lowest - 1, -1):
        if found := shutil.which(f"python3.{minor}"):
            yield Path(found)
    for name in ("python3", "python"):
        if found := shutil.which(name):
            yield Path(found)

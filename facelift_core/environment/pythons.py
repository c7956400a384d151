"""Find a Python to create the environment with: Blender's own, else one on the system."""

from __future__ import annotations

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
    """Return the first Python that can create an environment.

    Args:
        given: consider only this one; None to consider this process's Python, then those on the search path.
        avoid: folder of the environment itself; its Python is skipped.

    Raises:
        FaceLiftError: there is none. The message says what is wrong with the first one considered.
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
    raise FaceLiftError(first or f"No Python {lowest} to {highest} was found to install PyTorch with; install one.")


def unfit(python: Path) -> str:
    """Return why `python` cannot create an environment, as a sentence; empty if it can."""
    answer = launch.ask(launch.isolated(python, "-c", PROBE), 20.0)
    if isinstance(answer, str):
        return f"{python} is not a working Python: {answer}"
    try:
        version, bits, lacks = tuple(map(int, answer["version"])), int(answer["bits"]), list(map(str, answer["lacks"]))
    except (KeyError, TypeError, ValueError):
        return f"{python} is not a working Python: its output was not understood."
    name = ".".join(map(str, version))
    if not PYTHONS[0] <= version[:2] <= PYTHONS[1]:
        lowest, highest = (".".join(map(str, v)) for v in PYTHONS)
        return (
            f"{python} is Python {name}, but PyTorch needs Python {lowest} to {highest}; install one of these, or "
            "choose another Python."
        )
    if bits != 64:
        return f"{python} is a {bits}-bit Python, but PyTorch needs a 64-bit one; choose another Python."
    if lacks:
        advice = ""
        if sys.platform.startswith("linux"):
            advice = f"; on Debian and Ubuntu, run “sudo apt install python{version[0]}.{version[1]}-venv”"
        return f"{python} cannot create environments because it lacks {' and '.join(lacks)}{advice}."
    return ""


def _candidates() -> Iterator[Path]:
    """Yield this Python, then those on the search path, newest supported version first."""
    if sys.executable:
        yield Path(sys.executable)
    lowest, highest = PYTHONS[0][1], PYTHONS[1][1]
    for minor in range(highest, lowest - 1, -1):
        if found := launch.program(f"python3.{minor}"):
            yield Path(found)
    for name in ("python3", "python"):
        if found := launch.program(name):
            yield Path(found)

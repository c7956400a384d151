"""Which versions of what: the dependencies of this package, wherever it has been put."""

from __future__ import annotations

import importlib.metadata
import re
import tomllib
from collections.abc import Iterable
from functools import cache

from ..errors import FaceLiftError
from ..processes.launch import FOLDER

PYTHONS = ((3, 11), (3, 13))
"""The lowest and the highest Python that will do."""
PIP = "pip>=25.1"
"""Not of the runtime itself, but what installs it: the first pip that goes on after a broken connection."""
PROJECT = "facelift-blender"


@cache
def pins() -> dict[str, str]:
    """The tested versions by name, such as torch → torch==2.13.0: what a runtime gets.

    From requirements.txt beside this package, in the extension's zip and in a checkout; elsewhere as :func:`ranges`.

    Raises:
        FaceLiftError: this copy does not know its dependencies.
    """
    file = FOLDER.parent / "requirements.txt"
    return _by_name(file.read_text(encoding="utf-8").splitlines()) if file.is_file() else ranges()


@cache
def ranges() -> dict[str, str]:
    """The versions that work by name, such as numpy → numpy>=2.0,<3.

    From pyproject.toml beside this package, else from the installed package.

    Raises:
        FaceLiftError: this copy does not know its dependencies.
    """
    project = FOLDER.parent / "pyproject.toml"
    if project.is_file():
        return _by_name(tomllib.loads(project.read_text(encoding="utf-8"))["project"]["dependencies"])
    try:
        return _by_name(importlib.metadata.requires(PROJECT) or [])
    except importlib.metadata.PackageNotFoundError:
        raise FaceLiftError("This copy of FaceLift does not know what it needs; install it again.") from None


def _by_name(lines: Iterable[str]) -> dict[str, str]:
    wanted = (line for line in lines if line.strip() and not line.startswith("#") and "extra ==" not in line)
    return {re.split(r"[<>=!~ ;\[]", line)[0]: line for line in wanted}

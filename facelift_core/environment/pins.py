"""Versions of this package's dependencies, wherever the package is installed."""

from __future__ import annotations

import importlib.metadata
import re
import tomllib
from collections.abc import Iterable
from functools import cache

from ..errors import FaceLiftError
from ..processes.launch import FOLDER

PYTHONS = ((3, 11), (3, 13))
"""The lowest and the highest supported Python version."""
PIP = "pip>=25.1"
"""The pip that installs the runtime: the first version that resumes interrupted downloads."""
PROJECT = "facelift-blender"
LOCK = "lock.txt"
TORCH_LIBRARIES = r"(torch|triton|nvidia-[\w-]+|cuda-[\w-]+)=="
"""What PyTorch's builds bring themselves or need in other versions."""


@cache
def pins() -> dict[str, str]:
    """Return the tested versions, which the runtime gets, by name, such as torch → torch==2.13.0.

    Read from requirements.txt beside this package (in a checkout and in the extension); otherwise as :func:`ranges`.

    Raises:
        FaceLiftError: the dependencies of this copy are unknown.
    """
    file = FOLDER.parent / "requirements.txt"
    return _by_name(file.read_text(encoding="utf-8").splitlines()) if file.is_file() else ranges()


@cache
def ranges() -> dict[str, str]:
    """Return the supported version ranges by name, such as numpy → numpy>=2.0,<3.

    Read from pyproject.toml beside this package, else from the metadata of the installed package.

    Raises:
        FaceLiftError: the dependencies of this copy are unknown.
    """
    project = FOLDER.parent / "pyproject.toml"
    if project.is_file():
        return _by_name(tomllib.loads(project.read_text(encoding="utf-8"))["project"]["dependencies"])
    try:
        return _by_name(importlib.metadata.requires(PROJECT) or [])
    except importlib.metadata.PackageNotFoundError:
        raise FaceLiftError("This copy of FaceLift lacks its list of dependencies; reinstall it.") from None


def locked(build_on_pypi: bool) -> list[str]:
    """Return every package of the runtime: its version, markers, and the hashes of its files.

    Args:
        build_on_pypi: include PyTorch and its libraries; otherwise they come from PyTorch's own index.

    Raises:
        FaceLiftError: this copy lacks the file.
    """
    try:
        text = (FOLDER / "environment" / LOCK).read_text(encoding="utf-8")
    except OSError:
        raise FaceLiftError("This copy of FaceLift lacks its list of packages; reinstall it.") from None
    lines = re.sub(r"\\\n\s*", " ", text).splitlines()
    return [line for line in lines if "==" in line and (build_on_pypi or not re.match(TORCH_LIBRARIES, line))]


def _by_name(lines: Iterable[str]) -> dict[str, str]:
    wanted = (line for line in lines if line.strip() and not line.startswith("#") and "extra ==" not in line)
    return {re.split(r"[<>=!~ ;\[]", line)[0]: line for line in wanted}

"""Which versions of what: the dependencies of pyproject.toml, wherever this package has been put."""

from __future__ import annotations

import importlib.metadata
import re
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
    """The requirements by name, such as torch → torch==2.13.0.

    From requirements.txt in the extension's zip, from pyproject.toml in a checkout, else from the installed package.

    Raises:
        FaceLiftError: none of them is there.
    """
    staged, project = FOLDER.parent / "requirements.txt", FOLDER.parent / "pyproject.toml"
    if staged.is_file():
        lines = staged.read_text(encoding="utf-8").splitlines()
    elif project.is_file():
        import tomllib

        lines = tomllib.loads(project.read_text(encoding="utf-8"))["project"]["dependencies"]
    else:
        try:
            lines = importlib.metadata.requires(PROJECT) or []
        except importlib.metadata.PackageNotFoundError:
            raise FaceLiftError("This copy of FaceLift does not know what it needs; install it again.") from None
    return {re.split(r"[<>=!~ ;\[]", line)[0]: line for line in lines if line.strip() and "extra ==" not in line}

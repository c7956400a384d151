"""Taking the runtime away again, and nothing else."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from ..errors import FaceLiftError
from . import location, pip

LOG = "install.log"
ENVIRONMENT = frozenset("bin lib lib64 include share etc man Scripts Lib Include Share pyvenv.cfg .gitignore".split())
"""What an environment and the packages in it have at the top of its folder."""


def uninstall(folder: Path, tell: Callable[[str], None] = lambda line: None) -> list[str]:
    """Remove the runtime in `folder`; returns the names of what is there beside it, which stays.

    Only names that an installation makes are removed, and the folder itself if nothing else is in it.

    Raises:
        FaceLiftError: the folder was not made by :func:`.install.install`, or something in it cannot be removed.
    """
    made = location.read(folder)
    if made is None or folder.is_symlink():
        raise FaceLiftError(f"{folder} was not made by Install Runtime; nothing was removed.")
    if Path(made.folder) != folder.absolute():
        raise FaceLiftError(f"The runtime in {folder} was made as {made.folder}; remove the folder by hand.")
    with location.locked(folder):
        location.write(folder, replace(made, complete=False))
        for name in sorted({*ENVIRONMENT, pip.DOWNLOADS, LOG}):
            tell(name)
            remove(folder / name)
        remove(folder / location.MARKER)
    with suppress(FaceLiftError):  # Windows lets go of it a moment later
        remove(folder / location.LOCK)
    if location.chosen_folder() == location.default_folder():
        location.remember(None)
    others = sorted(entry.name for entry in folder.iterdir())
    if not others:
        with suppress(OSError):
            folder.rmdir()
    return others


def remove(path: Path) -> None:
    """A file or a whole folder, if it is there; links are removed, not what they lead to.

    Raises:
        FaceLiftError: something keeps it.
    """
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise FaceLiftError(
            f"Cannot remove {error.filename or path}: {error.strerror or error}; end the programs that use it."
        ) from None

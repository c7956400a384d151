"""Uninstall the runtime."""

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
"""Names at the top level of an environment, from venv and from installed packages."""


def uninstall(folder: Path, tell: Callable[[str], None] = lambda line: None) -> list[str]:
    """Remove the runtime in `folder`. Return the names of other files in it, which are kept.

    Only what an installation creates is removed, and the folder itself if it is empty afterwards.

    Raises:
        FaceLiftError: the folder was not created by :func:`.install.install`, or a file cannot be removed.
    """
    made = location.read(folder)
    if made is None or folder.is_symlink():
        raise FaceLiftError(f"{folder} was not created by Install PyTorch; nothing was removed.")
    if Path(made.folder) != folder.absolute():
        raise FaceLiftError(f"PyTorch in {folder} was installed as {made.folder}; remove the folder manually.")
    with location.locked(folder):
        location.write(folder, replace(made, complete=False))
        for name in sorted({*ENVIRONMENT, pip.DOWNLOADS, LOG}):
            tell(name)
            remove(folder / name)
        remove(folder / location.MARKER)
    with suppress(FaceLiftError):  # Windows releases the file a moment later
        remove(folder / location.LOCK)
    if location.chosen_folder() == location.default_folder():
        location.remember(None)
    others = sorted(entry.name for entry in folder.iterdir())
    if not others:
        with suppress(OSError):
            folder.rmdir()
    return others


def remove(path: Path) -> None:
    """Remove a file or folder, if it exists. Symbolic links are removed, not followed.

    Raises:
        FaceLiftError: the file or folder cannot be removed.
    """
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise FaceLiftError(
            f"Cannot remove {error.filename or path}: {error.strerror or error}; close the programs that use it."
        ) from None

"""Per-user folders: a cache for files that can be recreated, and data for the runtime and downloaded weights."""

from __future__ import annotations

import atexit
import logging
import os
import shutil
import sys
import tempfile
from functools import cache
from pathlib import Path

from .errors import FaceLiftError

logger = logging.getLogger(__name__)


def home_folder() -> Path:
    """Return the user's home folder; for accounts without one, a temporary folder that this process removes again."""
    try:
        return Path.home()
    except RuntimeError:
        return _temporary_folder()


@cache
def _temporary_folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="facelift-"))  # only this user can read it
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    logger.warning("No folder for the cache can be written; FaceLift keeps it in %s until it ends.", folder)
    return folder


@cache
def _can_be_written(folder: Path) -> bool:
    """Return whether a folder can be made in `folder`, or in the nearest of its parents that exists.

    It is tried, because the permissions do not tell: not to an administrator, on Windows, or in a full file system.
    """
    existing = next((path for path in (folder, *folder.parents) if os.path.lexists(path)), folder)
    try:
        os.rmdir(tempfile.mkdtemp(prefix=".facelift-", dir=existing))
    except OSError:
        return False
    return True


def check_home() -> None:
    """Raise FaceLiftError if this account has no home folder, for what has to last."""
    try:
        Path.home()
    except RuntimeError:
        raise FaceLiftError("Name a folder with --folder, because this account has no home folder.") from None


def expanded(path: str | Path) -> Path:
    """Return `path` with a leading ~ replaced by the home folder; unchanged if there is none."""
    return Path(os.path.expanduser(path))


def cache_folder() -> Path:
    """Return the platform's per-user cache folder for FaceLift. It may not exist yet.

    Everything in it may be deleted at any time, so the data folder is never inside it. If it cannot be written, this is
    a temporary folder that this process removes again.
    """
    if os.environ.get("XDG_CACHE_HOME"):
        root = Path(os.environ["XDG_CACHE_HOME"])
    elif sys.platform == "win32":
        return data_folder() / "Cache"  # Windows has one local folder for both
    elif sys.platform == "darwin":
        root = home_folder() / "Library" / "Caches"
    else:
        root = home_folder() / ".cache"
    folder = root / "facelift"
    return folder if _can_be_written(folder) else _temporary_folder() / "cache"


def kernels_folder() -> Path:
    """Return the folder for kernels compiled for this machine's graphics card. It may not exist yet."""
    return cache_folder() / "compiled"


def keep_kernels() -> None:
    """Make PyTorch and Triton keep compiled kernels in :func:`kernels_folder`, unless their variables are set."""
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(kernels_folder() / "inductor"))
    os.environ.setdefault("TRITON_CACHE_DIR", str(kernels_folder() / "triton"))


def data_folder() -> Path:
    """Return the platform's per-user data folder for FaceLift, shared by all Blender versions.

    It holds the runtime and downloaded weights. It may not exist yet.
    """
    if sys.platform == "win32":
        root = Path(os.environ.get("LOCALAPPDATA") or home_folder() / "AppData" / "Local")
    elif sys.platform == "darwin":
        root = home_folder() / "Library" / "Application Support"
    else:
        root = Path(os.environ.get("XDG_DATA_HOME") or home_folder() / ".local" / "share")
    return root / "facelift"

"""Per-user folders: a cache for files that can be recreated, and data for the runtime and downloaded weights."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def cache_folder() -> Path:
    """Return the platform's per-user cache folder for FaceLift. It may not exist yet.

    Everything in it may be deleted at any time, so the data folder is never inside it.
    """
    if os.environ.get("XDG_CACHE_HOME"):
        root = Path(os.environ["XDG_CACHE_HOME"])
    elif sys.platform == "win32":
        return data_folder() / "Cache"  # Windows has one local folder for both
    elif sys.platform == "darwin":
        root = Path.home() / "Library" / "Caches"
    else:
        root = Path.home() / ".cache"
    return root / "facelift"


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
        root = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        root = Path.home() / "Library" / "Application Support"
    else:
        root = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    return root / "facelift"

"""Where training keeps what it can always make again: compiled code and the head template."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def cache_folder(*parts: str) -> Path:
    """The per-user folder `facelift/training/parts…`, created if missing (`XDG_CACHE_HOME` is honoured)."""
    if os.environ.get("XDG_CACHE_HOME"):
        base = Path(os.environ["XDG_CACHE_HOME"])
    elif sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path.home() / ".cache"
    folder = base.joinpath("facelift", "training", *parts)
    folder.mkdir(parents=True, exist_ok=True)
    return folder

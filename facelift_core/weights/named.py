"""Find weights by name: the built-in weights, the released weights, or a folder."""

from __future__ import annotations

from pathlib import Path

from ..errors import FaceLiftError
from ..user_dirs import expanded
from .inventory import ready_folder
from .layout import LAYOUT
from .store import open_store

BUILT_IN = "mini"
RELEASED = "released"


def find_weights(weights: str | Path) -> Path:
    """Return the folder of "mini" or "released", or `weights` itself as a path. Never accesses the network.

    Raises:
        FaceLiftError: the folder does not exist, or the released weights are missing or their license is not accepted.
    """
    if not str(weights).strip() or "\0" in str(weights):
        raise FaceLiftError(f"The weights are missing; give “{BUILT_IN}”, “{RELEASED}” or a folder with {LAYOUT}.")
    if str(weights) == RELEASED:
        return ready_folder(open_store())
    if str(weights) == BUILT_IN:
        folder = Path(__file__).parent / BUILT_IN
        if not folder.is_dir():
            raise FaceLiftError(f"This installation lacks the built-in weights “{BUILT_IN}”; reinstall FaceLift.")
        return folder
    folder = expanded(weights)
    if not folder.exists():
        raise FaceLiftError(
            f"There are no weights at {folder}; give “{BUILT_IN}”, “{RELEASED}” or a folder with {LAYOUT}."
        )
    return folder

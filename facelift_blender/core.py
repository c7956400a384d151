"""The one place that knows where ``facelift_core`` is: inside the installed extension, beside it in the repository.

Nothing here needs PyTorch. ``from .core import job`` and so on give the modules of ``facelift_core`` that run in
Blender's own Python; the others run in the worker.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

NAME = f"{__package__}.facelift_core" if find_spec(".facelift_core", __package__) else "facelift_core"
facelift_core = import_module(NAME)
FOLDER = Path(facelift_core.__file__).parent

FaceLiftError = facelift_core.FaceLiftError
Cancelled = facelift_core.Cancelled
version: str = facelift_core.__version__


def module(name: str):
    """The module `name` of ``facelift_core``, such as "cache" or "job"."""
    return import_module(f"{NAME}.{name}")

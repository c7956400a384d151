"""The Pythons with the package bpy that FACELIFT_BPY_PYTHONS names, as `make test-blender` does, and build.py."""

import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

import pytest

PYTHONS = [Path(p) for p in os.environ.get("FACELIFT_BPY_PYTHONS", "").split(os.pathsep) if p]
WORKER = os.environ.get("FACELIFT_PYTHON") or sys.executable
needs_blender = pytest.mark.skipif(
    not PYTHONS, reason="FACELIFT_BPY_PYTHONS does not name Pythons that have bpy; “make test-blender” does"
)


def name(python: Path | None) -> str:
    """Of the environment, for the test's name."""
    return python.parents[1].name if python else "none"


in_each_blender = pytest.mark.parametrize("python", PYTHONS, ids=name)


def load_build() -> ModuleType:
    """build.py, which is no part of a package."""
    spec = importlib.util.spec_from_file_location("build_extension", Path(__file__).parents[1] / "build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module

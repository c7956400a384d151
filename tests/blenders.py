"""The Pythons with the package bpy that FACELIFT_BPY_PYTHONS names, as `make test-blender` does."""

import os
from pathlib import Path

import pytest

PYTHONS = [Path(p) for p in os.environ.get("FACELIFT_BPY_PYTHONS", "").split(os.pathsep) if p]
needs_blender = pytest.mark.skipif(
    not PYTHONS, reason="FACELIFT_BPY_PYTHONS does not name Pythons that have bpy; “make test-blender” does"
)


def name(python: Path | None) -> str:
    """Of the environment, for the test's name."""
    return python.parents[1].name if python else "none"


in_each_blender = pytest.mark.parametrize("python", PYTHONS, ids=name)

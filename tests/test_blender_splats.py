"""Splats in the Blenders of FACELIFT_BPY_PYTHONS: objects, edits and files."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from blenders import in_each_blender, needs_blender

HERE = Path(__file__).parent
pytestmark = needs_blender


@in_each_blender
@pytest.mark.parametrize("script", ["splats.py", "scene.py", "arriving.py", "following.py"])
def test_splats_in_blender(python, script, tmp_path):
    done = subprocess.run(
        [python, HERE / "blender" / script, tmp_path], capture_output=True, text=True, timeout=900,
        env={**os.environ, "BLENDER_USER_RESOURCES": str(tmp_path / "user")},
    )  # fmt: skip
    assert "ALL GOOD" in done.stdout, (done.stdout + done.stderr)[-6000:]

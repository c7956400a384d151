"""Splats in the Blenders of FACELIFT_BPY_PYTHONS: objects, edits and files."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from blenders import PYTHONS, in_each_blender, needs_blender

HERE = Path(__file__).parent
pytestmark = needs_blender


def run(python: Path, script: str, tmp_path: Path, *arguments: str) -> None:
    done = subprocess.run(
        [python, HERE / "blender" / script, *arguments, tmp_path], capture_output=True, text=True, timeout=900,
        env={**os.environ, "BLENDER_USER_RESOURCES": str(tmp_path / "user")},
    )  # fmt: skip
    assert "ALL GOOD" in done.stdout, (done.stdout + done.stderr)[-6000:]


SCRIPTS = ["splats.py", "scene.py", "arriving.py", "following.py", "artists.py", "formats.py"]


@in_each_blender
@pytest.mark.parametrize("script", SCRIPTS)
def test_splats_in_blender(python, script, tmp_path):
    run(python, script, tmp_path)


@in_each_blender
def test_files_open_in_the_newest_blender_with_the_same_picture(python, tmp_path):
    run(python, "across.py", tmp_path, "save")
    run(PYTHONS[-1], "across.py", tmp_path, "open")

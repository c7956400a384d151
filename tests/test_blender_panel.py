"""The sidebar in the Blenders of FACELIFT_BPY_PYTHONS: what it says, in what order, and that nothing is cut off."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from blenders import in_each_blender, needs_blender

HERE = Path(__file__).parent
pytestmark = needs_blender


@in_each_blender
def test_the_panel(python, tmp_path):
    done = subprocess.run(
        [python, HERE / "blender" / "panel.py", tmp_path], capture_output=True, text=True, timeout=300,
        env={
            **{name: value for name, value in os.environ.items() if name != "FACELIFT_PYTHON"},  # no PyTorch chosen
            "BLENDER_USER_RESOURCES": str(tmp_path / "user"),
            "TEST_PHOTO": str(HERE / "goldens" / "input.png"),
        },
    )  # fmt: skip
    assert "ALL GOOD" in done.stdout, (done.stdout + done.stderr)[-6000:]

"""Install PyTorch in real Blenders."""

import os
import sys

import pytest
from blenders import needs_blender
from package_index import make_wheel


@needs_blender
def test_refusals(blender, tmp_path):
    make_wheel(tmp_path / "wheels", "torch", "2.13.0")
    blender(
        "runtime_refusals.py",
        runtime="",
        TEST_WHEELS=str(tmp_path / "wheels"),
        TEST_BASE_PYTHON=sys._base_executable,
        XDG_DATA_HOME=str(tmp_path / "data"),
    )


@needs_blender
@pytest.mark.skipif(not os.environ.get("FACELIFT_TEST_SETUP"), reason="FACELIFT_TEST_SETUP is not set")
def test_from_an_empty_user_folder_to_a_head(blender, tmp_path):
    """With real packages: hundreds of megabytes, or gigabytes, from where pip is configured to get them."""
    blender(
        "runtime.py",
        runtime="",
        minutes=60.0,
        TEST_BASE_PYTHON=sys._base_executable,
        XDG_DATA_HOME=str(tmp_path / "data"),
    )

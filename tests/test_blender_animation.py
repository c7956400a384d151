"""Faces that move Gaussians, in the Blenders of FACELIFT_BPY_PYTHONS."""

import pytest
from blenders import in_each_blender, needs_blender
from test_blender_splats import run

pytestmark = needs_blender


@in_each_blender
@pytest.mark.parametrize("script", ["animation.py"])
def test_faces_in_blender(python, script, tmp_path):
    run(python, script, tmp_path)

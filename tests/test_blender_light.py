"""Heads in the scene's light, in the Blenders of FACELIFT_BPY_PYTHONS."""

from __future__ import annotations

import numpy as np
from blenders import in_each_blender, needs_blender
from test_blender_splats import run
from test_relighting import SKIN, ball, unit_vectors

from facelift_core.gaussians.files import save

pytestmark = needs_blender


@in_each_blender
def test_splats_in_the_light_of_the_scene(python, tmp_path):
    run(python, "light.py", tmp_path)


def test_the_light_of_a_head(blender, tmp_path):
    unit = unit_vectors(4000)
    save(ball(np.tile(SKIN, (len(unit), 1)), unit), tmp_path / "head.ply")
    said = blender("head_light.py", TEST_HEAD=str(tmp_path / "head.ply"))
    assert "Traceback" not in said, said[-6000:]

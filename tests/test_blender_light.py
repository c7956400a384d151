"""Heads in the scene's light and on bodies, in the Blenders of FACELIFT_BPY_PYTHONS."""

from __future__ import annotations

import numpy as np
import pytest
from blenders import in_each_blender, needs_blender
from test_blender_splats import run
from test_relighting import SKIN, ball, unit_vectors

from facelift_core.gaussians.files import save

pytestmark = needs_blender


@in_each_blender
@pytest.mark.parametrize("script", ["light.py", "body.py"])
def test_in_one_process(python, script, tmp_path):
    run(python, script, tmp_path)


def test_the_light_of_a_head(blender, tmp_path):
    unit = unit_vectors(4000)
    save(ball(np.tile(SKIN, (len(unit), 1)), unit), tmp_path / "head.ply")
    said = blender("head_light.py", TEST_HEAD=str(tmp_path / "head.ply"))
    assert "Traceback" not in said, said[-6000:]

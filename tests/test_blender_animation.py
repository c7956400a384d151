"""Faces that move Gaussians, in the Blenders of FACELIFT_BPY_PYTHONS."""

import json
from dataclasses import replace

import numpy as np
from blenders import PYTHONS, in_each_blender, needs_blender
from synthetic_rig import make_rig
from test_blender_splats import run

from facelift_core.animation.capture import Take, write_csv
from facelift_core.animation.files import save_rig
from facelift_core.animation.rig import SHAPES
from facelift_core.gaussians import files

pytestmark = needs_blender
OWN = 170
"""Of the rig's Gaussians, those that the head has before."""


@in_each_blender
def test_faces_in_blender(python, tmp_path):
    run(python, "animation.py", tmp_path)


@in_each_blender
def test_faces_move_in_the_newest_blender_without_the_extension(python, tmp_path):
    run(python, "animation_across.py", tmp_path, "save")
    run(PYTHONS[-1], "animation_across.py", tmp_path, "open")


def test_faces_from_the_oldest_blender_move_in_all_without_the_extension(tmp_path):
    run(PYTHONS[0], "animation_across.py", tmp_path, "save")
    for python in PYTHONS[1:]:
        run(python, "animation_across.py", tmp_path, "open")


def test_the_operators_for_faces(blender, fake, tmp_path):
    rig = make_rig()
    # Two that make it as large as heads are.
    ends = rig.gaussians.positions.copy()
    ends[:8, 2] = np.linspace(-1, 1, 8)
    rig = replace(rig, gaussians=replace(rig.gaussians, positions=ends))
    save_rig(rig, tmp_path / "rig.npz")
    files.write(rig.gaussians[np.arange(OWN)], tmp_path / "head.ply")
    weights = np.zeros((61, len(SHAPES)), np.float32)
    weights[:, SHAPES.index("jawOpen")] = np.linspace(0, 1, 61)
    write_csv(Take(weights, np.zeros((61, 3), np.float32), np.arange(61) / 60), tmp_path / "take.csv")
    found = {"fps": 60, "names": SHAPES, "weights": weights.tolist()}
    (tmp_path / "take.json").write_text(json.dumps(found))
    variables = {"FAKE_RIG": "rig.npz", "FAKE_TRACK": "take.json", "TEST_HEAD": "head.ply", "TEST_CSV": "take.csv"}
    variables = {key: str(tmp_path / name) for key, name in variables.items()}
    said = blender("rig_face.py", runtime=fake, **variables)
    assert "Traceback" not in said, said[-6000:]

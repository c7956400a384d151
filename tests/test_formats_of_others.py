"""Files of splat-transform open here, and ours open there; both ways with equal values.

The files in data/formats were made with it. The other way needs node and the program itself: `npm install
@playcanvas/splat-transform@3.7`, and its path in FACELIFT_SPLAT_TRANSFORM.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from test_formats import TOLERANCES, assert_close, splats

from facelift_core.gaussians.axes import Y_UP_TO_Z_UP, Z_UP_TO_Y_UP
from facelift_core.gaussians.files import SplatArrays, read, write
from facelift_core.gaussians.transforms import transform

THEIRS = Path(__file__).parent / "data" / "formats"
PROGRAM = os.environ.get("FACELIFT_SPLAT_TRANSFORM") or shutil.which("splat-transform")
HALF_TURN = np.diag([-1.0, -1.0, 1.0, 1.0])
"""splat-transform takes .ply files to have Y down, and turns them for formats with Y up."""


def from_theirs(name: str) -> SplatArrays:
    """What splat-transform made of reference.ply, in the coordinates of that file."""
    if name == "theirs4.spz":
        pytest.importorskip("zstandard", reason="zstandard, of requirements.txt, is not installed")
    found = read(THEIRS / name)
    if name.endswith(".spz"):  # it writes the coordinates of the .ply, without turning them to Y up
        return transform(found, Z_UP_TO_Y_UP)
    if name.endswith(".glb"):
        return transform(found, HALF_TURN @ Z_UP_TO_Y_UP)
    return found


@pytest.mark.parametrize("name", ["compressed.ply", "glb", "3.spz", "4.spz"])
def test_files_of_splat_transform_open(name):
    path = f"theirs{name}" if name[0].isdigit() else f"theirs.{name}"
    suffix = "." + name.lstrip("34.")
    limits = dict(TOLERANCES[suffix])
    if suffix == ".spz":
        limits |= {"position": 1.3e-4, "sh": 0.12}  # twelve bits after the point, four or five of eight for colors
    if suffix == ".glb":
        limits |= {"position": 1e-6, "color": 1e-6, "sh": 1e-6, "turn": 1e-2}
    assert_close(from_theirs(path), read(THEIRS / "reference.ply"), **limits)


def test_its_sog_is_decoded_as_it_does_itself():
    exact = dict(position=1e-6, color=1e-6, sh=1e-6, log_scale=1e-6, turn=1e-2, opacity=1e-6)
    assert_close(read(THEIRS / "theirs.sog"), read(THEIRS / "theirs.sog.ply"), **exact)


@pytest.mark.skipif(not PROGRAM, reason="needs node and splat-transform; see the top of this file")
@pytest.mark.parametrize(
    ("name", "options"),
    [("a.ply", {}), ("a.compressed.ply", {}), ("a.sog", {}), ("a.splat", {}), ("a.spz", {"version": 2}),
     ("a.spz", {"version": 3}), ("a.spz", {"version": 4})],
)  # fmt: skip
def test_our_files_open_in_splat_transform(name, options, tmp_path):
    written = splats(300, degree=3)
    write(written, tmp_path / name, **options)
    command = [*(["node"] if PROGRAM.endswith((".mjs", ".js")) else []), PROGRAM, "-q", "-w"]
    subprocess.run([*command, tmp_path / name, tmp_path / "back.ply"], check=True, timeout=120)
    found = read(tmp_path / "back.ply")
    if name.endswith(".spz"):
        found = transform(found, Y_UP_TO_Z_UP)
    suffix = name[1:]
    limits = {key: value and value + 1e-5 for key, value in TOLERANCES[suffix].items()}
    if options.get("version") == 2:
        limits |= {"turn": 12}
    assert_close(found, written, **limits)

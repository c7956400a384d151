"""Splats in the Blenders of FACELIFT_BPY_PYTHONS: objects, edits and files, and their renders against ours."""

from __future__ import annotations

import importlib.util
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from facelift_core.cameras import orbit
from facelift_core.formats import write

HERE = Path(__file__).parent
PYTHONS = [Path(p) for p in os.environ.get("FACELIFT_BPY_PYTHONS", "").split(os.pathsep) if p]
pytestmark = pytest.mark.skipif(
    not PYTHONS, reason="FACELIFT_BPY_PYTHONS does not name Pythons that have bpy; “make test-blender” does"
)
blenders = pytest.mark.parametrize("python", PYTHONS, ids=lambda p: p.parents[1].name)


def fidelity():
    spec = importlib.util.spec_from_file_location("blender_fidelity", HERE.parent / "benchmarks/blender_fidelity.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@blenders
def test_objects_edits_and_files(python, tmp_path):
    done = subprocess.run(
        [python, HERE / "blender" / "splats.py", tmp_path], capture_output=True, text=True, timeout=600,
        env={**os.environ, "BLENDER_USER_RESOURCES": str(tmp_path / "user")},
    )  # fmt: skip
    assert "ALL GOOD" in done.stdout, (done.stdout + done.stderr)[-6000:]


@blenders
def test_renders_equal_ours(python, tmp_path):
    benchmark = fidelity()
    jobs, expected = [], []
    wide = {"c2w": orbit(torch.tensor([300.0]), 10.0)[0].tolist(), "focal": 100.0, "size": [96, 64]}
    # Points are ordered by the near sides of spheres instead of their centres: large splats would tell them apart.
    larger = {"c2w": orbit(torch.tensor([270.0]), 0.0)[0].tolist(), "focal": 137.0, "size": [128, 128]}
    for count, degree, colors, mode, camera, least in (
        (2000, 0, "sRGB", "Camera Facing", wide, 60),
        (2000, 0, "linear", "Camera Facing", wide, 60),
        (2000, 3, "sRGB", "Camera Facing", wide, 60),
        (5000, 0, "sRGB", "Any View", larger, 33),
    ):
        splats = benchmark.synthetic_head(count, degree)
        path = tmp_path / f"head_{count}_{degree}.ply"
        write(splats, path)
        matrix = benchmark.uneven() if degree == 0 else np.eye(4)
        job = {"ply": str(path), "matrix": matrix.tolist(), "mode": mode, "engine": "CYCLES", **camera}
        jobs.append({**job, "match_viewers": colors == "sRGB", "out": str(tmp_path / f"{len(jobs)}.npy")})
        expected.append((benchmark.reference(splats, matrix, camera, colors == "linear"), least))
    benchmark.run_blender(str(python), False, jobs, tmp_path, "jobs")
    for job, (reference, least) in zip(jobs, expected, strict=True):
        assert reference[..., 3].max() > 0.9
        ratio = benchmark.psnr(np.load(job["out"]), reference)
        assert ratio >= least, f"{job['mode']}: {ratio:.1f} dB"

"""Both engines' pictures of splats in the Blenders of FACELIFT_BPY_PYTHONS against our own renderer, small."""

from __future__ import annotations

import sys
from ctypes.util import find_library
from pathlib import Path

import numpy as np
import pytest
import torch
from blenders import in_each_blender, needs_blender

from facelift_core.gaussians.files import write
from facelift_core.rendering.cameras import orbit

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import blender_fidelity
from splat_references import psnr, reference, synthetic_head, uneven

pytestmark = needs_blender

FACING, ANY = "Camera Facing", "Any View"
# Cycles orders points by the near sides of spheres instead of their centres: few large splats would tell them apart.
LEAST = {("CYCLES", FACING): 80, ("CYCLES", ANY): 33, ("EEVEE", FACING): 50, ("EEVEE", ANY): 48}
COUNT = {("CYCLES", FACING): 2000, ("CYCLES", ANY): 5000, ("EEVEE", FACING): 2000, ("EEVEE", ANY): 20_000}
"""Any view sees a Gaussian in perspective as it is, the reference flattens it first: the smaller, the more alike."""
WIDE = {"c2w": orbit(torch.tensor([300.0]), 10.0)[0].tolist(), "focal": 100.0, "size": [96, 64]}
LARGER = {"c2w": orbit(torch.tensor([270.0]), 0.0)[0].tolist(), "focal": 137.0, "size": [128, 128]}
TALL = {"c2w": orbit(torch.tensor([200.0]), -20.0)[0].tolist(), "focal": 100.0, "size": [64, 96]}
STRETCHED = uneven() @ np.diag([1.5, 0.5, 1.0, 1.0])
"""Nearly five times as long as deep; the points' spheres must reach as far in every direction."""


def far_away(camera: dict, distance: float = 4000.0) -> tuple[dict, float]:
    """A camera with lines of sight almost parallel that shows the world's origin as `camera` does, and for Blender how
    much of the world the longer side of an orthographic picture shows."""
    c2w = np.array(camera["c2w"])
    near = np.linalg.norm(c2w[:3, 3])
    shown = max(camera["size"]) / camera["focal"] * near
    c2w[:3, 3] *= distance / near
    return {**camera, "c2w": c2w.tolist(), "focal": camera["focal"] * distance / near}, shown


def cases(engine: str, tmp_path: Path) -> list[tuple[str, dict, np.ndarray]]:
    """Name, job and reference."""
    found = []

    def add(name, mode, camera, matrix, *, linear=False, degree=0, expected_camera=None, world=None, **job):
        count = COUNT[engine, mode]
        splats = synthetic_head(count, degree)
        path = tmp_path / f"head_{count}_{degree}.ply"
        write(splats, path)
        job |= {"ply": str(path), "matrix": matrix.tolist(), "mode": mode, "engine": engine, **camera,
                "match_viewers": not linear, "out": str(tmp_path / f"{len(found)}.npy")}  # fmt: skip
        expected = reference(splats, matrix if world is None else world, expected_camera or camera, linear)
        found.append((f"{mode}, {name}", job, expected))

    add("moved", FACING, WIDE, uneven())
    add("linear", FACING, TALL, uneven(), linear=True)
    add("spherical harmonics", FACING, WIDE, uneven(), degree=3)
    add("camera with a scale", FACING, WIDE, uneven(), camera_scale=0.2)
    add("stretched", FACING, WIDE, STRETCHED)
    add("moved", ANY, LARGER, uneven())
    add("linear", ANY, LARGER, np.eye(4), linear=True)
    add("stretched", ANY, LARGER, STRETCHED)
    if engine == "CYCLES":  # EEVEE may cut large splats short there
        turned = uneven()[:, [1, 2, 0, 3]]
        add("instance of a collection", ANY, LARGER, uneven(), instance=turned.tolist(), world=turned @ uneven())
    for mode in (FACING, ANY):
        far, shown = far_away(LARGER)
        add("orthographic", mode, LARGER, uneven(), expected_camera=far, orthographic=shown)
    return found


@in_each_blender
@pytest.mark.parametrize("engine", blender_fidelity.ENGINES)
def test_renders_equal_ours(engine, python, tmp_path):
    if engine == "EEVEE" and sys.platform == "linux" and not find_library("EGL"):
        pytest.skip("EEVEE draws with OpenGL, and there is no libEGL: Mesa's will do, without a graphics card, too")
    todo = cases(engine, tmp_path)
    jobs = [job for _, job, _ in todo]
    assert len(list(blender_fidelity.run_blender(str(python), False, jobs, tmp_path))) == len(jobs)
    ratios = {}
    for name, job, expected in todo:
        assert expected[..., 3].max() > 0.9
        ratios[name] = psnr(np.load(job["out"]), expected)
    print(", ".join(f"{name}: {ratio:.1f} dB" for name, ratio in ratios.items()))
    for name, job, _ in todo:
        assert ratios[name] >= LEAST[engine, job["mode"]], f"{name}: {ratios[name]:.1f} dB"

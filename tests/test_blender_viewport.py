"""Splats in the viewport: their order, and what the Blenders of FACELIFT_BLENDERS show on a screen.

FACELIFT_BLENDERS names programs that open a window, as ``blender`` itself where there is a screen, or a script that
starts it on a virtual one.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from facelift_blender.splats.viewport import arrays
from facelift_core.gaussians.files import SplatArrays, write
from facelift_core.gaussians.transforms import transform
from facelift_core.rendering import render_rgba
from facelift_core.rendering.cameras import orbit

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

from splat_references import psnr, synthetic_head, uneven

HERE = Path(__file__).parent
PROGRAMS = [Path(p) for p in os.environ.get("FACELIFT_BLENDERS", "").split(os.pathsep) if p]


def test_far_to_near_sorts_floats_of_both_signs():
    draw = np.random.default_rng(0)
    depths = np.concatenate([draw.normal(size=5000), draw.normal(size=500) * 1e-6, [0.0, -0.0, 1e30, -1e30]])
    depths = draw.permutation(depths.astype(np.float32))
    order = arrays.far_to_near(depths)
    assert sorted(order) == list(range(len(depths)))
    assert (np.diff(depths[order]) >= 0).all()


def test_packed_holds_covariance_opacity_and_color():
    splats = synthetic_head(200, 2)
    packed = arrays.packed(splats)
    upper, lower = packed.texels[:, 1], packed.texels[:, 2]
    covariance = np.stack([upper[:, [0, 1, 2]], np.c_[upper[:, [1, 3]], lower[:, 0]], np.c_[upper[:, 2], lower[:, :2]]])
    values = np.linalg.eigvalsh(covariance.transpose(1, 0, 2))
    expected = np.sort(np.exp(2 * splats.log_scales), axis=1)
    assert np.allclose(values[:, 1:], expected[:, 1:], rtol=1e-3)
    assert np.allclose(packed.texels[:, 0, 3], 1 / (1 + np.exp(-splats.opacity_logits)), atol=1e-6)
    assert np.allclose(packed.texels[:, 3, :3], splats.colors, atol=1e-6)
    assert packed.features.shape == (200, 8, 3)


def test_level_of_detail_depends_on_the_view_and_keeps_the_picture():
    splats = synthetic_head(40_000, 0)
    packed = arrays.packed(splats)
    everything, shares = arrays.level_of_detail(packed.sizes, packed.chances, 40_000)
    assert len(everything) == 40_000 and (shares == 1).all()
    kept, shares = arrays.level_of_detail(packed.sizes, packed.chances, 10_000)
    assert abs(len(kept) - 10_000) < 500
    fewer = splats[kept]
    fewer = replace(fewer, log_scales=fewer.log_scales - 0.5 * np.log(shares)[:, None])
    job = {"c2w": orbit(torch.tensor([300.0]), 10.0)[0].tolist(), "focal": 137.0, "size": [128, 128]}
    assert psnr(reference([fewer], job), reference([splats], job)) > 31, "drawn smaller or at random: below"
    # What is near is drawn, what is far is thinned out.
    near, _ = arrays.level_of_detail(packed.sizes * np.where(splats.positions[:, 0] > 0, 10, 1), packed.chances, 10_000)
    assert (splats.positions[near, 0] > 0).mean() > 0.8
    perspective = np.array([[2.0, 0, 0, 0], [0, 2, 0, 0], [0, 0, -1, -0.2], [0, 0, -1, 0]])
    centers = np.float32([[0, 0, -1], [0, 0, 1], [0.49, 0, -1], [0.7, 0, -1], [0, 5, -10]])
    assert arrays.in_view(centers, perspective).tolist() == [True, False, True, False, True]


def reference(parts: list[SplatArrays], job: dict) -> np.ndarray:
    """(H, W, 4) premultiplied picture of all `parts` together."""
    bases = max(part.sh.shape[1] for part in parts)
    padded = {"sh": [np.pad(part.sh, ((0, 0), (0, bases - part.sh.shape[1]), (0, 0))) for part in parts]}
    columns = {f.name: padded.get(f.name) or [getattr(part, f.name) for part in parts] for f in fields(SplatArrays)}
    together = SplatArrays(**{name: np.concatenate(values) for name, values in columns.items()})
    width, height = job["size"]
    intrinsics = torch.tensor([job["focal"], job["focal"], width / 2, height / 2])
    with torch.no_grad():
        return render_rgba(together.to_gaussians(), torch.tensor(job["c2w"]), intrinsics, width, height)[0].numpy()


@pytest.mark.skipif(not PROGRAMS, reason="FACELIFT_BLENDERS names no Blender that can open a window")
@pytest.mark.parametrize("program", PROGRAMS, ids=lambda p: p.stem)
def test_viewport_equals_our_renderer_and_follows_the_scene(program, tmp_path):
    heads = {degree: synthetic_head(3000, degree) for degree in (0, 3)}
    for degree, splats in heads.items():
        write(splats, tmp_path / f"head_{degree}.ply")
    turned = np.eye(4)
    turned[:3, :3] = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
    turned[:3, :3] *= np.sign(np.linalg.det(turned)) * 0.8
    beside = np.eye(4)
    beside[:3, 3] = (0.3, 0.4, 0.1)
    scenes = ([(0, uneven())], [(3, turned)], [(0, np.eye(4)), (0, beside), (3, turned)])
    jobs, references = [], []
    for number, scene in enumerate(scenes):
        parts = [transform(heads[degree], matrix) for degree, matrix in scene]
        for azimuth in (270.0, 350.0, 100.0):
            job = {
                "objects": [(str(tmp_path / f"head_{degree}.ply"), matrix.tolist()) for degree, matrix in scene],
                "c2w": orbit(torch.tensor([azimuth]), 10.0)[0].tolist(), "focal": 200.0, "size": [160, 192],
                "out": str(tmp_path / f"{number}_{azimuth:.0f}.npy"),
            }  # fmt: skip
            jobs.append(job)
            references.append(reference(parts, job))
    (tmp_path / "jobs.json").write_text(json.dumps(jobs))
    done = subprocess.run(
        [program, "--factory-startup", "--window-geometry", "0", "0", "900", "700", "--python",
         HERE / "blender" / "viewport.py", "--", tmp_path],
        capture_output=True, text=True, timeout=900,
        env={**os.environ, "BLENDER_USER_RESOURCES": str(tmp_path / "user")},
    )  # fmt: skip
    assert "ALL GOOD" in done.stdout, (done.stdout + done.stderr)[-6000:]
    for job, expected in zip(jobs, references, strict=True):
        assert expected[..., 3].max() > 0.9
        ratio = psnr(np.load(job["out"]), expected)
        print(f"{Path(job['out']).stem}: {ratio:.1f} dB")
        assert ratio >= 50, f"{Path(job['out']).stem}: {ratio:.1f} dB"

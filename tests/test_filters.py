"""The filters keep exactly what the reference keeps (goldens/post)."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from facelift_core.gaussians.filters import CLI_LIMITS, WEB_LIMITS, filter_gaussians, keep_indices
from facelift_core.gaussians.tensors import Gaussians

GOLDENS = Path(__file__).parent / "goldens" / "post"


def raw_gaussians() -> Gaussians:
    raw = load_file(GOLDENS / "raw.safetensors")
    return Gaussians(
        raw["xyz"], raw["features"], raw["scaling_raw"], raw["rotation_raw"], raw["opacity_raw"].squeeze(-1)
    )


@pytest.mark.parametrize(("limits", "name"), [(CLI_LIMITS, "kept_cli"), (WEB_LIMITS, "kept_web")])
def test_kept_indices_equal_the_reference(limits, name):
    expected = load_file(GOLDENS / "kept.safetensors")[name]
    assert torch.equal(keep_indices(raw_gaussians(), limits), expected)


def one(x=0.0, y=0.0, z=-0.5, scale=0.01, opacity=0.5) -> Gaussians:
    return Gaussians(
        torch.tensor([[x, y, z]]),
        torch.zeros(1, 1, 3),
        torch.tensor([[scale / 2, scale, scale / 3]]).log(),
        torch.tensor([[1.0, 0.0, 0.0, 0.0]]),
        torch.tensor([opacity]).logit(),
    )


@pytest.mark.parametrize(
    ("gaussian", "kept"),
    [
        (one(), True),
        (one(opacity=0.039), False),
        (one(opacity=0.041), True),
        (one(scale=0.101), False),
        (one(scale=0.099), True),
        (one(scale=0.5, z=0.01), True),
        (one(scale=0.5, z=0.0), False),
        (one(x=0.61, y=-0.61, z=-0.61), False),
        (one(x=0.61, y=-0.59, z=-0.61), True),
        (one(x=-0.61, y=0.61, z=-0.59), True),
        (one(x=0.91), True),
        (one(x=-0.92), False),
        (one(y=0.92), False),
        (one(z=1.0), True),
        (one(z=-1.01), False),
        (one(x=math.nan), False),
        (one(opacity=math.nan), False),
        (one(scale=math.nan), False),
    ],
)
def test_each_limit(gaussian, kept):
    assert len(filter_gaussians(gaussian)) == int(kept)

"""GS-LRM against the reference's output on a tiny checkpoint, and its invariants."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from facelift_core import FaceLiftError
from facelift_core.gslrm.network import DEPTH_RANGE, GSLRM, LOG_SCALE_MAX, camera_rays
from facelift_core.rendering import cameras

GOLDENS = Path(__file__).parent / "goldens" / "gslrm"
CHECKPOINT = GOLDENS / "ckpt_0000000000021125.pt"


@pytest.fixture(scope="module")
def golden() -> dict[str, torch.Tensor]:
    return load_file(GOLDENS / "expected.safetensors")


@pytest.fixture(scope="module")
def model() -> GSLRM:
    return GSLRM.from_checkpoint(CHECKPOINT, head_dim=16, device="cpu")


def test_equals_reference(model, golden):
    (found,) = model(golden["image"], golden["fxfycxcy"], golden["c2w"])
    expected = {
        "positions": golden["xyz"][0],
        "sh": golden["features"][0],
        "log_scales": golden["scaling_raw"][0],
        "rotations": golden["rotation_raw"][0],
        "opacity_logits": golden["opacity_raw"][0, :, 0],
    }
    for name, value in expected.items():
        assert (getattr(found, name) - value).abs().max() <= 1e-4, name
    assert (found.scales - golden["scale"][0]).abs().max() <= 1e-4
    assert (found.opacities - golden["opacity"][0, :, 0]).abs().max() <= 1e-4
    unit = torch.nn.functional.normalize(found.rotations, dim=-1)
    assert (unit - golden["rotation"][0]).abs().max() <= 1e-4


def test_batch_items_do_not_see_each_other(model, golden):
    images = torch.cat([golden["image"], golden["image"].flip(-1)])
    pair = model(images, golden["fxfycxcy"].expand(2, -1, -1), golden["c2w"].expand(2, -1, -1, -1))
    (alone,) = model(images[1:], golden["fxfycxcy"], golden["c2w"])
    assert len(pair) == 2
    assert torch.allclose(pair[1].positions, alone.positions, atol=1e-5)
    assert not torch.allclose(pair[0].sh, pair[1].sh, atol=1e-3)


def test_every_pixel_gaussian_lies_on_its_ray(model, golden):
    (found,) = model(golden["image"], golden["fxfycxcy"], golden["c2w"])
    origins, directions = camera_rays(golden["fxfycxcy"], golden["c2w"], 32, 32)
    patches = directions[0].reshape(6, 4, 8, 4, 8, 3).transpose(2, 3).reshape(6, -1, 3)
    relative = found.positions[2:].view(6, -1, 3) - origins[0, :, 0, 0][:, None]
    assert torch.linalg.cross(relative, patches).norm(dim=-1).max() < 1e-5
    from_nearest = (relative * patches).sum(-1) + (origins[0, :, 0, 0][:, None] * patches).sum(-1)
    assert from_nearest.abs().max() <= DEPTH_RANGE
    assert found.log_scales.max() <= LOG_SCALE_MAX


def test_spherical_harmonics_and_batches_of_any_degree():
    torch.manual_seed(0)
    model = GSLRM(width=64, layers=1, head_dim=32, sh_degree=1, free_gaussians=3)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.02)
    cameras_of_one = cameras.intrinsics(16).expand(2, 6, 4), cameras.six_views().expand(2, 6, 4, 4)
    first, second = model(torch.rand(2, 6, 3, 16, 16), *cameras_of_one)
    assert first.sh.shape == (3 + 6 * 256, 4, 3) and first.sh_degree == 1
    assert not torch.equal(first.sh, second.sh)


def test_half_precision_trunk_keeps_geometry_in_float32(model, golden):
    half = GSLRM.from_checkpoint(CHECKPOINT, head_dim=16, device="cpu", dtype=torch.bfloat16)
    arguments = golden["image"], golden["fxfycxcy"], golden["c2w"]
    exact, rounded = model(*arguments)[0], half(*arguments)[0]
    assert rounded.positions.dtype == torch.float32
    # A depth that had itself been rounded to bfloat16 would take only a few hundred values.
    assert len(rounded.positions[2:, 1].unique()) > 5000
    assert (exact.positions - rounded.positions).abs().max() < 0.02


def test_safetensors_in_place_of_the_training_checkpoint(tmp_path, model, golden):
    save_file({name: tensor.clone() for name, tensor in model.state_dict().items()}, tmp_path / "gslrm.safetensors")
    other = GSLRM.from_checkpoint(tmp_path / "gslrm.safetensors", head_dim=16, device="cpu")
    arguments = golden["image"], golden["fxfycxcy"], golden["c2w"]
    assert torch.equal(model(*arguments)[0].positions, other(*arguments)[0].positions)


@pytest.mark.parametrize(
    ("settings", "says"), [({"head_dim": 48}, "heads of 48"), ({"head_dim": 16, "sh_degree": 2}, "degree 2")]
)
def test_settings_that_the_weights_contradict(settings, says):
    with pytest.raises(FaceLiftError, match=says):
        GSLRM.from_checkpoint(CHECKPOINT, device="cpu", **settings)


def test_weights_of_something_else(tmp_path):
    save_file({"weight": torch.zeros(3)}, tmp_path / "other.safetensors")
    with pytest.raises(FaceLiftError, match="not a GS-LRM checkpoint"):
        GSLRM.from_checkpoint(tmp_path / "other.safetensors", device="cpu")


@pytest.mark.parametrize(
    ("shape", "says"),
    [((1, 6, 3, 30, 32), "multiples of 8"), ((1, 6, 4, 32, 32), "3, H, W"), ((1, 5, 3, 32, 32), "camera")],
)
def test_images_that_do_not_fit(model, golden, shape, says):
    with pytest.raises(FaceLiftError, match=says):
        model(torch.zeros(shape), golden["fxfycxcy"], golden["c2w"])

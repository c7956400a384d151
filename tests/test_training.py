"""Training: a run that is interrupted equals one that is not, targets mean what they say, exports load."""

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from facelift_core import FaceLift, FaceLiftError
from facelift_core.gslrm.network import camera_rays
from facelift_core.rendering import cameras
from facelift_core.rendering.metrics import psnr
from facelift_core.training.batches import ColorShift, HeadTensors, as_photographed, composite
from facelift_core.training.heads.dataset import HeadDataset, write_shard
from facelift_core.training.loop import LoopOptions, Task, learning_rate, load_averaged, train

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def heads_folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("heads")
    write_shard(folder, range(8), size=32, random_views=2)
    return folder


@pytest.fixture(scope="module")
def heads(heads_folder) -> HeadDataset:
    return HeadDataset(heads_folder)


def line_task(by_muon: bool = False) -> Task:
    """Learn y = 3x − 1 from noisy samples, the slope by Muon or all by AdamW."""
    torch.manual_seed(0)
    model = nn.Linear(1, 1)

    def loss(step, x, random, logged):
        y = 3 * x - 1 + 0.1 * torch.randn(16, 1)
        return (model(x) - y).square().mean()

    def validate(averaged):
        return {"error": abs(averaged.weight.item() - 3)}

    matrices = (model.weight,) if by_muon else ()
    return Task(model, draw_numbers, loss, validate, lambda averaged: Image.new("RGB", (4, 4)), matrices)


def draw_numbers(step, random) -> torch.Tensor:
    return torch.from_numpy(random.normal(size=(16, 1))).float()


either_optimizer = pytest.mark.parametrize("by_muon", [False, True], ids=["adamw", "muon"])


def options(folder, steps, rate=0.05) -> LoopOptions:
    return LoopOptions(folder, steps, rate, validate_every=50, mixed_precision=False)


@either_optimizer
def test_training_learns_and_logs(tmp_path, by_muon):
    # Muon's steps have a length for the whole matrix, of which this one has a single number.
    averaged = train(line_task(by_muon), options(tmp_path, 300, rate=0.25 if by_muon else 0.05))
    assert abs(averaged.weight.item() - 3) < 0.1
    lines = (tmp_path / "log.jsonl").read_text().splitlines()
    assert len(lines) == 6 and '"step": 300' in lines[-1]
    assert (tmp_path / "step_000300.png").exists()


@either_optimizer
def test_resumed_run_is_bit_exact(tmp_path, by_muon):
    whole = train(line_task(by_muon), options(tmp_path / "whole", 150))

    interrupted = line_task(by_muon)
    calls = iter(range(120))  # dies in the middle of the third interval

    def dying(*arguments):
        if next(calls, None) is None:
            raise KeyboardInterrupt
        return interrupted.loss(*arguments)

    with pytest.raises(KeyboardInterrupt):
        train(replace(interrupted, loss=dying), options(tmp_path / "parts", 150))
    resumed = train(line_task(by_muon), options(tmp_path / "parts", 150))
    for mine, other in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(mine, other)
    assert torch.equal(load_averaged(nn.Linear(1, 1), tmp_path / "parts").weight, whole.weight)


def test_batches_that_other_processes_draw_are_the_same(tmp_path):
    alone = train(line_task(), options(tmp_path / "alone", 30))
    helped = train(line_task(), replace(options(tmp_path / "helped", 30), workers=2))
    assert torch.equal(alone.weight, helped.weight)


def test_what_a_drawing_process_is_given_does_not_hold_the_heads(heads):
    again = pickle.loads(pickle.dumps(heads))
    assert np.array_equal(again[3].rgba, heads[3].rgba) and len(pickle.dumps(heads)) < 1000


def test_run_with_another_optimizer_is_refused(tmp_path):
    train(line_task(), options(tmp_path, 50))
    with pytest.raises(FaceLiftError, match="another version's run"):
        train(line_task(by_muon=True), options(tmp_path, 100))


def test_a_folder_with_another_model_is_refused(tmp_path):
    train(line_task(), options(tmp_path, 50))
    other = replace(line_task(), model=nn.Linear(2, 2))
    with pytest.raises(FaceLiftError, match="another model"):
        train(other, options(tmp_path, 100))


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path):
    task = line_task()
    broken = replace(task, loss=lambda *_: task.model.weight.sum() * float("nan"))
    with pytest.raises(FaceLiftError, match="step 0"):
        train(broken, options(tmp_path, 50))
    assert not (tmp_path / "state.pt").exists()


def test_learning_rate_warms_up_stays_and_ends_at_zero():
    rates = [learning_rate(step, 1000, 1.0) for step in range(1001)]
    assert rates[0] < 0.02 and rates[200] == rates[700] == 1.0 and rates[-1] < 1e-9


def test_depth_targets_lie_on_the_surface_that_other_views_see(heads):
    """Unprojecting the front view's depth and looking from front_right must meet that view's own depth."""
    from facelift_core.training.reconstruction import PixelTargets

    head = HeadTensors.of(heads[0])
    rgba, depth, c2w = head.rgba[None, :6], head.depth[None, :6], head.c2w[None, :6]
    intrinsics = cameras.intrinsics(32).float()
    origins, directions = camera_rays(intrinsics.expand(1, 6, 4), c2w, 32, 32)
    targets = PixelTargets.of(rgba, depth, origins, directions, c2w[..., :3, 2], intrinsics[0].item())
    front = targets.positions[0, : 32 * 32][targets.inside[0, : 32 * 32] > 0]
    local = (front - c2w[0, 1, :3, 3]) @ c2w[0, 1, :3, :3]
    u, v = ((intrinsics[0] * local[:, i] / local[:, 2] + 16).long() for i in (0, 1))
    on_picture = (u >= 0) & (u < 32) & (v >= 0) & (v < 32)
    seen = depth[0, 1, v[on_picture], u[on_picture]]
    visible = (seen > 0) & (local[on_picture, 2] < seen + 0.15)
    assert on_picture.float().mean() > 0.8 and visible.float().mean() > 0.3
    assert (local[on_picture, 2] - seen)[visible].abs().median() < 0.04


def test_augmentation_keeps_a_portrait_a_portrait(heads):
    random = np.random.default_rng(0)
    rgba = HeadTensors.of(heads[1]).rgba[0]
    plain = composite(rgba, torch.ones(3))
    photographed = torch.stack([as_photographed(ColorShift.draw(random)(rgba), random) for _ in range(20)])
    assert photographed.min() >= 0 and photographed.max() <= 1
    quality = psnr(photographed, plain.expand_as(photographed))
    assert (quality > 10).all() and (quality < 45).all()


def test_untrained_models_export_to_a_checkpoint_that_reconstructs(heads_folder, heads, tmp_path):
    from facelift_core.training.autoencoder import build_autoencoder, load_autoencoder, train_autoencoder
    from facelift_core.training.export import export
    from facelift_core.training.gaussians import train_gaussians
    from facelift_core.training.view_model import ViewDiffusion, ViewStage
    from facelift_core.training.views import train_views

    def run(name: str) -> LoopOptions:
        return LoopOptions(tmp_path / name, 2, 1e-3, validate_every=2, mixed_precision=False)

    train_autoencoder(heads, heads, build_autoencoder(32), run("autoencoder"), batch=2)
    autoencoder = load_autoencoder(tmp_path / "autoencoder", heads)
    train_views(heads, heads, ViewStage.begin(None, autoencoder, 32), run("views"), batch=1)
    train_gaussians(heads, heads, None, run("gaussians"), batch=1)
    export(tmp_path / "weights", *(tmp_path / n for n in ("autoencoder", "views", "gaussians")), heads_folder)

    model = FaceLift.from_pretrained(tmp_path / "weights", device="cpu")
    trained = load_averaged(ViewDiffusion.small(32), tmp_path / "views")
    assert model.multiview.image_size == 32
    exported = model.multiview.unet.state_dict()["conv_in.weight"]
    assert torch.allclose(exported, trained.unet.state_dict()["conv_in.weight"], atol=1e-3)
    views = model.multiview(Image.new("RGB", (32, 32), "white"), steps=2)
    assert views.shape == (6, 3, 32, 32)
    assert (
        len(model.gslrm(views[None], *(x[None] for x in (cameras.intrinsics(32).expand(6, 4), cameras.six_views()))))
        == 1
    )

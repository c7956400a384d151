"""Training from nothing improves; training goes on from a released-layout checkpoint; several processes are one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from einops import reduce, repeat
from torch import nn

from facelift_core import FaceLift, FaceLiftError, six_views
from facelift_core.gslrm.network import camera_rays
from facelift_core.rendering.cameras import intrinsics
from facelift_core.training import loop
from facelift_core.training.autoencoder import load_autoencoder
from facelift_core.training.cli import main
from facelift_core.training.gaussians import build_gslrm, train_gaussians, with_patches
from facelift_core.training.heads.dataset import HeadDataset, read_shard, save_shard, shard_paths, write_shard
from facelift_core.training.heads.folders import write_folder
from facelift_core.training.reconstruction import ReconstructionBatch
from facelift_core.training.view_model import ViewStage

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def heads(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("heads")
    write_shard(folder, range(8), size=32, random_views=2)
    return folder


@pytest.fixture(scope="module")
def held_out(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("held_out")
    write_shard(folder, range(100, 102), size=32, random_views=2)
    return folder


@pytest.fixture(scope="module")
def autoencoder_run(heads, held_out, tmp_path_factory) -> Path:
    return run("autoencoder", heads, held_out, tmp_path_factory.mktemp("runs") / "autoencoder", 24, "--batch", "2")


def run(command: str, heads: Path, held_out: Path, folder: Path, steps: int, *more: str) -> Path:
    arguments = ["--heads", str(heads), "--held-out", str(held_out), "-o", str(folder), "--steps", str(steps)]
    arguments += ["--validate-every", str(steps // 2), "--device", "cpu", *more]
    assert main([command, *arguments]) == 0
    return folder


def log(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def test_autoencoder_from_nothing_improves(autoencoder_run):
    first, last = log(autoencoder_run)
    assert last["psnr"] > first["psnr"] + 0.5 and last["ssim"] > first["ssim"]


def test_views_from_nothing_improve(heads, held_out, autoencoder_run, tmp_path):
    views = run("views", heads, held_out, tmp_path, 12, "--autoencoder", str(autoencoder_run), "--batch", "2")
    first, last = log(views)
    assert last["error_held_out"] < first["error_held_out"] and last["psnr_others"] > first["psnr_others"]
    assert (views / "step_000012.png").exists()


def test_gaussians_from_nothing_improve(heads, held_out, tmp_path, monkeypatch):
    """A smaller model that is rendered from the first step on, so that a few dozen steps show."""
    monkeypatch.setattr(loop, "WARMUP_STEPS", 5)
    torch.manual_seed(0)
    options = loop.LoopOptions(tmp_path, 40, 5e-3, validate_every=10, mixed_precision=False, ema_decay=0.8)
    train_gaussians(HeadDataset(heads), HeadDataset(held_out), build_gslrm(64, 2), options, batch=1)
    first, *_, last = log(tmp_path)
    assert last["psnr_unseen"] > first["psnr_unseen"] and last["ssim_unseen"] > first["ssim_unseen"] + 0.03


def test_finer_patches_see_what_the_coarse_ones_saw_enlarged():
    """A picture of N² in patches of 4 is to the model what the same picture enlarged to (2N)² is in patches of 8."""
    torch.manual_seed(0)
    coarse = build_gslrm(64, 2).requires_grad_(False)
    fine = with_patches(coarse, 4)
    assert fine.patch_size == 4 and with_patches(coarse, 8) is coarse
    images, cameras = torch.rand(1, 6, 3, 16, 16), intrinsics(16).float().expand(1, 6, 4)
    enlarged = images.repeat_interleave(2, -1).repeat_interleave(2, -2)
    origins, directions = camera_rays(cameras, six_views().float()[None], 16, 16)
    repeated = directions.repeat_interleave(2, -2).repeat_interleave(2, -3)
    free, pixels = fine.decode(fine.tokens(images, origins, directions))
    free_coarse, pixels_coarse = coarse.decode(coarse.tokens(enlarged, origins, repeated))
    assert torch.allclose(free, free_coarse, atol=1e-5)
    averaged = reduce(pixels_coarse, "b n (p r q s) x -> b n (p q) x", "mean", p=4, q=4, r=2, s=2)
    assert torch.allclose(pixels, averaged, atol=1e-5)
    with pytest.raises(FaceLiftError, match="divisor"):
        with_patches(coarse, 3)


def test_larger_patches_see_what_the_small_ones_saw_in_pictures_of_half_the_size():
    torch.manual_seed(0)
    small = build_gslrm(64, 2).requires_grad_(False)
    large = with_patches(small, 16)
    assert large.patch_size == 16
    images, cameras = torch.rand(1, 6, 3, 32, 32), intrinsics(32).float().expand(1, 6, 4)
    halved = reduce(images, "b v c (h r) (w s) -> b v c h w", "mean", r=2, s=2)
    origins, directions = camera_rays(cameras, six_views().float()[None], 32, 32)
    averaged = reduce(directions, "b v (h r) (w s) c -> b v h w c", "mean", r=2, s=2)
    free, pixels = large.decode(large.tokens(images, origins, directions))
    free_small, pixels_small = small.decode(small.tokens(halved, origins, averaged))
    repeated = repeat(pixels_small, "b n (p q) x -> b n (p r q s) x", p=8, q=8, r=2, s=2)
    assert torch.allclose(free, free_small, atol=1e-4) and torch.allclose(pixels, repeated, atol=1e-4)


def test_a_grown_unet_does_to_enlarged_latents_what_it_did_before(weights_folder):
    """But for the first and last convolution, which see no neighbours here."""
    stage = ViewStage.of_weights(str(weights_folder))
    old, side = stage.model.unet, stage.model.unet.config.sample_size
    for convolution in (old.conv_in, old.conv_out):
        alone = torch.zeros_like(convolution.weight)
        alone[..., 1, 1] = convolution.weight[..., 1, 1]
        convolution.weight.data = alone
    latents = torch.randn(6, old.config.in_channels, side, side, generator=torch.Generator().manual_seed(0))
    labels = torch.zeros(6, old.config.projection_class_embeddings_input_dim)
    known = {"encoder_hidden_states": stage.model.prompt_embeds, "class_labels": labels}

    def enlarged(x):
        return x.repeat_interleave(2, -1).repeat_interleave(2, -2)

    with torch.no_grad():
        before = old(latents, torch.tensor(500), **known).sample
        grown = stage.grown().model.unet
        assert torch.allclose(grown(enlarged(latents), torch.tensor(500), **known).sample, enlarged(before), atol=1e-4)
    assert grown.config.sample_size == 2 * side and all(p.requires_grad for p in grown.parameters())


def test_a_grown_run_goes_on_and_is_exported(heads, held_out, weights_folder, tmp_path, capsys):
    size = FaceLift.from_pretrained(weights_folder, "cpu").multiview.image_size
    large = tmp_path / "large"
    large.mkdir()
    write_shard(large, range(2), size=2 * size, random_views=2)
    start = ("--start-from", str(weights_folder), "--batch", "1")
    views = run("views", large, large, tmp_path / "views", 2, *start, "--grow")
    run("views", large, large, views, 4, "--batch", "1")  # that it has grown is told by its state
    views = run("views", large, large, tmp_path / "on", 2, "--start-from", str(views), "--batch", "1")
    gaussians = run("gaussians", heads, held_out, tmp_path / "gaussians", 2, *start)
    runs = ["--views", str(views), "--gaussians", str(gaussians), "--held-out", str(large)]
    assert main(["export", "-o", str(tmp_path / "weights"), *runs, "--guidance", "2"]) == 0
    exported = FaceLift.from_pretrained(tmp_path / "weights", "cpu").multiview
    assert (exported.image_size, exported.guidance_scale) == (2 * size, 2)
    again = ["--views", str(tmp_path / "weights"), "--gaussians", str(gaussians), "--held-out", str(large)]
    assert main(["export", "-o", str(tmp_path / "again"), *again]) == 0
    assert FaceLift.from_pretrained(tmp_path / "again", "cpu").multiview.guidance_scale == 2
    none = ["--heads", str(heads), "--held-out", str(heads), "-o", str(tmp_path / "none")]
    assert main(["views", *none, "--grow"]) == 1
    assert "--start-from" in capsys.readouterr().err


def test_a_run_with_divided_patches_goes_on_and_is_exported(
    heads, held_out, autoencoder_run, weights_folder, tmp_path, capsys
):
    coarse = FaceLift.from_pretrained(weights_folder, "cpu").gslrm.patch_size
    patch = ("--patch", str(coarse // 2))
    start = ("--start-from", str(weights_folder), "--batch", "1")
    gaussians = run("gaussians", heads, held_out, tmp_path / "gaussians", 2, *start, *patch)
    run("gaussians", heads, held_out, gaussians, 4, "--batch", "1")  # what it is is told by its state
    further = run("gaussians", heads, held_out, tmp_path / "on", 2, "--start-from", str(gaussians), "--batch", "1")
    runs = ["--views", str(weights_folder), "--gaussians", str(further), "--held-out", str(held_out)]
    assert main(["export", "-o", str(tmp_path / "weights"), *runs]) == 0
    assert FaceLift.from_pretrained(tmp_path / "weights", "cpu").gslrm.patch_size == coarse // 2
    # A checkpoint's views were learned in its own autoencoder: another one is refused, not ignored.
    assert main(["export", "-o", str(tmp_path / "none"), *runs, "--autoencoder", str(autoencoder_run)]) == 1
    assert "no training run" in capsys.readouterr().err and not (tmp_path / "none").exists()
    none = ["--heads", str(heads), "--held-out", str(heads), "-o", str(tmp_path / "none")]
    assert main(["gaussians", *none, *patch]) == 1
    assert "--start-from" in capsys.readouterr().err


def test_a_batch_mixes_heads_with_and_without_drawn_views(heads, tmp_path):
    (path,) = shard_paths(heads)
    shard = read_shard(path)
    black = np.zeros((len(shard.seeds), 6, *shard.rgba.shape[2:4], 3), np.uint8)
    save_shard(tmp_path / path.name, shard.with_sampled(black))
    write_shard(tmp_path, range(50, 58), size=32, random_views=2)
    both, random = HeadDataset(tmp_path), np.random.default_rng(0)
    batches = [ReconstructionBatch.draw(both, 2, step, random) for step in range(40)]
    drawn = [[bool((head == 0).all()) for head in batch.inputs] for batch in batches]
    assert {tuple(sorted(pair)) for pair in drawn} == {(False, False), (False, True), (True, True)}
    assert not any(batch.true_inputs and any(pair) for batch, pair in zip(batches, drawn, strict=True))


def test_a_released_checkpoint_is_learned_on_and_exported(heads, weights_folder, tmp_path, capsys, monkeypatch):
    """Fine-tuning a user's data in the reference's layout, on the goldens' weights of other sizes than ours."""
    monkeypatch.setattr(loop, "WARMUP_STEPS", 2)
    data = tmp_path / "data"
    for number in range(2):
        write_folder(data / f"{number}", HeadDataset(heads)[number])
    start = ("--start-from", str(weights_folder), "--learning-rate", "2e-3", "--checkpointing", "--batch", "1")
    views = run("views", data, data, tmp_path / "views", 12, *start)
    gaussians = run("gaussians", data, data, tmp_path / "gaussians", 12, *start)
    # A step's loss depends on its noise; what the average makes of the same heads does not.
    assert log(views)[1]["error_held_out"] < log(views)[0]["error_held_out"] - 1e-4
    assert log(gaussians)[1]["direct"] < log(gaussians)[0]["direct"] - 0.01

    runs = ["--views", str(views), "--gaussians", str(gaussians), "--held-out", str(data)]
    assert main(["export", "-o", str(tmp_path / "weights"), *runs]) == 0
    before, after = (FaceLift.from_pretrained(folder, "cpu") for folder in (weights_folder, tmp_path / "weights"))
    changed = before.multiview.unet.state_dict()["conv_in.weight"] - after.multiview.unet.state_dict()["conv_in.weight"]
    assert 1e-4 < changed.abs().max() < 0.2
    # With a text encoder, vision tower and prompts are CLIP's and stay; what does not learn is as it was.
    assert torch.allclose(before.multiview.prompt_embeds, after.multiview.prompt_embeds, atol=2e-3)
    mean = before.multiview.embedding_mean
    assert torch.allclose(mean, after.multiview.embedding_mean, rtol=1e-3, atol=1e-3)
    averaged = torch.load(gaussians / "state.pt", weights_only=True)["averaged"]["patch_embedder.1.weight"]
    assert torch.allclose(after.gslrm.state_dict()["patch_embedder.1.weight"], averaged, atol=1e-3)
    assert after.gslrm.transformer_layers[0].attn.heads == before.gslrm.transformer_layers[0].attn.heads

    # The autoencoder, too; its scale of latents stays, which the view diffusion was made for.
    start = ("--start-from", str(weights_folder), "--batch", "1", "--learning-rate", "1e-4")
    autoencoder = load_autoencoder(run("autoencoder", data, data, tmp_path / "vae", 2, *start), HeadDataset(data))
    assert autoencoder.config.scaling_factor == before.multiview.vae.config.scaling_factor
    change = autoencoder.state_dict()["decoder.conv_in.weight"] - before.multiview.vae.decoder.conv_in.weight
    assert 1e-7 < change.abs().max() < 1e-2

    # And from a run: on with what it averaged.
    start = ("--start-from", str(gaussians), "--learning-rate", "1e-9", "--batch", "1")
    further = run("gaussians", data, data, tmp_path / "further", 2, *start)
    weight = torch.load(further / "state.pt", weights_only=True)["averaged"]["patch_embedder.1.weight"]
    assert torch.allclose(weight, averaged, atol=1e-6)
    capsys.readouterr()
    none = ["--heads", str(data), "--held-out", str(data), "-o", str(tmp_path / "none")]
    assert main(["views", *none, "--start-from", str(tmp_path / "nowhere")]) == 1
    assert main(["views", *none]) == 1
    errors = capsys.readouterr().err.strip().splitlines()
    assert "nowhere" in errors[0] and "--autoencoder" in errors[1] and len(errors) == 2


def test_sampling_from_pure_noise_is_finite(heads, autoencoder_run):
    """Our schedule ends without any signal, where float32 takes the root of a negative number for some step counts."""
    stage = ViewStage.begin(None, load_autoencoder(autoencoder_run, HeadDataset(heads)), 32)
    for steps in (3, 6, 7):
        views = stage.sample(torch.rand(1, 3, 32, 32), steps, 2.0, torch.Generator().manual_seed(0))
        assert views.shape == (1, 6, 3, 32, 32) and views.isfinite().all()


def test_sampled_views_are_drawn_and_learned_from(held_out, weights_folder, tmp_path):
    heads = held_out
    sampled = tmp_path / "sampled"
    arguments = ["--heads", str(heads), "-o", str(sampled), "--steps", "4", "--batch", "4", "--device", "cpu"]
    assert main(["sample", "--weights", str(weights_folder), *arguments]) == 0
    (path,) = shard_paths(sampled)
    shard, true = read_shard(path), read_shard(heads / path.name)
    assert shard.sampled.shape == (2, 6, 32, 32, 3)
    np.testing.assert_array_equal(shard.rgba, true.rgba)
    # Untrained weights, but the views began at the true ones: far from them, and not just noise.
    white = true.rgba[:, :6, ..., :3] * (true.rgba[:, :6, ..., 3:] / 255) + 255.0 - true.rgba[:, :6, ..., 3:]
    assert 2 < np.abs(shard.sampled - white).mean() < 120
    stamp = path.stat().st_mtime_ns
    assert main(["sample", "--weights", str(weights_folder), *arguments]) == 0  # there already: kept
    assert path.stat().st_mtime_ns == stamp
    assert main(["sample", "--weights", str(weights_folder), "--heads", str(heads), "-o", str(heads)]) == 1
    assert main(["sample", *arguments]) == 1
    start = ("--start-from", str(weights_folder), "--batch", "1")
    assert len(log(run("gaussians", sampled, sampled, tmp_path / "run", 4, *start))) == 2


PROCESSES = """
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

from facelift_core.training.loop import LoopOptions, Task, train
from facelift_core.training.processes import Processes

model = nn.Linear(3, 2)  # differs between processes until they agree
if Processes().main:
    torch.nn.init.constant_(model.weight, 0.3), torch.nn.init.constant_(model.bias, 0.1)


def draw(step, random):
    return torch.from_numpy(random.normal(size=(4, 3))).float()


def loss(step, x, random, logged):
    return (model(x) - x[:, :2]).square().mean()


task = Task(model, draw, loss, lambda averaged: {}, lambda averaged: Image.new("RGB", (2, 2)))
train(task, LoopOptions(Path(sys.argv[1]), 6, 0.1, validate_every=6, mixed_precision=False))
np.save(f"{sys.argv[1]}/weight-{Processes().stream}.npy", model.weight.detach().numpy())
"""


def test_two_processes_take_the_steps_of_one_with_both_their_batches(tmp_path):
    from PIL import Image

    from facelift_core.training.loop import LoopOptions, Task, train

    script = tmp_path / "script.py"
    script.write_text(PROCESSES)
    # For several processes, whatever their device; that it is a CPU is said in the script.
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
    launch += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"]
    done = subprocess.run(
        [*launch, str(script), str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=550,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[1])},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    first, second = (np.load(tmp_path / f"weight-{stream}.npy") for stream in ((), (1,)))
    np.testing.assert_array_equal(first, second)

    model = nn.Linear(3, 2)
    torch.nn.init.constant_(model.weight, 0.3)
    torch.nn.init.constant_(model.bias, 0.1)

    def draw(step, random):
        other, _ = np.random.default_rng((0, step, 1)).spawn(2)
        return torch.from_numpy(np.concatenate([r.normal(size=(4, 3)) for r in (random, other)])).float()

    def loss(step, x, random, logged):
        return (model(x) - x[:, :2]).square().mean()

    task = Task(model, draw, loss, lambda averaged: {}, lambda averaged: Image.new("RGB", (2, 2)))
    train(task, LoopOptions(tmp_path / "one", 6, 0.1, validate_every=6, mixed_precision=False))
    np.testing.assert_allclose(model.weight.detach().numpy(), first, atol=1e-5)


def test_evaluation_tells_the_stages_apart(tmp_path):
    from facelift_core.training.evaluate import evaluate

    score = evaluate("mini", [1_000_003], steps=2, guidance_scale=1.0, picture=tmp_path / "heads.png", device="cpu")
    assert score.lift_psnr > 20 and score.front_view_psnr > 15
    assert score.psnr > score.delivered_psnr  # the filters cut off what the truth has
    assert 0 < score.delivered_ssim <= score.ssim + 0.02 < 1.02
    assert 0 < score.inner_ssim < score.ssim  # the border is mostly white
    assert (tmp_path / "heads.png").is_file() and f"{score.front_psnr:.2f} dB" in str(score)

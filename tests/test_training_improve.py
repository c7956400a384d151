"""A checkpoint that learns on by the clock: what is better is kept, the rest stays as it was."""

import inspect
import re
from pathlib import Path

import pytest
import torch

from facelift_core import FaceLift
from facelift_core.likeness.depth import load_depth_network
from facelift_core.training import improve as improving
from facelift_core.training.cli import main
from facelift_core.training.evaluate import Score
from facelift_core.training.export import export
from facelift_core.training.heads import command as heads_command
from facelift_core.training.heads.dataset import GrowingHeads, write_shard
from facelift_core.training.loop import learning_rate
from facelift_core.weights.layout import find_checkpoint

pytestmark = pytest.mark.slow

UNET = "mvdiffusion/pipeckpts/unet/diffusion_pytorch_model.safetensors"


def command(weights: Path, work: Path, *more: str) -> list[str]:
    depth = ["--depth", str(work.parent / "depth.safetensors")]
    tiny = "--minutes .02 --held-out 1 --steps 2 --shard 1 --makers 1 --workers 0"
    tiny += " --batch-depth 1 --batch-views 1 --batch-gaussians 1"
    return ["improve", "--weights", str(weights), "-o", str(work), *depth, *tiny.split(), *more]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def score(views: float, gaussians: float) -> Score:
    return Score(gaussians, 28.0, views, gaussians, 0.8, 26.0, 0.8, 18.0, 0.8, 18.0)


def test_only_the_better_part_is_kept(own_weights_folder, tmp_path, capsys, monkeypatch):
    verdicts = iter((score(18, 20), score(19, 20), score(19, 19)))
    judged, signature = [], inspect.signature(improving.evaluate)

    def judge(*arguments, **keywords):
        judged.append(signature.bind(*arguments, **keywords).arguments["weights"])
        FaceLift.from_pretrained(judged[-1], "cpu")
        return next(verdicts)

    monkeypatch.setattr(improving, "evaluate", judge)
    monkeypatch.setattr(improving, "VALIDATION_HEADS", 1)
    # One head is there already, and the processor has no other to make meanwhile.
    in_background = heads_command.in_background
    monkeypatch.setattr(
        heads_command, "in_background", lambda folder, seeds, *how: in_background(folder, seeds[:1], *how)
    )
    write_shard(prepared(tmp_path / "work" / "heads"), range(100_000, 100_001), size=64)
    before = contents(own_weights_folder)
    assert main(command(own_weights_folder, tmp_path / "work", "--device", "cpu")) == 0
    changed = {name for name, content in contents(own_weights_folder).items() if content != before.get(name)}
    assert UNET in changed and not any(name.startswith("gslrm") for name in changed)
    assert len(judged) == 3 and judged[0] == str(own_weights_folder)
    line = capsys.readouterr().out.strip().splitlines()[-1]
    assert "28.00 / 18.00 → 28.00 / 19.00 dB (kept)" in line and "20.00 / 20.00 → 19.00 / 19.00 dB (left out)" in line
    assert "1 held-out heads" in line and "minutes" in line
    # There was no network for depth, and any is better than none.
    assert re.search(r"Depth of portraits: inf → 0\.\d{4} world units \(kept\)", line)
    load_depth_network(tmp_path / "depth.safetensors")


def test_parts_are_kept_each_for_itself(weights_folder, own_weights_folder, tmp_path):
    other, before = tmp_path / "other", contents(own_weights_folder)
    export(other, None, str(weights_folder), str(weights_folder), None)
    improving.keep_gaussians(other, own_weights_folder)
    after = contents(own_weights_folder)
    (new,) = {name for name in after if after[name] != before.get(name)}
    assert find_checkpoint(own_weights_folder).gslrm == own_weights_folder / new
    improving.keep_views(other, own_weights_folder)
    after = contents(own_weights_folder)
    assert not any(Path(name).name.startswith(".") for name in after), "nothing half-written is left"
    FaceLift.from_pretrained(own_weights_folder, "cpu")


def prepared(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a card")
def test_without_a_card_it_says_so(weights_folder, tmp_path, capsys):
    assert main(command(weights_folder, tmp_path / "work")) == 1
    assert "Cannot run on “cuda”: PyTorch finds no CUDA device; use auto or cpu." in capsys.readouterr().err
    assert not (tmp_path / "work").exists()


def test_the_rate_falls_with_the_clock():
    assert learning_rate(500, 10**6, 1.0) == learning_rate(500, 10**6, 1.0, 0.7) == 1.0
    assert 0 < learning_rate(500, 10**6, 1.0, 0.9) < learning_rate(500, 10**6, 1.0, 0.8) < 1.0
    assert learning_rate(500, 10**6, 1.0, 1.2) == 0.0


def test_heads_that_are_made_meanwhile_are_seen(tmp_path, monkeypatch):
    monkeypatch.setattr("facelift_core.training.heads.dataset.LOOK_AGAIN", 0.0)
    write_shard(tmp_path, range(2), size=32, random_views=1)
    heads = GrowingHeads(tmp_path)
    assert len(heads) == 2
    write_shard(tmp_path, range(2, 3), size=32, random_views=1)
    assert len(heads) == 3 and heads[2].rgba.shape == (7, 32, 32, 4)

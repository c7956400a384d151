"""The network that tells the depth of a portrait: what it learns from, that it learns, and what it is told by."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from facelift_core import FaceLiftError
from facelift_core.likeness.depth import DEPTH_FILE, DepthNetwork, load_depth_network, predicted_depth
from facelift_core.training.cli import main
from facelift_core.training.depth import Portraits, as_cut_out, mean_where, slope_error, without_offset
from facelift_core.training.heads.dataset import HeadDataset, write_shard

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def heads_folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("heads")
    write_shard(folder, range(6), size=32, random_views=0)
    return folder


def command(heads: Path, run: Path, *more: str) -> list[str]:
    where = ["--heads", str(heads), "--held-out", str(heads), "-o", str(run), "--device", "cpu"]
    return ["depth", *where, "--batch", "2", "--validate-every", "4", *more]


def test_it_learns_goes_on_and_ends_in_a_file(heads_folder, tmp_path):
    run = tmp_path / "run"
    assert main(command(heads_folder, run, "--steps", "24", "--learning-rate", "5e-3")) == 0
    errors = [json.loads(line)["error"] for line in (run / "log.jsonl").read_text().splitlines()]
    assert len(errors) == 6 and errors[-1] < 0.8 * errors[0]
    assert main(command(heads_folder, run, "--steps", "25")) == 0  # not from the beginning
    assert json.loads((run / "log.jsonl").read_text().splitlines()[-1])["step"] == 25
    assert (run / DEPTH_FILE).stat().st_size < 5_000_000
    exported = load_depth_network(run / DEPTH_FILE).eval()
    fixed = Portraits.first(HeadDataset(heads_folder), 6)
    there = (fixed.depth > 0).float()
    error = mean_where((predicted_depth(exported, fixed.cutouts) - fixed.depth.float()).abs(), there).item()
    assert error == pytest.approx(json.loads((run / "log.jsonl").read_text().splitlines()[-1])["error"], abs=2e-3)
    # Another run, from the file.
    assert main(command(heads_folder, tmp_path / "next", "--steps", "1", "--start-from", str(run / DEPTH_FILE))) == 0
    assert json.loads((tmp_path / "next" / "log.jsonl").read_text())["error"] < 1.1 * error


def test_a_damaged_file_is_refused(tmp_path):
    (tmp_path / DEPTH_FILE).write_bytes(b"nothing")
    with pytest.raises(FaceLiftError, match=DEPTH_FILE.replace(".", r"\.")):
        load_depth_network(tmp_path / DEPTH_FILE)


def test_portraits_are_the_fronts(heads_folder):
    heads = HeadDataset(heads_folder)
    first = Portraits.first(heads, 3)
    assert first.rgba.shape == (3, 32, 32, 4) and first.depth.shape == (3, 32, 32)
    for row in range(3):
        assert np.array_equal(first.rgba[row].numpy(), heads[row].rgba[0])
        assert np.array_equal(first.depth[row].numpy(), heads[row].depth[0])
    drawn = Portraits.draw(heads, 4, 0, np.random.default_rng(1))
    again = Portraits.draw(heads, 4, 7, np.random.default_rng(1))
    assert torch.equal(drawn.rgba, again.rgba) and drawn.shifts is not None


def test_photographing_leaves_the_outline_in_its_place(heads_folder):
    clean = Portraits.first(HeadDataset(heads_folder), 6).cutouts
    random = np.random.default_rng(0)
    kept, cropped = [], 0
    for _ in range(20):
        seen = as_cut_out(clean, random)
        assert seen.shape == clean.shape and seen.min() >= 0 and seen.max() <= 1
        for before, after in zip(clean[:, 3] > 0.5, seen[:, 3] > 0.5, strict=True):
            shared = (before & after).sum() / (before | after).sum()
            cropped += bool(shared < 0.95)
            kept.append(shared.item())
    assert np.median(kept) > 0.97 and 0.02 < cropped / len(kept) < 0.3
    assert (as_cut_out(clean, random)[:, :3] - clean[:, :3]).abs().mean() > 0.01


def test_errors_are_measured_where_there_is_somebody():
    there = torch.zeros(2, 16, 16)
    there[:, 4:12, 4:12] = 1
    x = torch.arange(16.0).expand(2, 16, 16)
    error = 0.3 + 0.1 * x + 7 * (1 - there)
    assert mean_where(without_offset(error, there), there).abs() < 1e-6
    assert mean_where(without_offset(error, there).abs(), there).item() == pytest.approx(0.2, abs=1e-5)
    # Over 1, 2 and 4 pixels across .1, .2 and .4, down nothing.
    assert slope_error(error, there).item() == pytest.approx((0.1 + 0.2 + 0.4) / 6, abs=1e-5)


def test_the_place_in_the_picture_counts():
    torch.manual_seed(0)
    network = DepthNetwork().eval()
    torch.nn.init.normal_(network.head.weight, std=0.1)
    cutout = torch.rand(1, 4, 64, 64)
    with torch.no_grad():
        depth, moved = network(cutout)[0], network(cutout.roll(16, -1))[0].roll(-16, -1)
    assert depth.shape == (64, 64) and (depth - moved).abs().max() > 1e-3

"""``facelift-train improve``: continue training a checkpoint for a few minutes, and keep what improves.

Made for a GPU that is available for a short time: the CPU generates heads in the meantime, and the command ends after a
fixed time. Depth network, view diffusion and GS-LRM are evaluated separately, on the same held-out heads.
"""

from __future__ import annotations

import math
import os
import shutil
import tempfile
import time
from dataclasses import dataclass
from multiprocessing.pool import AsyncResult
from pathlib import Path

import torch

from ..compute.device import select_device
from ..errors import FaceLiftError
from ..files import replacing
from ..likeness.depth import DEPTH_FILE, DepthNetwork, load_depth_network
from ..multiview import MultiViewDiffusion
from ..multiview.loading import load_guidance
from ..rendering import gsplat_backend
from ..weights.layout import find_checkpoint, find_pipeline
from ..weights.named import find_weights
from .depth import Portraits, shape_error, train_depth
from .evaluate import Score, evaluate
from .export import export
from .gaussians import gslrm_of, train_gaussians
from .heads import command as heads_command
from .heads.dataset import GrowingHeads, HeadDataset, shard_paths, write_shard
from .loop import LoopOptions
from .processes import Processes
from .sampled import sample_heads
from .view_model import ViewStage
from .views import train_views

HELD_OUT, VALIDATION = 1_000_000, 1_001_000
"""First seeds of the heads for evaluation and for validation."""
RANDOM_VIEWS, VALIDATION_HEADS = 4, 8
SAMPLED_SHARE, SAMPLED_MOST, SAMPLING_STEPS, SAMPLING_BATCH = 0.25, 1024, 16, 64
"""How many of GS-LRM's training heads get sampled input views (fraction and maximum), and how they are sampled."""
DEPTH_SHARE, VIEWS_SHARE = 0.25, 0.5
"""Fractions of the training time. GS-LRM gets the rest; without gsplat on a GPU, the view diffusion does."""
JUDGEMENTS, MARGIN = 2, 1.3
"""Number of evaluations after the first one, and their expected duration relative to it."""
ENDLESS = 1_000_000
"""Number of steps; the time limit ends the runs."""
POLL, LEAST_SECONDS = 0.2, 1.0


@dataclass(frozen=True)
class Improvement:
    """Options of :func:`improve`.

    Attributes:
        weights: checkpoint to start from.
        into: folder of the checkpoint to write improved files to; created as a copy of `weights` if it does not exist.
        depth: file of the depth network to improve; if it does not exist, training starts from scratch.
        work: folder for heads, and for a new folder with runs and exports per call.
        minutes: total time.
        device: device to train on.
        first_seed, shard: seed of the first new head, and heads per file.
        held_out, steps: number of heads to evaluate on, and diffusion steps in evaluations.
        makers, workers: number of processes that generate heads, and that load batches.
        batch_depth, batch_views, batch_gaussians: heads per step.
        heads: maximum number of new heads.
        rate_depth, rate_views, rate_gaussians: learning rates.
    """

    weights: str
    into: Path
    depth: Path
    work: Path
    minutes: float
    device: str
    first_seed: int
    shard: int
    held_out: int
    steps: int
    makers: int
    workers: int
    batch_depth: int
    batch_views: int
    batch_gaussians: int
    heads: int = 20_000
    rate_depth: float = 1e-3
    rate_views: float = 3e-4
    rate_gaussians: float = 2e-4


def improve(task: Improvement) -> str:
    """Train, evaluate, and keep what is better. Returns one line with the results.

    Raises:
        FaceLiftError: the device is not available, the checkpoint or anny is missing, or a folder cannot be written.
    """
    begin = time.monotonic()
    deadline = begin + 60 * task.minutes
    device = select_device(task.device)
    heads = task.work / "heads"
    size = MultiViewDiffusion.from_pretrained(find_weights(task.weights), "cpu").image_size
    seeds = range(task.first_seed, task.first_seed + task.heads)
    with heads_command.in_background(heads, seeds, size, RANDOM_VIEWS, task.shard, task.makers) as made:
        folder = Path(tempfile.mkdtemp(prefix="run-", dir=task.work))
        write_shard(folder, range(VALIDATION, VALIDATION + VALIDATION_HEADS), size, RANDOM_VIEWS)
        held_out = HeadDataset(folder)
        start = time.monotonic()
        before = _judge(task, task.weights)
        fronts = folder / "fronts"
        fronts.mkdir()
        write_shard(fronts, range(HELD_OUT, HELD_OUT + task.held_out), size, 0)
        depth_before = _depth_error(task.depth, fronts, device)
        lifted_fast = device.type != "cuda" or gsplat_backend.rasterization() is not None
        judgements = JUDGEMENTS if lifted_fast else JUDGEMENTS - 1
        reserve = judgements * MARGIN * (time.monotonic() - start)
        _wait_for_heads(heads, made, deadline - reserve)
        left = deadline - reserve - time.monotonic()
        options = _options(task, folder / "depth", task.rate_depth, DEPTH_SHARE * left)
        network = load_depth_network(task.depth) if task.depth.is_file() else DepthNetwork()
        train_depth(GrowingHeads(heads), held_out, network, options, task.batch_depth)
        depth_after = _depth_error(folder / "depth" / DEPTH_FILE, fronts, device)
        share = VIEWS_SHARE if lifted_fast else 1 - DEPTH_SHARE
        options = _options(task, folder / "views", task.rate_views, share * left)
        train_views(GrowingHeads(heads), held_out, ViewStage.of_weights(task.weights), options, task.batch_views)

    guidance = load_guidance(find_pipeline(find_weights(task.weights)))
    with_views = folder / "with_views"
    export(with_views, None, str(folder / "views"), task.weights, folder, guidance)
    drawn = _judge(task, with_views)
    views_better = sum(_of_views(drawn)) > sum(_of_views(before))
    chosen, base = (str(with_views), drawn) if views_better else (task.weights, before)

    lifted, gaussians_better = base, False
    with_both = folder / "with_both"
    if lifted_fast:
        lessons = _with_drawn_views(heads, folder, ViewStage.of_weights(chosen).to(device), guidance)
        left = deadline - reserve / judgements - time.monotonic()
        options = _options(task, folder / "gaussians", task.rate_gaussians, left)
        train_gaussians(lessons, held_out, gslrm_of(task.weights), options, task.batch_gaussians)
        export(with_both, None, chosen, str(folder / "gaussians"), folder)
        lifted = _judge(task, with_both)
        gaussians_better = sum(_of_gaussians(lifted)) > sum(_of_gaussians(base))

    depth_better = depth_after < depth_before
    if depth_better:
        _write(folder / "depth" / DEPTH_FILE, task.depth)
    if (views_better or gaussians_better) and not task.into.exists():
        with replacing(task.into) as temporary:
            shutil.copytree(find_checkpoint(find_weights(task.weights)).folder, temporary)
    if views_better:
        keep_views(with_views, task.into)
    if gaussians_better:
        keep_gaussians(with_both, task.into)
    minutes = (time.monotonic() - begin) / 60
    gaussians = "not trained, because gsplat is missing"
    if lifted_fast:
        gaussians = _change(_of_gaussians(base), _of_gaussians(lifted), gaussians_better)
    return (
        f"Depth of portraits: {depth_before:.4f} → {depth_after:.4f} world units ({_verdict(depth_better)}); "
        f"views, front and others: {_change(_of_views(before), _of_views(drawn), views_better)}; "
        f"GS-LRM, from true views and from the front view: {gaussians}; "
        f"{task.held_out} held-out heads, {len(HeadDataset(heads))} training heads, {minutes:.1f} minutes."
    )


def _depth_error(path: Path, fronts: Path, device: torch.device) -> float:
    """Error of the depth network in a file on all heads of a folder, in world units; infinite if there is no file."""
    if not path.is_file():
        return math.inf
    heads = HeadDataset(fronts)
    portraits = Portraits.first(heads, len(heads)).to(device)
    with torch.no_grad():
        return shape_error(load_depth_network(path).eval().to(device), portraits)


def _judge(task: Improvement, weights: str | Path) -> Score:
    return evaluate(weights, range(HELD_OUT, HELD_OUT + task.held_out), task.steps, None, device=task.device)


def _of_views(score: Score) -> tuple[float, float]:
    return score.front_view_psnr, score.other_views_psnr


def _of_gaussians(score: Score) -> tuple[float, float]:
    return score.lift_psnr, score.psnr


def _change(before: tuple[float, ...], after: tuple[float, ...], better: bool) -> str:
    old, new = (" / ".join(f"{figure:.2f}" for figure in figures) for figures in (before, after))
    return f"{old} → {new} dB ({_verdict(better)})"


def _verdict(better: bool) -> str:
    return "kept" if better else "left out"


def _wait_for_heads(folder: Path, made: AsyncResult, deadline: float) -> None:
    """Wait for the first shard. Raises FaceLiftError if it takes too long, and any error of the processes."""
    while not list(folder.glob("heads-*.npz")):
        if made.ready():
            made.get()
        if time.monotonic() > deadline:
            raise FaceLiftError("No heads were generated within the time limit; raise --minutes.")
        time.sleep(POLL)


def _options(task: Improvement, folder: Path, rate: float, seconds: float) -> LoopOptions:
    return LoopOptions(
        folder,
        ENDLESS,
        rate,
        validate_every=ENDLESS,
        processes=Processes(task.device),
        workers=task.workers,
        origin=task.weights,
        minutes=max(seconds, LEAST_SECONDS) / 60,
    )


def _with_drawn_views(heads: Path, folder: Path, stage: ViewStage, guidance: float) -> HeadDataset:
    """Return all `heads`, the first of them with input views sampled by `stage`."""
    some, lessons = folder / "some", folder / "lessons"
    some.mkdir()
    paths, total = shard_paths(heads), len(HeadDataset(heads))
    count = 0
    for path in paths:
        if count >= min(SAMPLED_SHARE * total, SAMPLED_MOST):
            break
        os.link(path, some / path.name)
        count += len(HeadDataset(some)) - count
    sample_heads(stage, some, lessons, SAMPLING_STEPS, guidance, SAMPLING_BATCH)
    for path in paths:
        if not (lessons / path.name).exists():
            os.link(path, lessons / path.name)
    return HeadDataset(lessons)


def keep_views(source: Path, target: Path) -> None:
    """Replace the multi-view diffusion of checkpoint `target` by that of `source`, file by file."""
    pipeline, into = find_pipeline(source), find_pipeline(target)
    for path in sorted(path for path in pipeline.rglob("*") if path.is_file()):
        _write(path, into / path.relative_to(pipeline))


def keep_gaussians(source: Path, target: Path) -> None:
    """Replace the GS-LRM of checkpoint `target` by that of `source`."""
    # A safetensors file takes precedence over a training checkpoint of the same name.
    _write(
        find_checkpoint(find_weights(source)).gslrm,
        find_checkpoint(find_weights(target)).gslrm.with_suffix(".safetensors"),
    )


def _write(source: Path, target: Path) -> None:
    """Copy a file atomically, so that `target` is complete even after a power failure."""
    with replacing(target) as temporary:
        shutil.copyfile(source, temporary)
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())

"""Heads whose six input views are sampled by the diffusion, while depth and all other views are ground truth.

At inference, GS-LRM gets views that are inconsistent with each other. If it is trained on true views alone, it places
each pixel's Gaussian where that view suggests, which leaves gaps where views are inconsistent.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from ..errors import FaceLiftError
from ..images import to_bytes
from .batches import WHITE, HeadTensors, as_photographed, composite
from .heads.dataset import Shard, read_shard, save_shard, shard_paths
from .view_model import VIEWS, ViewStage

STRENGTHS = (0.2, 0.8)
"""Range of noise strengths added to true views before the diffusion denoises them. Starting from pure noise would give
sides and backs of another person, for which the true renders are not a useful target."""


def sample_heads(
    stage: ViewStage, heads: Path, output: Path, steps: int, guidance_scale: float, batch: int, seed: int = 0
) -> None:
    """Copy every shard of `heads` to `output` with sampled input views; shards that exist already are kept.

    Args:
        steps: diffusion steps from pure noise; the noisiest ones are skipped, see :data:`STRENGTHS`.

    Raises:
        FaceLiftError: there are no shards, their size does not fit the model, or the folder cannot be written.
    """
    output.mkdir(parents=True, exist_ok=True)
    if output.resolve() == heads.resolve():
        raise FaceLiftError("Sampled heads need a separate folder; choose another one with -o.")
    missing = [path for path in shard_paths(heads) if not (output / path.name).exists()]
    for path in tqdm(missing, unit="shard", disable=None):
        shard = read_shard(path)
        rows = range(len(shard.seeds))
        views = [
            _sample(stage, shard, rows[start : start + batch], steps, guidance_scale, seed)
            for start in tqdm(range(0, len(rows), batch), unit="batch", leave=False, disable=None)
        ]
        save_shard(output / path.name, shard.with_sampled(np.concatenate(views)))


def _sample(stage: ViewStage, shard: Shard, rows: range, steps: int, guidance_scale: float, seed: int) -> np.ndarray:
    """(N, 6, S, S, 3) uint8 views of these rows."""
    random = np.random.default_rng([seed, int(shard.seeds[rows[0]])])
    device = next(stage.model.parameters()).device
    heads = [HeadTensors.of(shard.views(row)) for row in rows]
    portraits = torch.stack([as_photographed(head.rgba[0], random) for head in heads])
    truth = torch.stack([composite(head.rgba[:VIEWS], WHITE) for head in heads])
    strength = random.uniform(*STRENGTHS)
    generator = torch.Generator().manual_seed(int(random.integers(2**62)))
    views = stage.sample(
        portraits.to(device), steps, guidance_scale, generator, towards=truth.to(device), strength=strength
    )
    return to_bytes(views.movedim(2, -1))

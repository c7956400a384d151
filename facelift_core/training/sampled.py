"""Heads whose six input views are as the diffusion draws them, while depth and all other views stay true.

GS-LRM meets at inference views that disagree with one another and with any head; trained on true views alone it lays
every pixel's Gaussian where that view says, and where they disagree gaps open between them.
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
"""How far true views are noised before the diffusion finishes them, from … to. From pure noise, sides and back would be
of somebody else, and their true renders nothing that could be learned from them."""


def sample_heads(
    stage: ViewStage, heads: Path, output: Path, steps: int, guidance_scale: float, batch: int, seed: int = 0
) -> None:
    """Write every shard of `heads` to `output` again, with sampled input views; finished ones are kept.

    Args:
        steps: of the diffusion from pure noise; the noisier part of them is left out, see :data:`STRENGTHS`.

    Raises:
        FaceLiftError: no shards, of another size than the model, or the folder cannot be written.
    """
    output.mkdir(parents=True, exist_ok=True)
    if output.resolve() == heads.resolve():
        raise FaceLiftError("Sampled heads need a folder of their own; name another one after -o.")
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

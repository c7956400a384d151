"""Batch sizes of the tile renderer, on a CPU and on a GPU."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class BatchSizes:
    """How much of the tile lists to process at a time.

    Attributes:
        pairs: maximum number of (tile, splat) pairs in memory, about 400 bytes each at the peak.
        tiles: number of tiles processed together.
        depth: minimum number of splats per tile and step.
        step: number of pairs per step; if few tiles are open, each takes more than `depth` splats.
        look: number of steps between checks for finished tiles.
        at_once: blend the splats of a step by a cumulative product; otherwise one after the other, in place.
    """

    pairs: int
    tiles: int
    depth: int
    step: int
    look: int
    at_once: bool


IN_CACHE = BatchSizes(pairs=1 << 17, tiles=512, depth=8, step=0, look=4, at_once=False)
"""For a CPU: the working set fits the cache. Eight times as many pairs were not faster."""
ON_CARD = BatchSizes(pairs=1 << 19, tiles=4096, depth=32, step=1 << 17, look=1, at_once=True)
"""For a GPU: few, large steps, because the kernel launches of a step take a fixed time."""

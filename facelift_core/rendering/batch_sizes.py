"""How much of the tile lists the renderer processes at a time, on a CPU and on a GPU."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class BatchSizes:
    """How much of the lists to walk at a time.

    Attributes:
        pairs: (tile, splat) in memory at a time, about 400 bytes each at the peak.
        tiles: walked together.
        depth: splats of one tile composited per step, at least.
        step: pairs of a step; where few tiles are open each takes more splats.
        look: steps after which to look for tiles that are finished.
        at_once: the splats of a step are composited by products along them; else one after the other, in place.
    """

    pairs: int
    tiles: int
    depth: int
    step: int
    look: int
    at_once: bool


IN_CACHE = BatchSizes(pairs=1 << 17, tiles=512, depth=8, step=0, look=4, at_once=False)
"""On a processor the working set stays in the cache; eight times as many pairs were no faster."""
ON_CARD = BatchSizes(pairs=1 << 19, tiles=4096, depth=32, step=1 << 17, look=1, at_once=True)
"""On a graphics card a step costs its launches, so that there should be few."""

"""Training batches of GS-LRM: input views, target views, and targets from depth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from ..rendering.cameras import VIEW_NAMES
from .batches import WHITE, ColorShift, HeadTensors, composite
from .heads.dataset import HeadDataset

VIEWS = len(VIEW_NAMES)
SAMPLED_INPUTS = 0.75
"""Fraction of batches that use sampled input views, for heads that have them."""
RANDOM_INPUTS, LEAST_INPUTS = 0.15, 4
"""Fraction of batches with four to six random input views in place of the standard six, and their minimum number."""
PIXEL_SIGMA = 0.6
"""Standard deviation of a pixel's Gaussian in pixels of its view: closes gaps without much blur."""


@dataclass(frozen=True)
class PixelTargets:
    """Targets from the z-buffer for the Gaussian of each pixel of the input views, in GS-LRM's order.

    positions, colors (B, N, 3); log_scales (B, N, 1); inside (B, N), 1 on the head.
    """

    positions: Tensor
    colors: Tensor
    log_scales: Tensor
    inside: Tensor

    @classmethod
    def of(
        cls,
        rgba: Tensor,
        depth: Tensor,
        origins: Tensor,
        directions: Tensor,
        forward: Tensor,
        focal: float,
        patch: int = 8,
    ) -> PixelTargets:
        """From RGBA (B, V, 4, H, W), z depth (B, V, H, W; 0 is empty), rays, and viewing directions (B, V, 3)."""
        order = "b v (h p) (w q) c -> b (v h w p q) c"
        cosine = torch.einsum("bvhwc,bvc->bvhw", directions, forward)
        points = origins + (depth / cosine)[..., None] * directions
        inside = ((rgba[:, :, 3] > 0.5) & (depth > 0)).float()
        scale = (depth.clamp(min=1) * PIXEL_SIGMA / focal).log()
        return cls(
            *(rearrange(x, order, p=patch, q=patch) for x in (points, rgba[:, :, :3].movedim(2, -1), scale[..., None])),
            inside=rearrange(inside, "b v (h p) (w q) -> b (v h w p q)", p=patch, q=patch),
        )


@dataclass(frozen=True)
class ReconstructionBatch:
    """B heads with the same number of views each.

    Attributes:
        rgba: (B, W, 4, H, H) all views, input views first.
        depth: (B, W, H, H), or None if unknown.
        c2w: (B, W, 4, 4).
        inputs: (B, V, 3, H, H) input views over white: true views, or views sampled by the diffusion.
        true_inputs: whether all of them are true views.
    """

    rgba: Tensor
    depth: Tensor | None
    c2w: Tensor
    inputs: Tensor
    true_inputs: bool

    @classmethod
    def draw(cls, heads: HeadDataset, count: int, step: int, random: np.random.Generator) -> ReconstructionBatch:
        """Draw random heads; does not depend on `step`."""
        chosen = [HeadTensors.draw(heads, random) for _ in range(count)]
        if random.random() < SAMPLED_INPUTS and any(head.sampled is not None for head in chosen):
            # No color shift here: it would also change the white background of sampled views.
            return cls(*_stack(chosen), torch.stack([_as_in_file(head) for head in chosen]), False)
        rgba, depth, c2w = _stack(chosen)
        rgba = torch.stack([ColorShift.draw(random)(views) for views in rgba])
        views = VIEWS
        if rgba.shape[1] > VIEWS and random.random() < RANDOM_INPUTS:
            order = torch.from_numpy(random.permutation(rgba.shape[1]))
            rgba, c2w = rgba[:, order], c2w[:, order]
            depth = None if depth is None else depth[:, order]
            views = int(random.integers(LEAST_INPUTS, VIEWS + 1))
        return cls(rgba, depth, c2w, composite(rgba[:, :views], WHITE), True)

    @classmethod
    def first(cls, heads: HeadDataset, count: int) -> ReconstructionBatch:
        """Return the first `count` heads (or all if there are fewer), with unmodified inputs."""
        chosen = [HeadTensors.of(heads[i]) for i in range(min(count, len(heads)))]
        inputs = torch.stack([_as_in_file(head) for head in chosen])
        return cls(*_stack(chosen), inputs, all(head.sampled is None for head in chosen))

    def to(self, device: torch.device) -> ReconstructionBatch:
        return self._map(lambda x: x.to(device))

    def part(self, count: int) -> ReconstructionBatch:
        """Return the first `count` heads of this batch."""
        return self._map(lambda x: x[:count])

    def _map(self, change: Callable[[Tensor], Tensor]) -> ReconstructionBatch:
        fields = (self.rgba, self.depth, self.c2w, self.inputs)
        return ReconstructionBatch(*(None if x is None else change(x) for x in fields), self.true_inputs)

    @property
    def views(self) -> int:
        """Number of input views."""
        return self.inputs.shape[1]


def _as_in_file(head: HeadTensors) -> Tensor:
    """Return the input views (6, 3, H, H): sampled views if the head has them, else the true views."""
    return composite(head.rgba[:VIEWS], WHITE) if head.sampled is None else head.sampled


def _stack(heads: list[HeadTensors]) -> tuple[Tensor, Tensor | None, Tensor]:
    """Stack rgba, depth and c2w of the heads."""
    depth = None if any(head.depth is None for head in heads) else torch.stack([head.depth for head in heads])
    return torch.stack([head.rgba for head in heads]), depth, torch.stack([head.c2w for head in heads])

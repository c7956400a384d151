"""Train the depth network of portraits (:mod:`facelift_core.likeness.depth`) on synthetic heads."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from ..errors import FaceLiftError
from ..likeness.depth import DEPTH_FILE, DepthNetwork, predicted_depth
from .batches import WHITE, ColorShift, composite, picture_grid
from .export import save_half
from .heads.dataset import HeadDataset
from .loop import LoopOptions, Task, train

FRONT = 0
"""Index of the front view, which serves as the portrait."""
OFFSET_WEIGHT = 0.5
"""Weight of the absolute error, added to the error without each head's offset."""
SLOPES, SLOPE_WEIGHT = (1, 2, 4), 1.0
"""Distances in pixels for the loss on slopes, which determine the normals of the skin."""
GRAY, MATTED, CROPPED, BLURRED, LIT = 0.1, 0.5, 0.15, 0.5, 0.5
"""Fractions of portraits that are grayscale, badly matted, cropped by the photo's border, blurred, and unevenly lit."""
NOISE = 0.03
"""Maximum standard deviation."""
SHOWN = 1.9, 3.1
"""Depths shown as white and as black in logged images."""


@dataclass(frozen=True)
class Portraits:
    """Front views of B heads: rgba (B, H, W, 4) uint8, straight alpha; depth (B, H, W) float16, 0 where empty; and
    their color adjustments."""

    rgba: Tensor
    depth: Tensor
    shifts: ColorShift | None = None

    @classmethod
    def first(cls, heads: HeadDataset, count: int) -> Portraits:
        """Return the first `count` heads, or all if there are fewer."""
        return cls(*_stack(heads, range(min(count, len(heads)))))

    @classmethod
    def draw(cls, heads: HeadDataset, count: int, step: int, random: np.random.Generator) -> Portraits:
        """Draw random heads; does not depend on `step`."""
        rgba, depth = _stack(heads, random.integers(len(heads), size=count))
        return cls(rgba, depth, ColorShift.stack([ColorShift.draw(random) for _ in range(count)]))

    def to(self, device: torch.device) -> Portraits:
        parts = (getattr(self, f.name) for f in fields(self))
        return Portraits(*(part if part is None else part.to(device) for part in parts))

    @property
    def cutouts(self) -> Tensor:
        """(B, 4, H, W) in [0, 1]."""
        return self.rgba.movedim(-1, 1).float() / 255


def _stack(heads: HeadDataset, rows) -> tuple[Tensor, Tensor]:
    found = [heads[int(row)] for row in rows]
    return tuple(
        torch.from_numpy(np.stack([getattr(head, part)[FRONT] for head in found])) for part in ("rgba", "depth")
    )


def train_depth(
    heads: HeadDataset, held_out: HeadDataset, model: DepthNetwork, options: LoopOptions, batch: int
) -> nn.Module:
    """Train on the front views of `batch` heads per step.

    Raises:
        FaceLiftError: the heads have no depth, or as :func:`train`.
    """
    if heads[0].depth is None or held_out[0].depth is None:
        raise FaceLiftError("Training the depth network needs heads with depth, and these have none.")
    device = options.device
    model = model.to(device, memory_format=torch.channels_last)
    fixed = Portraits.first(held_out, 128).to(device)

    def loss(step: int, drawn: Portraits, random: np.random.Generator, logged: dict[str, float]) -> Tensor:
        drawn = drawn.to(device)
        depth, there = drawn.depth.float(), (drawn.depth > 0).float()
        seen = as_cut_out(drawn.shifts(drawn.cutouts[:, None])[:, 0], random)
        if random.random() < 0.5:
            seen, depth, there = seen.flip(-1), depth.flip(-1), there.flip(-1)
        error = model(seen) - depth
        flat, shape = mean_where(error.abs(), there), mean_where(without_offset(error, there).abs(), there)
        logged |= {"l1": flat.item(), "shape": shape.item()}
        return OFFSET_WEIGHT * flat + shape + SLOPE_WEIGHT * slope_error(error, there)

    def validate(averaged: nn.Module) -> dict[str, float]:
        there = (fixed.depth > 0).float()
        error = predicted_depth(averaged, fixed.cutouts) - fixed.depth.float()
        return {"error": mean_where(error.abs(), there).item(), "error_shape": shape_error(averaged, fixed)}

    def picture(averaged: nn.Module) -> Image.Image:
        shown, truth = fixed.cutouts[:12], fixed.depth[:12].float()
        depth = predicted_depth(averaged, shown) * (truth > 0)
        gray = [
            ((SHOWN[1] - x) / (SHOWN[1] - SHOWN[0])).clamp(0, 1)[:, None].expand(-1, 3, -1, -1) for x in (truth, depth)
        ]
        return picture_grid([composite(shown, WHITE.to(device)), *gray])

    draw = partial(Portraits.draw, heads, batch)
    return train(Task(model, draw, loss, validate, picture, export=_export), options)


def _export(averaged: nn.Module, run: Path) -> None:
    save_half(averaged.state_dict(), run / DEPTH_FILE)


def shape_error(model: nn.Module, portraits: Portraits) -> float:
    """Mean absolute error in world units, without each head's offset."""
    there = (portraits.depth > 0).float()
    error = predicted_depth(model, portraits.cutouts) - portraits.depth.float()
    return mean_where(without_offset(error, there).abs(), there).item()


def mean_where(values: Tensor, there: Tensor) -> Tensor:
    return (values * there).sum() / there.sum().clamp(min=1)


def without_offset(error: Tensor, there: Tensor) -> Tensor:
    """Subtract the mean of each head from errors (B, H, W)."""
    count = there.sum((1, 2), keepdim=True).clamp(min=1)
    return error - (error * there).sum((1, 2), keepdim=True) / count


def slope_error(error: Tensor, there: Tensor) -> Tensor:
    """Mean absolute difference of neighboring errors (B, H, W), where both pixels are in the mask `there`."""
    total = error.new_zeros(())
    for step in SLOPES:
        for axis in (1, 2):
            length = error.shape[axis] - step
            first, second = (error.narrow(axis, start, length) for start in (0, step))
            both = there.narrow(axis, 0, length) * there.narrow(axis, step, length)
            total = total + mean_where((second - first).abs(), both)
    return total / (2 * len(SLOPES))


def as_cut_out(cutouts: Tensor, random: np.random.Generator) -> Tensor:
    """Augment clean cut-outs (B, 4, H, W) to look like matted photos; their outlines do not move."""
    count, _, height, width = cutouts.shape

    def some(share: float) -> Tensor:
        return torch.from_numpy(random.random(count) < share).to(cutouts.device)[:, None, None, None]

    def any_of(low: float, high: float, *shape: int) -> Tensor:
        return torch.from_numpy(random.uniform(low, high, (count, *(shape or (1, 1, 1))))).to(cutouts)

    color, alpha = cutouts[:, :3], cutouts[:, 3:]
    color = torch.where(some(GRAY), color.mean(1, keepdim=True), color)
    light = F.interpolate(any_of(-0.5, 0.5, 1, 4, 4), size=(height, width), mode="bicubic")
    color = torch.where(some(LIT), color * light.exp(), color)
    soft = F.avg_pool2d(alpha, 3, 1, 1)
    matte = torch.where(some(0.5), alpha, soft) * any_of(1.0, 1.6) - any_of(0.0, 0.3)
    alpha = torch.where(some(MATTED), matte.clamp(0, 1), alpha)
    small = max(8, int(height * random.uniform(0.4, 1)))
    blurred = F.interpolate(color, size=(small, small), mode="bilinear", antialias=True)
    blurred = F.interpolate(blurred, size=(height, width), mode="bilinear")
    color = torch.where(some(BLURRED), blurred, color)
    color = color + torch.randn_like(color) * any_of(0, NOISE)
    # Crop as if the photo ended below or at a side.
    place = torch.linspace(0, 1, width, device=cutouts.device)
    border = any_of(0.03, 0.2)
    side = torch.from_numpy(random.integers(3, size=count)).to(cutouts.device)[:, None, None, None]
    beyond = torch.where(
        side == 0, place[:, None] > 1 - border, torch.where(side == 1, place < border, place > 1 - border)
    )
    alpha = torch.where(some(CROPPED) & beyond, 0, alpha)
    return torch.cat([color.clamp(0, 1), alpha], dim=1)

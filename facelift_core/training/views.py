"""Stage 1: train the multi-view diffusion, from scratch at `mini`'s size or from a checkpoint of any size.

The recipe is that of the paper (docs/model.md, 3): v-prediction, dropout of the whole condition, Min-SNR, EMA. Two
differences suit a small model: zero terminal SNR with trailing timesteps, so that the last timestep does not reveal the
mean color, and a vision model that is trained too.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from ..rendering.metrics import psnr, ssim
from .batches import WHITE, ColorShift, HeadTensors, as_photographed, composite, picture_grid, plain_background
from .heads.dataset import HeadDataset
from .loop import LoopOptions, Task, train
from .view_model import VIEWS, ViewStage

CONDITION_DROPOUT = 0.05
SNR_CLAMP = 5.0
OTHER_BACKGROUND = 0.1
"""Fraction of heads with a black or gray background instead of white, both in the portrait and the views."""


@dataclass(frozen=True)
class ViewBatch:
    """Target views (B, V, 3, H, W) and augmented portraits (B, 3, H, W) over the same backgrounds, in [0, 1]."""

    views: Tensor
    portraits: Tensor

    @classmethod
    def clean(cls, heads: HeadDataset, count: int) -> ViewBatch:
        """Return the first `count` heads (or all if there are fewer), with the front view as the portrait."""
        views = torch.stack(
            [composite(HeadTensors.of(heads[i]).rgba[:VIEWS], WHITE) for i in range(min(count, len(heads)))]
        )
        return cls(views, views[:, 0])

    def to(self, device: torch.device) -> ViewBatch:
        return ViewBatch(self.views.to(device), self.portraits.to(device))


@dataclass(frozen=True)
class DrawnHeads:
    """A :class:`ViewBatch` in bytes, before it is moved to the training device.

    The CPU only augments the portraits. Recoloring six views would take it ten times as long.

    Attributes:
        rgba: (B, V, H, W, 4) true views, straight alpha.
        portraits: (B, 3, H, W) recolored and augmented portraits, over the backgrounds.
        shifts: color adjustments of B heads.
        backgrounds: (B, 3) in [0, 1].
    """

    rgba: Tensor
    portraits: Tensor
    shifts: ColorShift
    backgrounds: Tensor

    @classmethod
    def draw(cls, heads: HeadDataset, count: int, step: int, random: np.random.Generator) -> DrawnHeads:
        """Draw random heads; does not depend on `step`."""
        rgba, portraits, shifts, backgrounds = [], [], [], []
        for _ in range(count):
            views = torch.from_numpy(np.array(heads[int(random.integers(len(heads)))].rgba[:VIEWS]))
            shift = ColorShift.draw(random)
            background = plain_background(random) if random.random() < OTHER_BACKGROUND else WHITE
            front = shift(views[0].movedim(-1, 0).float() / 255)
            rgba.append(views)
            portraits.append((as_photographed(front, random, background) * 255).round().byte())
            shifts.append(shift)
            backgrounds.append(background)
        return cls(torch.stack(rgba), torch.stack(portraits), ColorShift.stack(shifts), torch.stack(backgrounds))

    def on(self, device: torch.device) -> ViewBatch:
        rgba = self.shifts.to(device)(self.rgba.to(device).movedim(-1, 2).float() / 255)
        backgrounds = self.backgrounds.to(device)[:, None]
        return ViewBatch(composite(rgba, backgrounds), self.portraits.to(device).float() / 255)


def train_views(
    heads: HeadDataset,
    held_out: HeadDataset,
    stage: ViewStage,
    options: LoopOptions,
    batch: int,
    gradient_checkpointing: bool = False,
) -> nn.Module:
    """Train on six views of `batch` heads per step, conditioned on an augmented front view."""
    stage = stage.to(options.device)
    scheduler, alphas = stage.scheduler, stage.scheduler.alphas_cumprod.to(options.device)
    fixed = ViewBatch.clean(held_out, 24).to(options.device)
    shown = ViewBatch(fixed.views[:6], fixed.portraits[:6])
    if gradient_checkpointing:
        stage.model.unet.enable_gradient_checkpointing()

    velocity = scheduler.config.prediction_type == "v_prediction"

    def errors(model: nn.Module, drawn: ViewBatch, timesteps: Tensor, keep: Tensor, noise: Tensor | None) -> Tensor:
        """Mean squared errors (B,) of the prediction; random noise if `noise` is None."""
        clean = stage.encode(drawn.views)
        condition = stage.encode(drawn.portraits[:, None])[:, 0]
        noise = torch.randn_like(clean) if noise is None else noise.to(clean)
        noisy = scheduler.add_noise(clean, noise, timesteps)
        target = scheduler.get_velocity(clean, noise, timesteps) if velocity else noise
        predicted = model(noisy, timesteps, condition, drawn.portraits, keep).float()
        return (predicted - target).square().mean((1, 2, 3, 4))

    def loss(step: int, heads: DrawnHeads, random: np.random.Generator, logged: dict[str, float]) -> Tensor:
        drawn = heads.on(options.device)
        timesteps = torch.from_numpy(random.integers(0, len(alphas), batch)).to(options.device)
        keep = torch.from_numpy(random.random(batch) >= CONDITION_DROPOUT).float().to(options.device)
        error = errors(stage.model, drawn, timesteps, keep, noise=None)
        # Min-SNR for v-prediction, with the clamp on SNR + 1 because SNR is 0 at the last timestep.
        snr = alphas[timesteps] / (1 - alphas[timesteps])
        snr = snr + 1 if velocity else snr.clamp(min=1e-6)
        weight = snr.clamp(max=SNR_CLAMP) / snr
        logged["error"] = error.mean().item()
        return (error * weight).mean()

    def first_guess(averaged: nn.Module, batch: ViewBatch) -> Tensor:
        """The model's one-step prediction from pure noise."""
        condition = stage.encode(batch.portraits[:, None])[:, 0]
        shape = (len(condition), VIEWS, *condition.shape[1:])
        noise = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(options.device)
        last = torch.full((len(condition),), len(alphas) - 1, device=options.device)
        out = averaged(noise, last, condition, batch.portraits, torch.ones(len(condition), device=options.device))
        kept, lost = alphas[-1].sqrt(), (1 - alphas[-1]).sqrt()
        if velocity:
            return stage.decode(kept * noise - lost * out)
        return stage.decode((noise - lost * out) / kept)

    def validate(averaged: nn.Module) -> dict[str, float]:
        # Each head at another, fixed noise level.
        count = len(fixed.views)
        timesteps = torch.linspace(0, len(alphas) - 1, count, device=options.device).long()
        latents = stage.encode(fixed.portraits[:1])[0].shape
        noise = torch.randn(count, VIEWS, *latents, generator=torch.Generator().manual_seed(0))
        error = errors(averaged, fixed, timesteps, torch.ones(count, device=options.device), noise)
        guessed = first_guess(averaged, fixed)
        quality = psnr(guessed, fixed.views)
        return {
            "error_held_out": error.mean().item(),
            "psnr_front": quality[:, 0].mean().item(),
            "psnr_others": quality[:, 1:].mean().item(),
            "ssim": ssim(guessed.flatten(0, 1), fixed.views.flatten(0, 1)).mean().item(),
        }

    def picture(averaged: nn.Module) -> Image.Image:
        generator = torch.Generator().manual_seed(4)
        sampled = stage.sample(shown.portraits, 20, 3.0, generator, model=averaged)
        guessed = first_guess(averaged, shown)
        rows = [row for i in range(len(shown.views)) for row in (shown.views[i], guessed[i], sampled[i])]
        return picture_grid(rows)

    draw = partial(DrawnHeads.draw, heads, batch)
    return train(Task(stage.model, draw, loss, validate, picture), options)

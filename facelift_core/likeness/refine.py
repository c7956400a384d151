"""A few dozen steps of descent through the renderer: the front towards the portrait, the sides as they were."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ..align.crop import SIZE
from ..cameras import intrinsics, orbit, six_views
from ..gaussians import SH_C0, Gaussians
from ..progress import Monitor
from ..training.quality import ssim
from ..training.splatter import GaussianBatch, splat

STEPS = 60
RATES = {"sh": 0.03, "opacity_logits": 0.05, "log_scales": 0.01, "positions": 0.0005}
"""Learning rates of Adam; rotations stay."""
BETAS = 0.9, 0.99
ANCHORS = tuple(270.0 + turn for turn in (-30, 30, -60, 60, 120, 180, 240))
"""Azimuths from which the head should go on looking as before, one of them in each step."""
ANCHOR_SIZE = 256
ANCHOR_WEIGHT, TIE, SSIM_SHARE = 0.5, 50.0, 0.2


def refined(head: Gaussians, cutout: Tensor, monitor: Monitor, steps: int = STEPS) -> Gaussians:
    """`head`, fitted to the portrait.

    Args:
        cutout: (4, 512, 512) float32 RGBA in [0, 1], straight alpha.
        monitor: called before each step.
    """
    front = six_views()[:1].float()
    sides = orbit(torch.tensor(ANCHORS)).float()
    with torch.no_grad():
        before = [_render(head, side[None], ANCHOR_SIZE, torch.ones(3)) for side in sides]
    fields = {name: getattr(head, name).clone().requires_grad_(name in RATES) for name in _NAMES}
    optimizer = torch.optim.Adam([{"params": [fields[n]], "lr": rate} for n, rate in RATES.items()], betas=BETAS)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.1 + 0.9 * math.cos(math.pi / 2 * step / steps))
    generator = torch.Generator().manual_seed(0)
    order = torch.cat([torch.randperm(len(ANCHORS), generator=generator) for _ in range(-(-steps // len(ANCHORS)))])
    for step in range(steps):
        monitor(step / steps, f"Step {step + 1} of {steps}")
        background = torch.rand(3, generator=generator) if step % 2 else torch.ones(3)
        target = cutout[:3] * cutout[3:] + (1 - cutout[3:]) * background[:, None, None]
        now = Gaussians(**fields)
        drawn = _render(now, front, SIZE, background)
        loss = (1 - SSIM_SHARE) * (drawn - target).abs().mean() + SSIM_SHARE * (1 - ssim(drawn[None], target[None])).mean()
        which = int(order[step])
        loss = loss + ANCHOR_WEIGHT * (_render(now, sides[which : which + 1], ANCHOR_SIZE, torch.ones(3)) - before[which]).abs().mean()
        loss = loss + TIE * (fields["positions"] - head.positions).square().sum(-1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return Gaussians(**{name: field.detach() for name, field in fields.items()})


_NAMES = ("positions", "sh", "log_scales", "rotations", "opacity_logits")


def _render(head: Gaussians, c2w: Tensor, size: int, background: Tensor) -> Tensor:
    """(3, size, size)."""
    batch = GaussianBatch(head.positions[None], head.colors[None], head.log_scales[None], head.rotations[None], head.opacity_logits[None])
    return splat(batch, c2w[None], intrinsics(size)[0].item(), size, background[None], dilation=0.3)[0, 0]

"""Fit the head to the portrait by gradient descent through the renderer, while the sides keep their appearance."""

from __future__ import annotations

import math
from dataclasses import fields as dataclass_fields
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from ..align import AlignedPortrait
from ..align.crop import SIZE
from ..compute import native
from ..gaussians.tensors import SH_C0, Gaussians
from ..progress import Monitor
from ..rendering import gsplat_backend, render
from ..rendering.cameras import intrinsics, orbit, six_views
from ..rendering.metrics import ssim
from ..rendering.projection import DILATION
from ..rendering.splatter import GaussianBatch, splat
from .front import pixels_of

STEPS, STEPS_BY_TORCH = 40, 16
"""Number of steps; fewer on a CPU without a C++ compiler, where a step takes several times as long."""
RATES = {"sh": 0.03, "opacity_logits": 0.05, "log_scales": 0.01, "positions": 0.0005}
"""Learning rates of Adam; rotations are not changed."""
BETAS = 0.9, 0.99
ANCHORS = tuple(270.0 + turn for turn in (-30, 30, -60, 60, 120, 180, 240))
"""Azimuths from which the head should keep its appearance; each step uses one of them."""
ANCHOR_SIZE = 256
BORDER = 4
"""Margin in pixels around the head in which the portrait still counts."""
ANCHOR_WEIGHT, TIE, SSIM_SHARE = 1.0, 50.0, 0.2


def refined(head: Gaussians, portrait: AlignedPortrait, monitor: Monitor) -> Gaussians:
    """Fit `head` to the portrait, on the device of its Gaussians.

    Args:
        head: a head with its front made from the photo.
        portrait: the aligned portrait.
        monitor: called before each step.
    """
    device = head.positions.device
    steps = STEPS if device.type == "cuda" or _batched(head) else STEPS_BY_TORCH
    cutout = torch.from_numpy(pixels_of(portrait.cutout, SIZE)).permute(2, 0, 1).to(device)
    white = torch.ones(3, device=device)
    front, sides = six_views()[0], orbit(torch.tensor(ANCHORS))
    with torch.no_grad():
        colors, alpha = cutout[:3], cutout[3:] * _extent(head, front)
        before = [_render(head, side, ANCHOR_SIZE, white) for side in sides]
    fields = {f.name: getattr(head, f.name).clone().requires_grad_(f.name in RATES) for f in dataclass_fields(head)}
    optimizer = torch.optim.Adam([{"params": [fields[name]], "lr": rate} for name, rate in RATES.items()], betas=BETAS)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: 0.1 + 0.9 * math.cos(math.pi / 2 * step / steps)
    )
    generator = torch.Generator().manual_seed(0)
    rounds = [torch.randperm(len(ANCHORS), generator=generator) for _ in range(-(-steps // len(ANCHORS)))]
    for step, anchor in zip(range(steps), torch.cat(rounds).tolist(), strict=False):
        monitor(step / steps, f"Step {step + 1} of {steps}")
        # Against white alone, a white Gaussian would look like a hole.
        background = torch.rand(3, generator=generator).to(device) if step % 2 else white
        target = colors * alpha + (1 - alpha) * background[:, None, None]
        now = Gaussians(**fields)
        drawn, side = _render(now, front, SIZE, background), _render(now, sides[anchor], ANCHOR_SIZE, white)
        unlike = 1 - ssim(drawn[None], target[None]).mean()
        loss = (1 - SSIM_SHARE) * (drawn - target).abs().mean() + SSIM_SHARE * unlike
        loss = loss + ANCHOR_WEIGHT * (side - before[anchor]).abs().mean()
        loss = loss + TIE * (now.positions - head.positions).square().sum(-1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return Gaussians(**{name: field.detach() for name, field in fields.items()})


def _extent(head: Gaussians, c2w: Tensor) -> Tensor:
    """Return a soft mask (1, 512, 512) of `head` with a small margin. The photo may extend beyond the filtered head."""
    black = torch.zeros(3, device=head.positions.device)
    painted = replace(head, sh=torch.full_like(head.sh[:, :1], 0.5 / SH_C0))
    there = (_render(painted, c2w, SIZE, black)[:1] > 0.5).float()
    return F.avg_pool2d(F.max_pool2d(there, 2 * BORDER + 1, 1, BORDER), 2 * BORDER + 1, 1, BORDER).mul(2).clamp(max=1)


def _batched(head: Gaussians) -> bool:
    """Return whether the batched renderer supports `head` (no spherical harmonics) and is the faster one here.

    On a GPU without gsplat, the batched renderer blends on the CPU and the tile renderer on the GPU.
    """
    if head.sh_degree > 0:
        return False
    if head.positions.device.type == "cuda":
        return gsplat_backend.rasterization() is not None
    return native.available("splatter")


def _render(head: Gaussians, c2w: Tensor, size: int, background: Tensor) -> Tensor:
    """Render `head` with one camera (4, 4) to an image (3, size, size)."""
    camera = intrinsics(size)
    if not _batched(head):
        return render(head, c2w, camera, size, size, background)[0].permute(2, 0, 1)
    batch = GaussianBatch(
        *(field[None] for field in (head.positions, head.colors, head.log_scales, head.rotations, head.opacity_logits))
    )
    c2w = c2w.to(head.positions)
    return splat(batch, c2w[None, None], camera[0].item(), size, background[None], dilation=DILATION)[0, 0]

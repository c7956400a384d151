"""Evaluates a checkpoint on held-out synthetic heads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from ..gaussians.tensors import Gaussians
from ..images import to_pictures, write_picture
from ..pipeline import FaceLift
from ..rendering import render
from ..rendering.cameras import VIEW_NAMES, intrinsics, turntable
from ..rendering.metrics import psnr, ssim
from .batches import WHITE, HeadTensors, composite, picture_grid
from .heads.render import render as render_head
from .heads.render import sample_cameras
from .heads.scene import make_head

VIEWS = len(VIEW_NAMES)
UNSEEN = 4
TURNTABLE = 8
RENDER_SCALE = 4
"""Supersampling factor of the compared renders. At the model's own resolution, the renderer's fixed low-pass filter
would dominate."""


@dataclass(frozen=True)
class Score:
    """Scores averaged over heads; PSNR in dB. Higher is better for all of them.

    Attributes:
        lift_psnr: GS-LRM from true views, on unseen views, before the filters.
        front_view_psnr, other_views_psnr: views that the diffusion generates from the front view.
        psnr, ssim, front_psnr, inner_ssim: the whole pipeline from the front view alone, before the filters: on eight
            views around the head (the first is the front), and on the front. The inner SSIM excludes windows that
            extend over the border.
        delivered_psnr, delivered_ssim, delivered_front_psnr: the same after the filters of docs/model.md, 6.1. The
            filters cut off the shoulders, which the ground truth has, so these scores cannot be perfect.
    """

    lift_psnr: float
    front_view_psnr: float
    other_views_psnr: float
    psnr: float
    ssim: float
    front_psnr: float
    inner_ssim: float
    delivered_psnr: float
    delivered_ssim: float
    delivered_front_psnr: float

    def __str__(self) -> str:
        return "\n".join(
            [
                f"GS-LRM from true views, {UNSEEN} unseen views    {self.lift_psnr:6.2f} dB",
                f"Views drawn from the front view, front    {self.front_view_psnr:6.2f} dB",
                f"                                 others   {self.other_views_psnr:6.2f} dB",
                f"Front view to head, {TURNTABLE} views around        {self.psnr:6.2f} dB   "
                f"SSIM {self.ssim:.3f}, inside {self.inner_ssim:.3f}",
                f"                    front                 {self.front_psnr:6.2f} dB",
                f"The same, filtered, {TURNTABLE} views around        {self.delivered_psnr:6.2f} dB   "
                f"SSIM {self.delivered_ssim:.3f}",
                f"                    front                 {self.delivered_front_psnr:6.2f} dB",
            ]
        )


def evaluate(
    weights: str | Path,
    seeds: Sequence[int],
    steps: int,
    guidance_scale: float | None,
    picture: Path | None = None,
    device: str = "auto",
) -> Score:
    """Evaluate `weights` on the heads of `seeds`, and draw the first eight of them to `picture`.

    Raises:
        FaceLiftError: as :meth:`FaceLift.from_pretrained` and :meth:`FaceLift.reconstruct_from_views`.
    """
    model = FaceLift.from_pretrained(weights, device)
    rows, figures = [], []
    for seed in tqdm(seeds, unit="head", disable=None):
        c2w = np.concatenate([_cameras(seed), turntable(TURNTABLE).float().numpy()])
        head = HeadTensors.of(render_head(make_head(seed), c2w, model.multiview.image_size))
        truth = composite(head.rgba, WHITE)
        size = truth.shape[-1]
        unseen, around = slice(VIEWS, VIEWS + UNSEEN), slice(VIEWS + UNSEEN, None)

        lifted = model.reconstruct_from_views(truth[:VIEWS]).raw_gaussians
        lift_psnr = psnr(render_views(lifted, head.c2w[unseen], size), truth[unseen]).mean()

        views = model.multiview(to_pictures(truth[:1])[0], steps, guidance_scale)
        views_psnr = psnr(views, truth[:VIEWS])
        result = model.reconstruct_from_views(views)
        whole, delivered = (render_views(g, head.c2w[around], size) for g in (result.raw_gaussians, result.gaussians))
        figures.append(
            [
                lift_psnr,
                views_psnr[0],
                views_psnr[1:].mean(),
                *_quality(whole, truth[around]),
                ssim(whole, truth[around]).mean(),
                *_quality(delivered, truth[around]),
            ]
        )
        if len(rows) < 8 * 3:
            rows += [truth[around], views[[0, 1, 2, 3, 4, 5, 0, 0]], delivered]
    if picture:
        write_picture(picture_grid(rows), picture)
    return Score(*torch.tensor(figures).mean(0).tolist())


def _quality(renders: Tensor, truth: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """PSNR and SSIM over all views, and PSNR of the first view."""
    by_view = psnr(renders, truth)
    return by_view.mean(), ssim(renders, truth, with_border=True).mean(), by_view[0]


def _cameras(seed: int) -> np.ndarray:
    return sample_cameras(np.random.default_rng([seed, 200]), UNSEEN)


def render_views(gaussians: Gaussians, c2w: Tensor, size: int) -> Tensor:
    """(V, 3, size, size) renders."""
    large = RENDER_SCALE * size
    pictures = render(gaussians, c2w, intrinsics(large).float().expand(len(c2w), 4), large, large)
    return F.avg_pool2d(pictures.permute(0, 3, 1, 2), RENDER_SCALE).clamp(0, 1)

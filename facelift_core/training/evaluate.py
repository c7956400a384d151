"""How good a checkpoint is on synthetic heads that it never saw."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from ..cameras import VIEW_NAMES, intrinsics, turntable
from ..gaussians import Gaussians
from ..pipeline import FaceLift
from ..rasterizer import render
from .batches import WHITE, HeadTensors, composite, picture_grid, psnr
from .heads.render import render as render_head
from .heads.render import sample_cameras
from .heads.scene import make_head

VIEWS = len(VIEW_NAMES)
UNSEEN = 4
TURNTABLE = 8
RENDER_SCALE = 4
"""Renders are compared after averaging from this many times the size, as a picture on a screen is looked at; at the
model's own few pixels the renderer's fixed low-pass would dominate."""


@dataclass(frozen=True)
class Score:
    """Averages over heads, PSNR in dB.

    Attributes:
        reconstruction_psnr: of GS-LRM from true views, on unseen ones, before the filters.
        turntable_psnr, turntable_ssim: of the whole pipeline from the front view alone, on eight views around.
        front_psnr: likewise, on the front view itself.
    """

    reconstruction_psnr: float
    turntable_psnr: float
    turntable_ssim: float
    front_psnr: float


def evaluate(
    weights: str | Path, seeds: Sequence[int], steps: int, guidance_scale: float, picture: Path | None = None
) -> Score:
    """Score `weights` on the heads of `seeds`, print the averages, and draw the first eight heads to `picture`."""
    model = FaceLift.from_pretrained(weights)
    rows, figures = [], []
    for seed in tqdm(seeds, unit="head", disable=None):
        c2w = np.concatenate([_cameras(seed), turntable(TURNTABLE).float().numpy()])
        head = HeadTensors.of(render_head(make_head(seed), c2w, model.multiview.image_size))
        truth = composite(head.rgba, WHITE)
        unseen, around = slice(VIEWS, VIEWS + UNSEEN), slice(VIEWS + UNSEEN, None)

        # Unfiltered: the filters of spec §6 cut the shoulders off, which says nothing about the model.
        from_truth = model.reconstruct_from_views(truth[:VIEWS]).raw_gaussians
        unseen_psnr = psnr(_views(from_truth, head.c2w[unseen], truth.shape[-1]), truth[unseen])

        portrait = Image.fromarray((truth[0].permute(1, 2, 0).numpy() * 255 + 0.5).astype(np.uint8))
        views = model.multiview(portrait, steps, guidance_scale)
        from_photo = _views(model.reconstruct_from_views(views).gaussians, head.c2w[around], truth.shape[-1])
        around_psnr = psnr(from_photo, truth[around])
        figures.append((unseen_psnr.mean(), around_psnr.mean(), ssim(from_photo, truth[around]).mean(), around_psnr[0]))
        if len(rows) < 24:
            rows += [truth[around], views[[0, 1, 2, 3, 4, 5, 0, 0]], from_photo]
    score = Score(*torch.tensor(figures).mean(0).tolist())
    print(f"GS-LRM from true views, {UNSEEN} unseen views: {score.reconstruction_psnr:.2f} dB")
    print(
        f"Front view to head, turntable of {TURNTABLE}: {score.turntable_psnr:.2f} dB, SSIM {score.turntable_ssim:.3f}"
    )
    print(f"Front view to head, front: {score.front_psnr:.2f} dB ({len(figures)} heads, {steps} steps)")
    if picture:
        picture_grid(rows).save(picture)
    return score


def ssim(image: Tensor, reference: Tensor) -> Tensor:
    """(V,) structural similarity of (V, 3, H, W) images in [0, 1], 11-pixel Gaussian window of sigma 1.5."""
    x = torch.arange(11) - 5.0
    window = torch.exp(-(x**2) / (2 * 1.5**2))
    window = torch.outer(window, window)
    kernel = (window / window.sum()).expand(3, 1, -1, -1)

    def local_mean(x: Tensor) -> Tensor:
        return F.conv2d(x, kernel, groups=3)

    mean_a, mean_b = local_mean(image), local_mean(reference)
    var_a = local_mean(image**2) - mean_a**2
    var_b = local_mean(reference**2) - mean_b**2
    covariance = local_mean(image * reference) - mean_a * mean_b
    c1, c2 = 0.01**2, 0.03**2
    similarity = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    similarity = similarity / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))
    return similarity.mean((1, 2, 3))


def _cameras(seed: int) -> np.ndarray:
    return sample_cameras(np.random.default_rng([seed, 200]), UNSEEN)


def _views(gaussians: Gaussians, c2w: Tensor, size: int) -> Tensor:
    """(V, 3, size, size) renders."""
    large = RENDER_SCALE * size
    pictures = render(gaussians, c2w, intrinsics(large).float().expand(len(c2w), 4), large, large)
    return F.avg_pool2d(pictures.permute(0, 3, 1, 2), RENDER_SCALE).clamp(0, 1)

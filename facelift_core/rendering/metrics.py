"""Differentiable image similarity metrics."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def psnr(image: Tensor, reference: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in decibels, (…,), of each image in (…, 3, H, W), with values in [0, 1]."""
    return -10 * (image - reference).square().mean((-3, -2, -1)).clamp(min=1e-10).log10()


def ssim(image: Tensor, reference: Tensor, with_border: bool = False) -> Tensor:
    """Structural similarity with an 11-pixel Gaussian window of sigma 1.5.

    Args:
        image, reference: (V, 3, H, W) in [0, 1].
        with_border: use windows around all pixels, with images mirrored at the border, instead of only windows that lie
            inside the image. Of 64² pixels, only 71 % have such a window.

    Returns:
        (V,) mean similarity of each image.
    """
    if with_border:
        image, reference = (F.pad(x, (5, 5, 5, 5), mode="reflect") for x in (image, reference))
    x = torch.arange(11, device=image.device) - 5.0
    window = torch.exp(-(x**2) / (2 * 1.5**2))
    window = window / window.sum()
    rows, columns = window.view(1, 1, -1, 1).expand(3, 1, -1, -1), window.view(1, 1, 1, -1).expand(3, 1, -1, -1)

    def local_mean(x: Tensor) -> Tensor:
        return F.conv2d(F.conv2d(x, rows, groups=3), columns, groups=3)

    with torch.autocast(image.device.type, enabled=False):  # variances are differences of nearly equal numbers
        image, reference = image.float(), reference.float()
        mean_a, mean_b = local_mean(image), local_mean(reference)
        var_a = local_mean(image**2) - mean_a**2
        var_b = local_mean(reference**2) - mean_b**2
        covariance = local_mean(image * reference) - mean_a * mean_b
        c1, c2 = 0.01**2, 0.03**2
        similarity = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
        similarity = similarity / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))
        return similarity.mean((1, 2, 3))


def edge_distance(image: Tensor, reference: Tensor) -> Tensor:
    """Mean absolute difference of the image gradients of (N, 3, H, W) images, summed over three halved sizes."""
    error, total = image - reference, 0.0
    for scale in range(3):
        if scale:
            error = F.avg_pool2d(error, 2)
        total = total + sum(error.diff(dim=d).abs().mean() for d in (-1, -2))
    return total

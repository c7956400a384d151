"""Project Gaussians to 2D splats: the EWA projection of 3D Gaussian Splatting.

A Gaussian with covariance Σ, seen by a camera with rotation W, becomes a 2D Gaussian with covariance
J W Σ Wᵀ Jᵀ + dilation, where J is the Jacobian of the perspective projection at its center.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..gaussians.tensors import Gaussians
from .spherical_harmonics import view_colors

NEAR_PLANE = 0.2
"""Gaussians whose center is nearer than this (world units along the optical axis) are not rendered, as in 3DGS."""
DILATION = 0.3
"""Variance in px² added to the 2D covariance: the low-pass filter with which 3DGS files are trained and viewed."""
ALPHA_CUT = 1.0 / 255.0
"""A Gaussian does not contribute to pixels where its alpha is below this."""
JACOBIAN_MARGIN = 0.3
"""The Jacobian degenerates far off screen; it is evaluated at most this many half fields of view outside the image."""


@dataclass(frozen=True)
class Splats:
    """M visible 2D Gaussians, front to back; float64, in pixels, with the origin at the image's top left corner.

    Attributes:
        means: (M, 2) x, y; the center of the pixel in column i and row j is (i + .5, j + .5).
        whitening: (M, 3) l0, l1, l2 of the upper triangular L = [[l0, l1], [0, l2]], such that |L·(pixel − mean)|² is
            the squared Mahalanobis distance. Used instead of the inverse covariance, whose products cancel on thin
            splats.
        log_opacities: (M,) natural logarithm of the opacity.
        colors: (M, 3) display-referred sRGB for this camera.
        half_extents: (M, 2) distance in pixels from the mean beyond which alpha is below :data:`ALPHA_CUT`. Has no
            gradient.
    """

    means: Tensor
    whitening: Tensor
    log_opacities: Tensor
    colors: Tensor
    half_extents: Tensor


def rotation_matrices(quaternions: Tensor) -> Tensor:
    """Convert quaternions (N, 4) w, x, y, z of any norm to rotation matrices (N, 3, 3); zero gives the identity."""
    w, x, y, z = F.normalize(quaternions, dim=-1).unbind(-1)
    rows = [
        1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
        2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
        2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
    ]  # fmt: skip
    return torch.stack(rows, dim=-1).unflatten(-1, (3, 3))


def project(
    gaussians: Gaussians, c2w: Tensor, fxfycxcy: Tensor, width: int, height: int, dilation: float = DILATION
) -> Splats:
    """Project Gaussians to the splats of one camera, without those that cover no pixel center.

    Computed in float64, because in float32 the determinant of a long, thin splat is noise.

    Args:
        gaussians: N Gaussians.
        c2w: (4, 4) camera-to-world matrix, OpenCV convention.
        fxfycxcy: (4,) intrinsics in pixels.
        width, height: image size in pixels.
        dilation: variance in px² added to both axes.

    Returns:
        Splats, ordered front to back by the depth of their centers, differentiable in every Gaussian parameter.
    """
    w2c = torch.linalg.inv(c2w.double())
    fx, fy, cx, cy = fxfycxcy.double().tolist()

    depths = gaussians.positions.detach().double() @ w2c[2, :3] + w2c[2, 3]
    order = torch.argsort(depths, stable=True)
    order = order[int((depths <= NEAR_PLANE).sum()) :]  # NaN sorts last and is removed with the extents below
    visible = gaussians[order]

    positions = visible.positions.double()
    x, y, z = (positions @ w2c[:3, :3].T + w2c[:3, 3]).unbind(-1)
    means = torch.stack([fx * x / z + cx, fy * y / z + cy], dim=-1)

    # Rows of J·W. The image may be off center, so each side has its own limit.
    margin_x, margin_y = JACOBIAN_MARGIN * 0.5 * width / fx, JACOBIAN_MARGIN * 0.5 * height / fy
    slope_x = (x / z).clamp(-cx / fx - margin_x, (width - cx) / fx + margin_x)
    slope_y = (y / z).clamp(-cy / fy - margin_y, (height - cy) / fy + margin_y)
    row_x = (fx / z)[:, None] * (w2c[0, :3] - slope_x[:, None] * w2c[2, :3])
    row_y = (fy / z)[:, None] * (w2c[1, :3] - slope_y[:, None] * w2c[2, :3])

    # The same rows times the Gaussian's scaled axes: the square root of J W Σ Wᵀ Jᵀ.
    axes = rotation_matrices(visible.rotations.double()) * visible.log_scales.double().exp()[:, None, :]
    half_x = (row_x[:, :, None] * axes).sum(dim=1)
    half_y = (row_y[:, :, None] * axes).sum(dim=1)
    variance_x = (half_x * half_x).sum(dim=-1) + dilation
    covariance = (half_x * half_y).sum(dim=-1)
    variance_y = (half_y * half_y).sum(dim=-1) + dilation

    conditional = variance_x - covariance * covariance / variance_y  # variance of x given y
    whitening = torch.stack(
        [conditional.rsqrt(), -covariance / variance_y * conditional.rsqrt(), variance_y.rsqrt()], dim=-1
    )
    log_opacities = F.logsigmoid(visible.opacity_logits.double())
    directions = F.normalize(positions - c2w[:3, 3].double(), dim=-1)
    colors = view_colors(visible.sh.double(), directions)

    with torch.no_grad():
        radius = (2.0 * (log_opacities - math.log(ALPHA_CUT)).clamp(min=0.0)).sqrt()
        half_extents = radius[:, None] * torch.stack([variance_x, variance_y], dim=-1).sqrt()
        size = torch.tensor([width, height], dtype=torch.float64, device=means.device)
        inside = (means + half_extents > 0.5) & (means - half_extents < size - 0.5)
        drawn = inside.all(dim=-1) & (radius > 0.0) & torch.isfinite(whitening).all(dim=-1)
        drawn = drawn.nonzero().squeeze(-1)
    return Splats(*(field[drawn] for field in (means, whitening, log_opacities, colors, half_extents)))

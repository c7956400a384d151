"""Fast batched differentiable rendering for optimization: gsplat on CUDA, else PyTorch and C++ on the CPU.

Without gsplat, the EWA projection runs in PyTorch and the blending in C++. The equations are those of
:func:`facelift_core.rendering.render`, with other trade-offs: it renders many sets of Gaussians at once, blends in
float32, stops earlier, does not support spherical harmonics, and its backward pass is several times faster.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..compute.native import load
from . import gsplat_backend
from .projection import rotation_matrices

NEAR = 0.2
CULL_OPACITY = 0.01


@dataclass(frozen=True)
class GaussianBatch:
    """B sets of N Gaussians each.

    Attributes:
        positions: (B, N, 3) world units.
        colors: (B, N, 3) sRGB.
        log_scales: (B, N, 3) natural logarithm of the standard deviations.
        rotations: (B, N, 4) quaternions w, x, y, z, not necessarily normalized.
        opacity_logits: (B, N) opacity before the sigmoid.
    """

    positions: Tensor
    colors: Tensor
    log_scales: Tensor
    rotations: Tensor
    opacity_logits: Tensor


def splat(
    gaussians: GaussianBatch,
    c2w: Tensor,
    focal: float,
    size: int,
    background: Tensor,
    dilation: float = 0.1,
    supersample: int = 1,
) -> Tensor:
    """Render each set of Gaussians from its own cameras.

    Args:
        gaussians: B sets of Gaussians.
        c2w: (B, V, 4, 4) camera-to-world matrices, OpenCV convention.
        focal: focal length in pixels at `size`; the principal point is the image center.
        size: side of the square images in pixels.
        background: (B, 3) sRGB.
        dilation: variance in px² added to every footprint. The .3 of 3DGS would blur 64² images too much for training.
        supersample: render at this multiple of `size` and average, so that gaps between Gaussians remain visible.

    Returns:
        (B, V, 3, size, size) images, differentiable in every field of `gaussians`.
    """
    batch, views = c2w.shape[:2]
    large = size * supersample
    if c2w.device.type == "cuda" and gsplat_backend.rasterization():
        image = _by_gsplat(gaussians, c2w, focal * supersample, large, background, dilation)
    else:
        image = _by_blending(gaussians, c2w, focal * supersample, large, background, dilation)
    return F.avg_pool2d(image, supersample).view(batch, views, 3, size, size)


def _by_gsplat(
    gaussians: GaussianBatch, c2w: Tensor, focal: float, size: int, background: Tensor, dilation: float
) -> Tensor:
    """(B · V, 3, size, size)."""
    views = c2w.shape[1]
    camera = c2w.new_tensor([[focal, 0, size / 2], [0, focal, size / 2], [0, 0, 1]])
    image, _, _ = gsplat_backend.rasterization()(
        means=gaussians.positions,
        quats=F.normalize(gaussians.rotations, dim=-1),
        scales=gaussians.log_scales.exp(),
        opacities=gaussians.opacity_logits.sigmoid(),
        colors=gaussians.colors,
        viewmats=torch.linalg.inv(c2w),
        Ks=camera.expand(*c2w.shape[:2], 3, 3).contiguous(),
        width=size,
        height=size,
        near_plane=NEAR,
        eps2d=dilation,
        packed=False,
        backgrounds=background[:, None].expand(-1, views, -1).contiguous(),
    )
    return image.flatten(0, 1).permute(0, 3, 1, 2)


def _by_blending(
    gaussians: GaussianBatch, c2w: Tensor, focal: float, size: int, background: Tensor, dilation: float
) -> Tensor:
    """(B · V, 3, size, size)."""
    views = c2w.shape[1]
    footprints, depths, radii = _project(gaussians, c2w, focal, size, dilation)
    colors = gaussians.colors[:, None].expand(-1, views, -1, -1)
    image, transmittance = _Blend.apply(
        footprints.flatten(0, 1), colors.flatten(0, 1), depths.flatten(0, 1), radii.flatten(0, 1), size
    )
    image = image + transmittance[..., None] * background.repeat_interleave(views, 0)[:, None, None]
    return image.permute(0, 3, 1, 2)


def _project(
    gaussians: GaussianBatch, c2w: Tensor, focal: float, size: int, dilation: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Return footprints (B, V, N, 6) u, v, conic a, b, c, opacity; depths (B, V, N); radii (B, V, N) in pixels."""
    w2c = c2w[..., :3, :3].transpose(-1, -2)
    local = torch.einsum("bvij,bvnj->bvni", w2c, gaussians.positions[:, None] - c2w[..., None, :3, 3])
    x, y, depth = local.unbind(-1)
    z = depth.clamp(min=NEAR)
    limit = 1.3 * 0.5 * size / focal
    slope_x, slope_y = (x / z).clamp(-limit, limit), (y / z).clamp(-limit, limit)

    axes = rotation_matrices(gaussians.rotations) * gaussians.log_scales.exp()[..., None, :]
    # Rows of the projected axes: (f/z)·(row of W·R·S − slope · depth row), which avoids building J.
    in_camera = torch.einsum("bvij,bnjk->bvnik", w2c, axes)
    row_u = in_camera[..., 0, :] - slope_x[..., None] * in_camera[..., 2, :]
    row_v = in_camera[..., 1, :] - slope_y[..., None] * in_camera[..., 2, :]
    magnification = (focal / z) ** 2
    uu = magnification * (row_u * row_u).sum(-1) + dilation
    vv = magnification * (row_v * row_v).sum(-1) + dilation
    uv = magnification * (row_u * row_v).sum(-1)
    determinant = (uu * vv - uv * uv).clamp(min=1e-6)
    opacity = gaussians.opacity_logits.sigmoid()[:, None].expand_as(z)
    footprints = torch.stack(
        [
            focal * x / z + size / 2,
            focal * y / z + size / 2,
            vv / determinant,
            -uv / determinant,
            uu / determinant,
            opacity,
        ],
        dim=-1,
    )
    with torch.no_grad():
        sigmas = (2 * (255 * opacity).clamp(min=1).log()).sqrt()
        radii = sigmas * torch.maximum(uu, vv).sqrt()
        radii = torch.where((opacity > CULL_OPACITY) & (depth > NEAR), radii, 0)
    return footprints, depth.detach(), radii


class _Blend(torch.autograd.Function):
    """Front-to-back blending on the CPU; see native/splatter.cpp."""

    @staticmethod
    def forward(ctx, footprints, colors, depths, radii, size):
        # On a GPU, only this blending runs on the CPU; ten numbers per Gaussian and view are transferred.
        ctx.device, renders, count = depths.device, *depths.shape
        footprints, colors = footprints.float().cpu().contiguous(), colors.float().cpu().contiguous()
        radii, order = radii.float().cpu().contiguous(), depths.argsort(-1).int().cpu().contiguous()
        image = torch.empty(renders, size, size, 3)
        transmittance = torch.empty(renders, size, size)
        last = torch.empty(renders, size, size, dtype=torch.int32)
        load("splatter").splat_forward(
            renders, count, size, *map(_address, (footprints, colors, order, radii, image, transmittance, last))
        )
        ctx.save_for_backward(footprints, colors, order, radii, transmittance, last)
        return image.to(ctx.device), transmittance.to(ctx.device)

    @staticmethod
    def backward(ctx, image_grad, transmittance_grad):
        footprints, colors, order, radii, transmittance, last = ctx.saved_tensors
        renders, count = radii.shape
        footprint_grad, color_grad = torch.zeros_like(footprints), torch.zeros_like(colors)
        tensors = (
            footprints, colors, order, radii, transmittance, last,
            image_grad.cpu().contiguous(), transmittance_grad.cpu().contiguous(), footprint_grad, color_grad,
        )  # fmt: skip
        load("splatter").splat_backward(renders, count, transmittance.shape[-1], *map(_address, tensors))
        return footprint_grad.to(ctx.device), color_grad.to(ctx.device), None, None, None


def _address(tensor: Tensor) -> ctypes.c_void_p:
    """Return the address of a contiguous CPU tensor, which the caller must keep alive during the call."""
    return ctypes.c_void_p(tensor.data_ptr())

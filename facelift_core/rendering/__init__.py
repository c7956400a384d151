"""Render Gaussians: 3D Gaussian Splatting with EWA projection, as splat files are trained and viewed.

:mod:`.projection` projects Gaussians to 2D splats, and :mod:`.tiles` blends these in PyTorch on any device. On CUDA,
:mod:`.gsplat_backend` does both, if gsplat works. Colors are blended as stored, display-referred.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from PIL import ImageColor
from torch import Tensor

from ..errors import FaceLiftError
from ..gaussians.tensors import Gaussians
from . import gsplat_backend, tiles
from .projection import DILATION

__all__ = ["render", "render_rgba"]

MAX_SIDE = 16384


def render(
    gaussians: Gaussians,
    c2w: Tensor,
    fxfycxcy: Tensor,
    width: int,
    height: int,
    background: Sequence[float] | Tensor | str = (1.0, 1.0, 1.0),
    dilation: float = DILATION,
) -> Tensor:
    """Render images of `gaussians`, differentiable in all their parameters.

    Args:
        gaussians: N Gaussians, of any floating-point dtype and on any device.
        c2w: (V, 4, 4) or (4, 4) camera-to-world matrices, OpenCV convention (x right, y down, z forward).
        fxfycxcy: (V, 4) or (4,) intrinsics in pixels; (0, 0) is the outer corner of the top left pixel.
        width: image width in pixels.
        height: image height in pixels.
        background: background color, display-referred RGB, or a name such as “white” or “#ff8800”.
        dilation: variance in px² added to every splat; change it only to match a model trained with another value.

    Returns:
        (V, height, width, 3) float32 display-referred sRGB on the device of the Gaussians. Not clamped above, because
        splats may be brighter than white.

    Raises:
        FaceLiftError: the cameras, the size or the background are invalid.
    """
    rgba = render_rgba(gaussians, c2w, fxfycxcy, width, height, dilation)
    return rgba[..., :3] + (1.0 - rgba[..., 3:]) * _color(background).to(rgba.device)


def _color(background: Sequence[float] | Tensor | str) -> Tensor:
    """Return a background color as (3,) float32."""
    try:
        if isinstance(background, str):
            background = [channel / 255 for channel in ImageColor.getrgb(background)[:3]]
        color = torch.as_tensor(background, dtype=torch.float32)
    except (ValueError, TypeError, RuntimeError):
        raise FaceLiftError(f"The background must be three numbers (RGB) or a name, not {background!r}.") from None
    if color.shape != (3,):
        raise FaceLiftError(f"The background must be three numbers (RGB), not of shape {tuple(color.shape)}.")
    return color


def render_rgba(
    gaussians: Gaussians, c2w: Tensor, fxfycxcy: Tensor, width: int, height: int, dilation: float = DILATION
) -> Tensor:
    """Render as :func:`render`, but without a background.

    Returns:
        (V, height, width, 4) float32: premultiplied RGB, and alpha.
    """
    c2w, fxfycxcy = _cameras(c2w, fxfycxcy)
    if not (1 <= width <= MAX_SIDE and 1 <= height <= MAX_SIDE):
        raise FaceLiftError(
            f"Cannot render an image of {width} × {height} pixels; each side must be from 1 to {MAX_SIDE}."
        )
    device = gaussians.positions.device
    on_gsplat = device.type == "cuda" and gsplat_backend.rasterization() is not None
    draw = gsplat_backend.draw if on_gsplat else tiles.draw
    if device.type == "mps":
        gaussians = gaussians.to("cpu")  # MPS lacks float64, which the projection needs, and shares memory with the CPU
    pictures = [draw(gaussians, *camera, width, height, dilation) for camera in zip(c2w, fxfycxcy, strict=True)]
    return torch.stack(pictures).to(device)


def _cameras(c2w: Tensor, fxfycxcy: Tensor) -> tuple[Tensor, Tensor]:
    """Validate cameras and return them as (V, 4, 4) and (V, 4), float64 on the CPU."""
    c2w = torch.as_tensor(c2w).detach().to("cpu", torch.float64)
    fxfycxcy = torch.as_tensor(fxfycxcy).detach().to("cpu", torch.float64)
    matrices = c2w[None] if c2w.ndim == 2 else c2w
    if matrices.ndim != 3 or matrices.shape[1:] != (4, 4) or len(matrices) == 0:
        raise FaceLiftError(f"c2w must have shape (V, 4, 4) or (4, 4), not {tuple(c2w.shape)}.")
    if fxfycxcy.shape not in ((4,), (len(matrices), 4)):
        raise FaceLiftError(f"fxfycxcy must have shape (V, 4) or (4,), not {tuple(fxfycxcy.shape)}.")
    intrinsics = fxfycxcy.expand(len(matrices), 4)
    if not torch.isfinite(matrices).all() or not (matrices[:, :3, :3].det().abs() > 1e-8).all():
        raise FaceLiftError("c2w is not a camera pose: it contains NaN or infinity, or is not invertible.")
    if not torch.isfinite(intrinsics).all() or not (intrinsics[:, :2] > 0).all():
        raise FaceLiftError("fxfycxcy must be finite, with focal lengths above 0.")
    return matrices, intrinsics

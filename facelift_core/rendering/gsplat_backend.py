"""Render on CUDA with gsplat (1.5 or newer), if it is installed and its kernels compile.

Two details differ from :mod:`.tiles` and cannot be configured: gsplat limits alpha to .999 instead of .99, and it stops
just before, not just after, the transmittance of a pixel falls below 1e-4. Both change a channel by less than .01,
typically by less than .001.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import first_line
from ..gaussians.tensors import Gaussians
from .projection import NEAR_PLANE
from .spherical_harmonics import view_colors

logger = logging.getLogger(__name__)


@functools.cache
def rasterization() -> Callable | None:
    """Return gsplat's function ``rasterization``, or None (and log a warning once) if it does not work on this machine.

    gsplat compiles its kernels at first use, which takes minutes, needs the CUDA toolkit, and fails in many ways.
    Therefore one Gaussian is rendered here as a test; later errors are not caught.
    """
    try:
        from gsplat import rasterization as function

        one = torch.ones(1, device="cuda")
        function(
            means=torch.tensor([[0.0, 0.0, 1.0]], device="cuda"),
            quats=torch.tensor([[1.0, 0.0, 0.0, 0.0]], device="cuda"),
            scales=one.expand(1, 3).contiguous(),
            opacities=one,
            colors=one.expand(1, 3).contiguous(),
            viewmats=torch.eye(4, device="cuda")[None],
            Ks=torch.tensor([[[8.0, 0.0, 8.0], [0.0, 8.0, 8.0], [0.0, 0.0, 1.0]]], device="cuda"),
            width=16,
            height=16,
        )
        torch.cuda.synchronize()
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # compilers, linkers, drivers and Python versions all fail differently
        reason = first_line(error)
        logger.warning("gsplat does not work here (%s); rendering with PyTorch instead, which is slower.", reason)
        return None
    return function


def draw(gaussians: Gaussians, c2w: Tensor, fxfycxcy: Tensor, width: int, height: int, dilation: float) -> Tensor:
    """Render one image on CUDA; arguments and result as in :func:`facelift_core.rendering.tiles.draw`."""
    device = gaussians.positions.device
    fx, fy, cx, cy = fxfycxcy.tolist()
    positions = gaussians.positions.float()
    directions = F.normalize(positions - c2w[:3, 3].to(device, torch.float32), dim=-1)
    colors, alphas, _ = rasterization()(
        means=positions,
        quats=F.normalize(gaussians.rotations.float(), dim=-1),
        scales=gaussians.scales.float(),
        opacities=gaussians.opacities.float(),
        colors=view_colors(gaussians.sh.float(), directions),
        viewmats=torch.linalg.inv(c2w.double()).to(device, torch.float32)[None],
        Ks=torch.tensor([[[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]]], device=device),
        width=width,
        height=height,
        near_plane=NEAR_PLANE,
        eps2d=dilation,
        packed=False,
        rasterize_mode="classic",
    )
    return torch.cat([colors, alphas], dim=-1)[0]

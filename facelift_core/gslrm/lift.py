"""Run GS-LRM on six views and report progress."""

from __future__ import annotations

import torch
from torch import Tensor

from ..gaussians.tensors import Gaussians
from ..progress import Monitor
from ..rendering.cameras import intrinsics, six_views
from .network import GSLRM


@torch.no_grad()
def lift(gslrm: GSLRM, views: Tensor, monitor: Monitor) -> Gaussians:
    """Return the Gaussians of six views from the fixed cameras, on the device of `gslrm`.

    Args:
        views: (6, 3, H, W) in [0, 1].
        monitor: called before each transformer layer.
    """
    layers = gslrm.transformer_layers
    hooks = [
        layer.register_forward_pre_hook(lambda *_, n=n: monitor(n / len(layers), f"Layer {n + 1} of {len(layers)}"))
        for n, layer in enumerate(layers)
    ]
    try:
        height, width = views.shape[-2:]
        cameras = intrinsics(width, height).expand(1, len(views), 4), six_views().unsqueeze(0)
        return gslrm(views.unsqueeze(0), *cameras)[0]
    finally:
        for hook in hooks:
            hook.remove()

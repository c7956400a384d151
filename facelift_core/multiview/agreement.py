"""Views that agree: the last estimates of the six views pass through the 3D head that they stand for.

The diffusion draws every view for itself, with only the front in sight, so that no head has all six. Here the clean
views that it expects are lifted to Gaussians, and renders of these take the place of all but the front.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from ..gaussians.tensors import Gaussians
from ..presets import Sampling
from ..progress import Monitor
from ..rendering import render
from ..rendering.cameras import intrinsics, six_views

Agree = Callable[[Tensor, Monitor], Tensor]
"""(6, 3, H, W) views in [0, 1] on the CPU to such that agree; those that it leaves as they are stay to the bit."""
STEPS_ON_CPU = 1
"""Of a large model: one lift takes as long there as ten steps of the UNet."""
RENDER_SIDE = 256
"""Pixels at least, averaged to a smaller view's: at its own few, the renderer's fixed low-pass takes detail away."""
MIN_OPACITY = 0.01
"""Fainter Gaussians, half of them, are not drawn: without them the views are the same to 60 dB."""


@dataclass(frozen=True)
class Agreement:
    """An :data:`Agree`.

    Attributes:
        lift: six views to their Gaussians, on the device that is to draw them.
        portrait: (3, H, W) in [0, 1], what the front shows in truth; lifted in its place. None: the front as drawn.
    """

    lift: Callable[[Tensor, Monitor], Gaussians]
    portrait: Tensor | None = None

    @torch.no_grad()
    def __call__(self, views: Tensor, monitor: Monitor) -> Tensor:
        gaussians = self.lift(self.with_portrait(views), monitor)
        gaussians = gaussians[gaussians.opacities > MIN_OPACITY]
        height, width = views.shape[-2:]
        scale = max(1, RENDER_SIDE // width)
        camera = intrinsics(scale * width, scale * height)
        renders = []
        for c2w in six_views()[1:]:
            monitor.check()
            picture = render(gaussians, c2w, camera, scale * width, scale * height).permute(0, 3, 1, 2)
            renders.append(F.avg_pool2d(picture, scale).clamp(0, 1).to(views))
        return torch.cat([views[:1], *renders])

    def with_portrait(self, views: Tensor) -> Tensor:
        """`views` with the portrait for a front, if there is one."""
        return views if self.portrait is None else torch.cat([self.portrait[None].to(views), views[1:]])


def affordable(how: Sampling, large_on_cpu: bool) -> Sampling:
    """`how` with no more agreeing steps than a large model on a CPU can take."""
    return replace(how, agreeing_steps=min(how.agreeing_steps, STEPS_ON_CPU)) if large_on_cpu else how

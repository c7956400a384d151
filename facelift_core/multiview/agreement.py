"""Make the six views consistent: render them again from the 3D head that they describe.

The diffusion model draws each view with only the front view as context, so the six views contradict each other. In the
last steps, its current estimate of the clean views is lifted to Gaussians, and all views except the front are replaced
by renders of these.
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
"""Maps views, (6, 3, H, W) in [0, 1] on the CPU, to consistent views. Views that it does not change stay bit-exact."""
STEPS_ON_CPU = 1
"""Maximum agreeing steps of a large model on a CPU, where one lift takes as long as ten UNet steps."""
RENDER_SIDE = 256
"""Minimum render size in pixels; smaller views are averaged down from it, because the renderer's low-pass filter has a
fixed size in pixels and would remove their detail."""
MIN_OPACITY = 0.01
"""Gaussians below this opacity, about half of them, are skipped; the views stay the same to 60 dB."""


@dataclass(frozen=True)
class Agreement:
    """The :data:`Agree` function of a model.

    Attributes:
        lift: maps six views to Gaussians, on the device that renders them.
        portrait: (3, H, W) in [0, 1], lifted in place of the front view; None keeps the front view.
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
        """Return `views` with the portrait, if any, in place of the front view."""
        return views if self.portrait is None else torch.cat([self.portrait[None].to(views), views[1:]])


def affordable(how: Sampling, large_on_cpu: bool) -> Sampling:
    """Return `how` with at most :data:`STEPS_ON_CPU` agreeing steps for a large model on a CPU."""
    return replace(how, agreeing_steps=min(how.agreeing_steps, STEPS_ON_CPU)) if large_on_cpu else how

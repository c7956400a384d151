"""Views that agree: the last estimates of the six views pass through the 3D head that they stand for.

The diffusion draws every view for itself, with only the front in sight, so that no head has all six. Here the clean
views that it expects are lifted to Gaussians, and renders of these take the place of all but the front.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..cameras import intrinsics, six_views
from ..gaussians import Gaussians
from ..presets import Sampling
from ..progress import Monitor
from ..rasterizer import render

Agree = Callable[[Tensor, Monitor], Tensor]
"""(6, 3, H, W) views in [0, 1] on the CPU to such that agree; those that it leaves as they are stay to the bit."""
STEPS_ON_CPU = 1
"""Of a large model: one lift takes as long there as ten steps of the UNet."""


@dataclass(frozen=True)
class Agreement:
    """An :data:`Agree`.

    Attributes:
        lift: six views to their Gaussians, on the device that is to draw them.
    """

    lift: Callable[[Tensor, Monitor], Gaussians]

    @torch.no_grad()
    def __call__(self, views: Tensor, monitor: Monitor) -> Tensor:
        height, width = views.shape[-2:]
        gaussians = self.lift(views, monitor)
        renders = []
        for camera in six_views()[1:]:
            monitor.check()
            renders.append(render(gaussians, camera, intrinsics(width, height), width, height)[0])
        return torch.cat([views[:1], torch.stack(renders).permute(0, 3, 1, 2).clamp(0, 1).to(views)])


def affordable(how: Sampling, large_on_cpu: bool) -> Sampling:
    """`how` with no more agreeing steps than a large model on a CPU can take."""
    return replace(how, agreeing_steps=min(how.agreeing_steps, STEPS_ON_CPU)) if large_on_cpu else how

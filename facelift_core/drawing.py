"""Draw the six views of one or several heads: the second stage of :mod:`facelift_core.pipeline`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from .align import AlignedPortrait
from .compute import memory_plan
from .compute.device import free_memory
from .gaussians.tensors import Gaussians
from .gslrm.lift import lift
from .multiview.agreement import Agreement
from .multiview.compiling import is_compiled
from .presets import Sampling, check_settings
from .progress import Cancel, Monitor, ProgressCallback

if TYPE_CHECKING:
    from .pipeline import FaceLift


def drawing(
    model: FaceLift,
    portraits: Sequence[AlignedPortrait],
    how: Sampling,
    guidance_scale: float | None,
    seed: int,
    likeness: str,
    monitor: Monitor,
) -> Callable[[], list[Tensor]]:
    """Return a function that draws the views of each portrait. It may be called again if memory runs out.

    Arguments are those of :meth:`.pipeline.FaceLift.reconstruct`. With a `likeness`, the views are consistent, and the
    front is the portrait.
    """
    images = [_to_size_of_views(model, portrait.image) for portrait in portraits]
    agrees = [agreement(model, image) for image in images] if likeness != "off" else None

    def draw() -> list[Tensor]:
        views = model.multiview.several(
            images, None, guidance_scale, seed, monitor.forward, monitor.cancelled, how, agrees
        )
        return views if agrees is None else [a.with_portrait(v) for a, v in zip(agrees, views, strict=True)]

    return draw


def draw_together(
    model: FaceLift,
    portraits: Sequence[AlignedPortrait],
    preset: str | Sampling = "quality",
    steps: int | None = None,
    guidance_scale: float | None = None,
    seed: int = 4,
    likeness: str = "photo",
    progress: ProgressCallback | None = None,
    cancelled: Cancel | None = None,
) -> list[Tensor]:
    """Draw the six views of several heads in one batch, for :meth:`.pipeline.FaceLift.reconstruct_from_views`.

    Arguments and errors are those of :meth:`.pipeline.FaceLift.reconstruct`. The views equal those of heads that are
    made one by one, except for the rounding of a larger batch.
    """
    check_settings(preset, steps, guidance_scale, seed)
    how = model.sampling_here(preset, steps, likeness)
    monitor = Monitor("views", progress, cancelled)
    return drawing(model, portraits, how, guidance_scale, seed, likeness, monitor)()


def heads_at_once(model: FaceLift) -> int:
    """Return how many heads to draw together now: on a GPU by its free memory; 1 on a CPU, where it is no faster."""
    if model.device.type != "cuda" or is_compiled(model.multiview.unet):
        return 1
    return memory_plan.heads_at_once(free_memory(model.device), model.offload.needs, model.offload.plan)


def agreement(model: FaceLift, portrait: Image.Image) -> Agreement:
    """Return the function that makes the views of `portrait` consistent. `portrait` has the size of the views."""

    def lift_there(views: Tensor, monitor: Monitor) -> Gaussians:
        with model.offload.using("gslrm"):
            return lift(model.gslrm, views, monitor)

    pixels = torch.from_numpy(np.array(portrait.convert("RGB"))).permute(2, 0, 1) / 255
    return Agreement(lift_there, pixels)


def _to_size_of_views(model: FaceLift, portrait: Image.Image) -> Image.Image:
    size = (model.multiview.image_size,) * 2
    return portrait if portrait.size == size else portrait.resize(size, Image.Resampling.LANCZOS)

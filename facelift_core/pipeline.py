"""One portrait photo to a 3D head: align → six views → Gaussians → filter."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from . import likeness as likenesses
from .align import AlignedPortrait, align_portrait
from .arithmetic import estimate, measured_rate
from .cameras import VIEW_NAMES, intrinsics, six_views
from .checkpoints import find_checkpoint
from .device import NotEnoughMemory, free_memory, nothing_left_behind, select_device
from .errors import FaceLiftError
from .filters import filter_gaussians
from .gaussians import Gaussians
from .gslrm import GSLRM
from .multiview import MultiViewDiffusion
from .multiview.diffusion import check_settings
from .plans import Plan, choose, step_down
from .presets import Sampling, sampling
from .progress import Cancel, Monitor, Progress
from .residence import Residence

T = TypeVar("T")
SPANS = {"align": (0.0, 0.05), "views": (0.05, 0.85), "gaussians": (0.85, 0.98), "filter": (0.98, 1.0)}
"""The part of a run's progress that each stage is; about the time it takes on a GPU."""


@dataclass(frozen=True)
class Result:
    """What a run made, everything on the CPU.

    Attributes:
        portrait: RGB, aligned (spec §2), on white; None if the run began with views.
        views: (6, 3, H, W) float32 in [0, 1], in the order of :data:`~facelift_core.cameras.VIEW_NAMES`.
        gaussians: the head, filtered (spec §6).
        raw_gaussians: as GS-LRM made them.
        timings: seconds per stage.
        notes: sentences for people on how the photo was treated, such as which face was taken.
    """

    portrait: Image.Image | None
    views: Tensor
    gaussians: Gaussians
    raw_gaussians: Gaussians
    timings: dict[str, float]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class FaceLift:
    """Both models, loaded; each can be used on its own.

    Attributes:
        multiview: portrait to six views (spec §3).
        gslrm: six views to Gaussians (spec §4).
    """

    multiview: MultiViewDiffusion
    gslrm: GSLRM

    @property
    def device(self) -> torch.device:
        return self.multiview.device

    @classmethod
    def from_pretrained(
        cls,
        weights: str | Path = "mini",
        device: str | torch.device = "auto",
        dtype: torch.dtype | None = None,
        plan: Plan | None = None,
    ) -> FaceLift:
        """Load "mini", which comes with this package, "released", or a folder of the released layout (spec §1).

        Args:
            device: "auto", "cuda", "mps" or "cpu".
            dtype: number format of the large weights; by default see :func:`~facelift_core.device.select_dtype`.
            plan: how to spend memory, see :mod:`.plans`; None: the fastest that fits what is free.

        Raises:
            FaceLiftError: weights missing, incomplete, damaged or not of this model; device not available.
            NotEnoughMemory: not even a part of the weights fits.
        """
        device = select_device(device)
        checkpoint = find_checkpoint(weights)
        with nothing_left_behind():
            multiview = MultiViewDiffusion.from_pretrained(checkpoint.pipeline, device, dtype, settle=False)
            gslrm = GSLRM.from_checkpoint(
                checkpoint.gslrm, checkpoint.head_dim, checkpoint.sh_degree, "cpu", multiview.dtype
            )
            model = cls(multiview, gslrm)
            residence = model.residence
            residence.add("gslrm", gslrm, gslrm.work_bytes(len(VIEW_NAMES), multiview.image_size))
            plan = plan or choose(free_memory(device), residence.needs)
        while True:
            try:
                with nothing_left_behind():
                    residence.settle(plan)
                return model
            except NotEnoughMemory:
                plan = step_down(plan)
                if plan is None:
                    raise

    @property
    def residence(self) -> Residence:
        """Where the weights lie, and the plan in force."""
        return self.multiview.residence

    def estimate(
        self, preset: str | Sampling = "quality", steps: int | None = None, guidance_scale: float | None = None
    ) -> float:
        """Seconds that a photo will take here, measured on a small piece of the work; graphics cards beat it.

        Raises:
            FaceLiftError: unknown preset, or steps out of range.
        """
        how = sampling(preset, steps)
        scale = self.multiview.guidance_scale if guidance_scale is None else guidance_scale
        with nothing_left_behind():
            return estimate(self.multiview, self.gslrm, how, scale, measured_rate(self.multiview))

    def reconstruct(
        self,
        photo: str | Path | Image.Image | np.ndarray | AlignedPortrait,
        steps: int | None = None,
        guidance_scale: float | None = None,
        seed: int = 4,
        crop: bool = True,
        matting: str = "auto",
        progress: Progress | None = None,
        cancelled: Cancel | None = None,
        views_done: Callable[[Tensor], None] | None = None,
        preset: str | Sampling = "quality",
        likeness: str = "photo",
    ) -> Result:
        """Reconstruct the head of the largest face in a photo.

        Args:
            photo: file, PIL image, (H, W), (H, W, 3) or (H, W, 4) uint8, or a portrait that has been aligned already.
            steps: of the diffusion; None: as many as the preset has.
            guidance_scale: how closely the views follow the portrait; 1 is without guidance; None: the checkpoint's.
            seed: of the diffusion's random numbers.
            crop: scale and place the face as the models expect; False: the photo is such a portrait already.
            matting: how to remove the background, see :func:`~facelift_core.align.align_portrait`.
            progress: called at least once per diffusion step with stage, fraction of the whole run, message.
            cancelled: looked at as often.
            views_done: called with the result's ``views`` as soon as they exist, before the head does.
            preset: "quality", "balanced", "fast", or how to sample, see :mod:`~facelift_core.presets`.
            likeness: one of :data:`~facelift_core.likeness.LIKENESS`.

        Raises:
            FaceLiftError: the photo cannot be read or shows no face, settings out of range, out of memory, or nothing
                is left of the head.
            Cancelled: `cancelled` answered true.
        """
        check_settings(preset, steps, guidance_scale, seed)
        likenesses.check(likeness)
        with nothing_left_behind():
            run = _Run(progress, cancelled)
            with run.stage("align", "Aligning the portrait"):
                if isinstance(photo, AlignedPortrait):
                    aligned = photo
                else:
                    aligned = align_portrait(_as_image(photo), crop=crop, matting=matting)
            with run.stage("views", "Six views") as monitor:
                portrait = self._to_size_of_views(aligned.image)
                views = self._sparingly(
                    lambda: self.multiview(portrait, steps, guidance_scale, seed, monitor.forward, cancelled, preset),
                    monitor,
                )
            if views_done is not None:
                views_done(views)
            raw, gaussians = self._lift(views, run)
            return Result(aligned.image, views, gaussians, raw, run.timings, tuple(aligned.notes))

    def reconstruct_from_views(
        self, views: Tensor, progress: Progress | None = None, cancelled: Cancel | None = None
    ) -> Result:
        """Reconstruct a head from its six views, made elsewhere or edited.

        Args:
            views: (6, 3, H, W) in [0, 1] from the cameras of spec §5, on white.

        Raises:
            FaceLiftError: wrong shape, or as :meth:`reconstruct`.
            Cancelled: `cancelled` answered true.
        """
        if views.ndim != 4 or views.shape[:2] != (len(VIEW_NAMES), 3) or not views.is_floating_point():
            raise FaceLiftError(
                f"Views should be floating-point numbers of shape (6, 3, H, W), not {views.dtype} {tuple(views.shape)}."
            )
        with nothing_left_behind():
            run = _Run(progress, cancelled)
            raw, gaussians = self._lift(views, run)
            return Result(None, views.to("cpu", torch.float32), gaussians, raw, run.timings)

    def _lift(self, views: Tensor, run: _Run) -> tuple[Gaussians, Gaussians]:
        with run.stage("gaussians", "Lifting the views to 3D") as monitor:
            raw = self._sparingly(lambda: self._lift_at_once(views, monitor), monitor)
        with run.stage("filter", "Removing stray Gaussians"):
            gaussians = filter_gaussians(raw)
        if not len(gaussians):
            raise FaceLiftError("Nothing is left of this head after filtering; try another photo, seed or weights.")
        return raw, gaussians

    def _lift_at_once(self, views: Tensor, monitor: Monitor) -> Gaussians:
        with nothing_left_behind(), self.residence.using("gslrm"):
            return lift(self.gslrm, views, monitor)

    def _sparingly(self, work: Callable[[], T], monitor: Monitor) -> T:
        """The result of `work`, with plans that take less and less while memory does not suffice."""
        while True:
            try:
                return work()
            except NotEnoughMemory:
                if not self.residence.step_down():
                    raise
                monitor(0.0, f"Not enough memory; going on with {self.residence.plan.name}")

    def _to_size_of_views(self, portrait: Image.Image) -> Image.Image:
        size = (self.multiview.image_size,) * 2
        return portrait if portrait.size == size else portrait.resize(size, Image.Resampling.LANCZOS)


@torch.no_grad()
def lift(gslrm: GSLRM, views: Tensor, monitor: Monitor) -> Gaussians:
    """The Gaussians of six views from the six fixed cameras, on the CPU; `monitor` is called before each layer."""
    layers = gslrm.transformer_layers
    hooks = [
        layer.register_forward_pre_hook(lambda *_, n=n: monitor(n / len(layers), f"Layer {n + 1} of {len(layers)}"))
        for n, layer in enumerate(layers)
    ]
    try:
        height, width = views.shape[-2:]
        cameras = intrinsics(width, height).expand(1, len(views), 4), six_views().unsqueeze(0)
        return gslrm(views.unsqueeze(0), *cameras)[0].to("cpu")
    finally:
        for hook in hooks:
            hook.remove()


@dataclass(frozen=True)
class _Run:
    """Times the stages of one run and reports them."""

    progress: Progress | None
    cancelled: Cancel | None
    timings: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str, message: str) -> Iterator[Monitor]:
        monitor = Monitor(name, self.progress, self.cancelled, *SPANS[name])
        monitor(0.0, message)
        start = time.perf_counter()
        yield monitor
        self.timings[name] = time.perf_counter() - start
        monitor(1.0, message)


def _as_image(photo: str | Path | Image.Image | np.ndarray) -> str | Path | Image.Image:
    if not isinstance(photo, np.ndarray):
        return photo
    if photo.dtype != np.uint8 or not (photo.ndim == 2 or (photo.ndim == 3 and photo.shape[2] in (3, 4))):
        raise FaceLiftError(
            f"A photo given as an array should be uint8 of shape (H, W), (H, W, 3) or (H, W, 4), not {photo.dtype} "
            f"{photo.shape}."
        )
    if 0 in photo.shape:
        raise FaceLiftError("The photo is empty.")
    return Image.fromarray(photo)

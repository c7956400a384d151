"""One portrait photo to a 3D head: align → six views → Gaussians → filter → likeness."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from . import likeness as likenesses
from .align import AlignedPortrait, align_portrait
from .compute.device import LARGE, NotEnoughMemory, free_memory, nothing_left_behind, select_device
from .compute.memory_plan import MemoryPlan, choose, step_down
from .compute.offload import WeightOffload
from .compute.stages import Stages
from .compute.time_estimate import measured_rate, stage_seconds
from .drawing import drawing
from .errors import FaceLiftError
from .gaussians.filters import filter_gaussians
from .gaussians.tensors import Gaussians
from .gslrm import GSLRM
from .gslrm.lift import lift
from .likeness.front import with_photo_front
from .likeness.refine import refined
from .multiview import MultiViewDiffusion
from .multiview.agreement import affordable
from .multiview.when_to_compile import compile_if_it_pays, learn
from .photos import as_image
from .presets import Sampling, check_settings, sampling
from .progress import Cancel, Monitor, ProgressCallback
from .rendering.cameras import VIEW_NAMES
from .result import Result
from .weights.layout import find_checkpoint
from .weights.named import find_weights

T = TypeVar("T")
TOO_LITTLE_MEMORY_TO_REFINE = (
    "There was not enough memory to fit the head to the photo; it is as with the likeness Photo."
)


@dataclass(frozen=True)
class FaceLift:
    """Both models, loaded. Each can also be used on its own.

    Attributes:
        multiview: portrait to six views (docs/model.md, 3).
        gslrm: six views to Gaussians (docs/model.md, 4).
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
        plan: MemoryPlan | None = None,
    ) -> FaceLift:
        """Load the models.

        Args:
            weights: "mini" (built in), "released", or a folder in the released layout (docs/model.md, 1).
            device: "auto", "cuda", "mps" or "cpu".
            dtype: dtype of the large weights; None uses :func:`.compute.device.select_dtype`.
            plan: memory plan, see :mod:`.compute.memory_plan`; None chooses the fastest one that fits into free memory.

        Raises:
            FaceLiftError: the weights are missing, damaged or of another model, or the device is not available.
            NotEnoughMemory: the weights do not fit, not even one network at a time.
        """
        device = select_device(device)
        checkpoint = find_checkpoint(find_weights(weights))
        with nothing_left_behind():
            multiview = MultiViewDiffusion.from_pretrained(checkpoint.pipeline, device, dtype, settle=False)
            gslrm = GSLRM.from_checkpoint(
                checkpoint.gslrm, checkpoint.head_dim, checkpoint.sh_degree, "cpu", multiview.dtype
            )
            model = cls(multiview, gslrm)
            offload = model.offload
            offload.add("gslrm", gslrm, gslrm.work_bytes(len(VIEW_NAMES), multiview.image_size))
            plan = plan or choose(free_memory(device), offload.needs)
        while True:
            try:
                with nothing_left_behind():
                    offload.settle(plan)
                return model
            except NotEnoughMemory:
                plan = step_down(plan)
                if plan is None:
                    raise

    @property
    def offload(self) -> WeightOffload:
        """The weight offloading of both models, with the current memory plan."""
        return self.multiview.offload

    def estimate(
        self,
        preset: str | Sampling = "quality",
        steps: int | None = None,
        guidance_scale: float | None = None,
        likeness: str = "photo",
    ) -> float:
        """Estimate how many seconds :meth:`reconstruct` takes on this machine.

        Measures the speed on a small part of the work. On a GPU the estimate is too high.

        Raises:
            FaceLiftError: the preset or likeness is unknown, or `steps` is out of range.
        """
        how = self.sampling_here(preset, steps, likeness)
        with nothing_left_behind():
            return sum(self.stage_seconds(how, guidance_scale, likeness, measured_rate(self.multiview)).values())

    def stage_seconds(
        self, how: Sampling | None, guidance_scale: float | None, likeness: str, rate: float | None = None
    ) -> dict[str, float]:
        """Estimate the seconds of each stage, see :func:`.compute.time_estimate.stage_seconds`."""
        scale = self.multiview.guidance_scale if guidance_scale is None else guidance_scale
        return stage_seconds(self.multiview, self.gslrm, how, scale, likeness, rate)

    def reconstruct(
        self,
        photo: str | Path | Image.Image | np.ndarray | AlignedPortrait,
        steps: int | None = None,
        guidance_scale: float | None = None,
        seed: int = 4,
        crop: bool = True,
        matting: str = "auto",
        progress: ProgressCallback | None = None,
        cancelled: Cancel | None = None,
        views_done: Callable[[Tensor], None] | None = None,
        preset: str | Sampling = "quality",
        likeness: str = "photo",
        keep_raw: bool = True,
        heads_to_come: int | None = None,
    ) -> Result:
        """Reconstruct the head of the largest face in a photo.

        Args:
            photo: path, PIL image, uint8 array (H, W), (H, W, 3) or (H, W, 4), or a portrait that is already aligned.
            steps: number of diffusion steps; None uses the preset's.
            guidance_scale: how closely the views follow the portrait; 1 turns guidance off; None uses the checkpoint's.
            seed: seed of the diffusion's random numbers.
            crop: scale and position the face as the models expect; False if the photo already is such a portrait.
            matting: how to remove the background, see :func:`~facelift_core.align.align_portrait`.
            progress: called at least once per diffusion step with the stage, the fraction of the run, and a message.
            cancelled: polled equally often; returns true to stop the run.
            views_done: called with the result's ``views`` as soon as they exist, before the head does.
            preset: "quality", "balanced", "fast", or custom settings, see :mod:`~facelift_core.presets`.
            likeness: "off": the published method; "photo": consistent views, and a front made of the photo's pixels;
                "refined": the same, then fitted to the photo (up to a minute on a CPU); :mod:`~facelift_core.likeness`.
            keep_raw: also return the Gaussians before filtering: 90 MB at full size, copied from the GPU.
            heads_to_come: number of heads that will be made, with this one; None if unknown. If it saves time, large
                networks are compiled for the GPU first.

        Raises:
            FaceLiftError: the photo cannot be read or shows no face, a setting is out of range, memory ran out, or no
                Gaussians are left after filtering.
            Cancelled: `cancelled` returned true.
        """
        check_settings(preset, steps, guidance_scale, seed)
        how = self.sampling_here(preset, steps, likeness)
        with nothing_left_behind():
            run = self._run(how, guidance_scale, likeness, progress, cancelled)
            with run.stage("align", "Aligning the portrait"):
                aligned = _as_portrait(photo, crop, matting, likeness)
            before = run.monitor("views")
            self._sparingly(
                lambda: compile_if_it_pays(self.multiview, how, guidance_scale, heads_to_come, before), before
            )
            with run.stage("views", "Six views") as monitor:
                draw = drawing(self, [aligned], how, guidance_scale, seed, likeness, monitor)
                (views,) = self._sparingly(draw, monitor)
            learn(self.multiview, how, guidance_scale, run.timings["views"])
            if views_done is not None:
                views_done(views)
            raw, filtered = self._lift(views, run, keep_raw)
            gaussians, likeness, notes = self._with_likeness(filtered, aligned, likeness, how, run)
            return Result(aligned.image, views, gaussians, raw, run.timings, (*aligned.notes, *notes), likeness)

    def reconstruct_from_views(
        self,
        views: Tensor,
        progress: ProgressCallback | None = None,
        cancelled: Cancel | None = None,
        portrait: str | Path | Image.Image | np.ndarray | AlignedPortrait | None = None,
        likeness: str = "photo",
        preset: str | Sampling = "quality",
        keep_raw: bool = True,
    ) -> Result:
        """Reconstruct a head from six given views, for example edited ones.

        Args:
            views: (6, 3, H, W) in [0, 1], on white, from the cameras of docs/model.md, 5.
            progress: as for :meth:`reconstruct`.
            cancelled: as for :meth:`reconstruct`.
            portrait: the photo of the same person, as for :meth:`reconstruct`; without it, `likeness` is "off".
            likeness: as for :meth:`reconstruct`; the views are not changed.
            preset: limits the number of Gaussians of a front made from the photo.
            keep_raw: as for :meth:`reconstruct`.

        Raises:
            FaceLiftError: `views` has the wrong shape, or as for :meth:`reconstruct`.
            Cancelled: `cancelled` returned true.
        """
        if views.ndim != 4 or views.shape[:2] != (len(VIEW_NAMES), 3) or not views.is_floating_point():
            raise FaceLiftError(
                f"Views must be floating-point numbers of shape (6, 3, H, W), not {views.dtype} {tuple(views.shape)}."
            )
        likeness = "off" if portrait is None else likeness
        how = self.sampling_here(preset, None, likeness)
        with nothing_left_behind():
            run = self._run(None, None, likeness, progress, cancelled)
            aligned = None
            if portrait is not None:
                with run.stage("align", "Aligning the portrait"):
                    aligned = _as_portrait(portrait, True, "auto", likeness)
            raw, filtered = self._lift(views, run, keep_raw)
            gaussians, likeness, notes = self._with_likeness(filtered, aligned, likeness, how, run)
            image, notes = (aligned.image, (*aligned.notes, *notes)) if aligned else (None, ())
            return Result(image, views.to("cpu", torch.float32), gaussians, raw, run.timings, notes, likeness)

    def _lift(self, views: Tensor, run: Stages, keep_raw: bool) -> tuple[Gaussians | None, Gaussians]:
        """Return all Gaussians (None unless `keep_raw`) and the filtered ones, on the CPU."""
        with run.stage("gaussians", "Lifting the views to 3D") as monitor:
            raw = self._sparingly(lambda: self._lift_at_once(views, monitor), monitor)
        with run.stage("filter", "Removing stray Gaussians"):
            # Filter on the device: only a third of 1.5 million Gaussians has to be copied to the CPU.
            gaussians = filter_gaussians(raw).to("cpu")
            raw = raw.to("cpu") if keep_raw else None
        if not len(gaussians):
            raise FaceLiftError("Nothing is left of this head after filtering; try another photo, seed or weights.")
        return raw, gaussians

    def _lift_at_once(self, views: Tensor, monitor: Monitor) -> Gaussians:
        with nothing_left_behind(), self.offload.using("gslrm"):
            return lift(self.gslrm, views, monitor)

    def _with_likeness(
        self, head: Gaussians, portrait: AlignedPortrait | None, likeness: str, how: Sampling, run: Stages
    ) -> tuple[Gaussians, str, tuple[str, ...]]:
        """Apply `likeness` to `head`. Return the new head, the likeness that was applied, and notes for the user."""
        if likeness == "off" or portrait is None:
            return head, "off", ()
        with run.stage("skin", "The front from the photo") as monitor:
            front = with_photo_front(head, portrait, how.max_gaussians, monitor)
        if likeness == "photo":
            return front.gaussians, likeness, front.notes
        # The renderer does not run on MPS.
        devices = [self.device, torch.device("cpu")] if self.device.type == "cuda" else [torch.device("cpu")]
        with run.stage("refine", "Fitting the head to the photo") as monitor:
            for device in devices:
                try:
                    with nothing_left_behind():
                        fitted = refined(front.gaussians.to(device), portrait, monitor).to("cpu")
                    return fitted, likeness, front.notes
                except NotEnoughMemory:
                    monitor(0.0, "Not enough memory")
        return front.gaussians, "photo", (*front.notes, TOO_LITTLE_MEMORY_TO_REFINE)

    def _run(
        self,
        how: Sampling | None,
        guidance_scale: float | None,
        likeness: str,
        progress: ProgressCallback | None,
        cancelled: Cancel | None,
    ) -> Stages:
        """Return the stages of a run, each with a share of the progress proportional to its expected time.

        Args:
            how: sampling settings; None if the views are given.
        """
        return Stages(self.device, progress, cancelled, self.stage_seconds(how, guidance_scale, likeness))

    def sampling_here(self, preset: str | Sampling, steps: int | None, likeness: str) -> Sampling:
        """Return the sampling settings for this model and device.

        Raises:
            FaceLiftError: the preset or likeness is unknown, or `steps` is out of range.
        """
        likenesses.check(likeness)
        how = sampling(preset, steps)
        if likeness == "off":
            return replace(how, agreeing_steps=0)
        weights = sum(weight.numel() for weight in self.multiview.unet.parameters())
        return affordable(how, self.device.type == "cpu" and weights >= LARGE)

    def _sparingly(self, work: Callable[[], T], monitor: Monitor) -> T:
        """Return the result of `work`. While memory runs out, switch to the next memory plan and try again."""
        while True:
            try:
                return work()
            except NotEnoughMemory:
                if not self.offload.step_down():
                    raise
                monitor(0.0, f"Not enough memory; continuing with {self.offload.plan.name}")


def _as_portrait(
    photo: str | Path | Image.Image | np.ndarray | AlignedPortrait, crop: bool, matting: str, likeness: str
) -> AlignedPortrait:
    if isinstance(photo, AlignedPortrait):
        return photo
    return align_portrait(as_image(photo), crop=crop, matting=matting, largest_face=likeness == "off")

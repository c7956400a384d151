"""One prediction of the UNet for the six views, guided or not (Ho & Salimans, 2022; docs/model.md, 3)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor

from .attention import remembered_prompts
from .compiling import is_compiled
from .deep_cache import Reuse, reused_features
from .graphs import CudaGraphs, Recordings


@dataclass(frozen=True)
class Condition:
    """What the UNet is told beside latents and time, in its own number format; rows are (branch, view).

    Attributes:
        class_labels: (rows, 2·E).
        image_latents: (rows, C, h, w).
        prompts: (rows, L, E).
    """

    class_labels: Tensor
    image_latents: Tensor
    prompts: Tensor


@dataclass(frozen=True)
class Denoiser:
    """The UNet with everything that stays the same over the steps of a run.

    Attributes:
        branches: the conditions under which to evaluate: "both" or "unconditional", and "conditional".
        batch_guidance: both branches in one batch; else one after the other, in half the memory.
        recordings: of evaluations; whoever needs their memory before the last step may stop them.
    """

    unet: UNet2DConditionModel
    branches: dict[str, Condition]
    batch_guidance: bool
    reuse: Reuse
    recordings: Recordings

    def __call__(self, latents: Tensor, t: Tensor, guidance_scale: float) -> Tensor:
        """The UNet's prediction u + w·(c − u), float32 like `latents`, (6, C, h, w); with w = 1 it is c alone."""
        if guidance_scale == 1:
            return self._evaluate(latents, t, "conditional")
        if self.batch_guidance:
            unconditional, conditional = self._evaluate(torch.cat([latents, latents]), t, "both").chunk(2)
        else:
            unconditional = self._evaluate(latents, t, "unconditional")
            conditional = self._evaluate(latents, t, "conditional")
        return unconditional + guidance_scale * (conditional - unconditional)

    def _evaluate(self, latents: Tensor, t: Tensor, branch: str) -> Tensor:
        self.reuse.branch = branch
        condition = self.branches[branch]
        sample = torch.cat([latents.to(condition.image_latents.dtype), condition.image_latents], dim=1)

        def evaluate(sample: Tensor, t: Tensor) -> Tensor:
            return self.unet(sample, t, condition.prompts, class_labels=condition.class_labels, return_dict=False)[0]

        fresh = self.reuse.fresh
        needs = None if fresh else (branch, True)
        return self.recordings((branch, fresh), evaluate, sample, t, needs=needs).float()


@contextmanager
def denoiser(
    unet: UNet2DConditionModel,
    condition: Condition,
    guided: bool,
    batch_guidance: bool,
    reuse: int,
    record: bool = False,
) -> Iterator[Denoiser]:
    """A denoiser for one run under `condition`, of six rows.

    The unconditional branch has no class labels and no image, but the same prompts.

    Args:
        guided: whether any step will be.
        batch_guidance, reuse: see :class:`Denoiser` and :class:`~facelift_core.presets.Sampling`.
        record: evaluations as CUDA graphs; the weights have to stay where they are meanwhile.
    """
    branches = {"conditional": condition}
    if guided:
        nothing = Condition(
            torch.zeros_like(condition.class_labels), torch.zeros_like(condition.image_latents), condition.prompts
        )
        if batch_guidance:
            pairs = ((getattr(nothing, n), getattr(condition, n)) for n in ("class_labels", "image_latents", "prompts"))
            branches["both"] = Condition(*(torch.cat(pair) for pair in pairs))
        else:
            branches["unconditional"] = nothing
    remembered = nullcontext() if is_compiled(unet) else remembered_prompts(unet)
    recordings = Recordings(CudaGraphs() if record else None)
    try:
        with remembered, reused_features(unet, reuse) as features:
            yield Denoiser(unet, branches, batch_guidance, features, recordings)
    finally:
        recordings.stop()

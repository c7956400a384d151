"""UNet predictions with classifier-free guidance (Ho & Salimans, 2022; docs/model.md, 3)."""

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
    """Conditioning inputs of the UNet, in its dtype; rows are (branch, view).

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
    """The UNet with everything that stays constant during a run.

    Attributes:
        branches: the conditions by guidance branch: "conditional", and "both" or "unconditional".
        batch_guidance: evaluate both branches in one batch; otherwise one after the other, with half the memory.
        reuse: cached features of the deep blocks.
        recordings: recorded evaluations; may be stopped early to free their memory.
    """

    unet: UNet2DConditionModel
    branches: dict[str, Condition]
    batch_guidance: bool
    reuse: Reuse
    recordings: Recordings

    def __call__(self, latents: Tensor, t: Tensor, guidance_scale: float) -> Tensor:
        """Return the prediction u + w·(c − u), (6, C, h, w) float32, with w the guidance scale; c alone if w is 1."""
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
    """Context manager that yields the denoiser of one run.

    The unconditional branch has zeros for the class labels and the image, and the same prompts.

    Args:
        condition: the conditional branch, six rows.
        guided: whether any step uses guidance.
        batch_guidance, reuse: see :class:`Denoiser` and :class:`~facelift_core.presets.Sampling`.
        record: record evaluations as CUDA graphs; the weights must not move in the meantime.
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

"""UNet predictions with classifier-free guidance (Ho & Salimans, 2022; docs/model.md, 3)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor

from .attention import remembered_prompts
from .compiling import evaluator
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


@dataclass
class Denoiser:
    """The UNet with everything that stays constant during a run.

    Attributes:
        branches: the conditions by guidance branch: "conditional", and "both" or "unconditional".
        batch_guidance: evaluate both branches in one batch; otherwise one after the other, with half the memory.
        reuse: compute the deep blocks every `reuse` steps; see :mod:`.deep_cache`.
        recordings: recorded evaluations; may be stopped early to free their memory.
        fresh: whether the current step computes the deep blocks.
        deep: their last output by branch.
    """

    unet: UNet2DConditionModel
    branches: dict[str, Condition]
    batch_guidance: bool
    reuse: int
    recordings: Recordings
    fresh: bool = True
    deep: dict[str, Tensor] = field(default_factory=dict)

    def begin_step(self, step: int) -> None:
        """Start step `step` (0-based). Call this before its evaluations."""
        self.fresh = step % self.reuse == 0

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
        condition = self.branches[branch]
        sample = torch.cat([latents.to(condition.image_latents.dtype), condition.image_latents], dim=1)
        deep = None if self.fresh else self.deep.get(branch)
        evaluate = evaluator(self.unet, len(sample), deep is not None)
        kept = self.reuse > 1 and deep is None

        def work(sample: Tensor, t: Tensor, deep: Tensor | None = None) -> tuple[Tensor, ...]:
            out, deep = evaluate(self.unet, sample, t, condition.prompts, condition.class_labels, deep)
            return (out, deep) if kept and deep is not None else (out,)

        inputs = (sample, t) if deep is None else (sample, t, deep)
        out, *more = self.recordings((branch, deep is None), work, *inputs)
        if more:
            self.deep[branch] = more[0]
        return out.float()


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
    recordings = Recordings(CudaGraphs() if record else None)
    try:
        with remembered_prompts(unet):
            yield Denoiser(unet, branches, batch_guidance, reuse, recordings)
    finally:
        recordings.stop()

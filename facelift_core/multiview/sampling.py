"""The sampling loop: aligned portraits to six views each (docs/model.md, 3.3)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from diffusers.models.embeddings import get_timestep_embedding
from PIL import Image
from torch import Tensor

from ..errors import FaceLiftError
from ..presets import Sampling
from ..progress import Monitor
from ..rendering.cameras import VIEW_NAMES
from . import solvers
from .agreement import Agree
from .guidance import Condition, denoiser
from .work_space import pictures_at_once

if TYPE_CHECKING:
    from .diffusion import MultiViewDiffusion

VIEWS = len(VIEW_NAMES)
STEPS_PER_AGREEMENT = 10
"""An agreeing step takes about as long as this many ordinary ones; used only for the progress."""


@torch.no_grad()
def draw(
    model: MultiViewDiffusion,
    portraits: Sequence[Image.Image],
    how: Sampling,
    guidance_scale: float,
    seed: int,
    monitor: Monitor,
    agrees: Sequence[Agree] | None,
) -> list[Tensor]:
    """Return the six views of each portrait, (6, 3, H, W) float32 in [0, 1] on the CPU.

    All portraits go through the UNet in one batch. Each draws the random numbers that it would draw alone, so only the
    rounding of the larger batch differs.

    Args:
        portraits: RGB, all of the same size.
        agrees: makes the views of each portrait consistent in agreeing steps; None skips this.
    """
    run = solvers.start(model.scheduler, how)
    generators = [torch.Generator(model.device).manual_seed(seed) for _ in portraits]
    monitor(0.0, "Reading the portrait")

    # The reference draws in this order: noise for CLIP, first latents, one draw per step.
    with model.offload.using("image_encoder"):
        labels = [_class_labels(model, *pair) for pair in zip(portraits, generators, strict=True)]
    with model.offload.using("vae"):
        image_latents = torch.cat([encode(model, _pixels(each)).expand(VIEWS, -1, -1, -1) for each in portraits])
    shape = (VIEWS, *image_latents.shape[1:])
    latents = _randn(model, shape, generators) * run.scheduler.init_noise_sigma
    prompts = model.prompt_embeds.repeat(len(portraits), 1, 1)
    condition = Condition(torch.cat(labels), image_latents.to(model.dtype), prompts)

    scales = [guidance_scale if how.guides(step) else 1.0 for step in range(how.steps)]
    guided, batch_guidance = any(scale != 1 for scale in scales), model.offload.plan.batch_guidance
    agreeing = [agrees is not None and how.agrees(step) for step in range(how.steps)]
    total, done = how.steps + STEPS_PER_AGREEMENT * sum(agreeing) + 1, 0
    with (
        model.offload.using("unet"),
        denoiser(model.unet, condition, guided, batch_guidance, how.reuse, model.records(how)) as denoise,
    ):
        # The scheduler gets timesteps as numbers, because its tables are on the CPU; the UNet gets them as tensors.
        # So no step waits for the GPU.
        numbers, tensors = run.timesteps.tolist(), run.timesteps.to(model.device)
        for step, (t, t_device, scale) in enumerate(zip(numbers, tensors, scales, strict=True)):
            denoise.begin_step(step)
            out = denoise(run.scaled(latents, t), t_device, scale)
            if agreeing[step]:
                denoise.recordings.stop()  # frees memory for GS-LRM; few steps are left
                part = monitor.part(done / total, (done + STEPS_PER_AGREEMENT) / total)
                with model.offload.without("unet"):
                    clean = run.clean(out, t, latents).split(VIEWS)
                    parts = [part.part(n / len(agrees), (n + 1) / len(agrees)) for n in range(len(agrees))]
                    changes = [_agreed(model, *each) for each in zip(clean, agrees, parts, strict=True)]
                out = run.shifted(out, t, torch.cat(changes))
                done += STEPS_PER_AGREEMENT
            noise = _randn(model, shape, generators) if run.draws_noise else None
            latents = run.step(out, t, latents, noise)
            done += 1
            monitor(done / total, f"Step {step + 1} of {how.steps}")
    with model.offload.using("vae"):
        views = [decode(model, each, monitor) for each in latents.split(VIEWS)]
    monitor(1.0, "Six views")
    return views


def encode(model: MultiViewDiffusion, pixels: Tensor) -> Tensor:
    """Encode pixels (N, 3, H, W) in [-1, 1] to scaled latents (N, C, h, w), float32."""
    latents = model.vae.encode(pixels.to(model.device, model.vae.dtype)).latent_dist.mode()
    return latents.float() * model.vae.config.scaling_factor


def decode(model: MultiViewDiffusion, latents: Tensor, monitor: Monitor) -> Tensor:
    """Decode scaled latents to images (6, 3, H, W), float32 in [0, 1] on the CPU."""
    latents = (latents / model.vae.config.scaling_factor).to(model.vae.dtype)
    images = []
    for some in latents.split(pictures_at_once(model)):
        monitor.check()
        images.append(model.vae.decode(some, return_dict=False)[0].float())
    images = torch.cat(images).cpu()
    if not images.isfinite().all():
        raise FaceLiftError(
            "The multi-view diffusion produced NaN or infinity; the weights are damaged, or this device computes "
            "wrong results: try the device “cpu”."
        )
    return (images / 2 + 0.5).clamp(0, 1)


def _pixels(portrait: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(portrait)).permute(2, 0, 1).unsqueeze(0) / 127.5 - 1


def _agreed(model: MultiViewDiffusion, latents: Tensor, agree: Agree, monitor: Monitor) -> Tensor:
    """Return the change of clean `latents` (6, C, h, w) for consistent views, as a difference of two encodings."""
    monitor(0.0, "Making the views agree")
    with model.offload.using("vae"):
        views = decode(model, latents, monitor)
    agreed = agree(views, monitor)
    change = torch.zeros_like(latents)
    changed = [number for number, (a, b) in enumerate(zip(views, agreed, strict=True)) if not torch.equal(a, b)]
    with model.offload.using("vae"):
        for numbers in _split(changed, pictures_at_once(model)):
            monitor.check()
            before, after = (encode(model, images[numbers] * 2 - 1) for images in (views, agreed))
            change[numbers] = after - before
    return change


def _class_labels(model: MultiViewDiffusion, portrait: Image.Image, generator: torch.Generator) -> Tensor:
    """Return (6, 2·E): the portrait's CLIP embedding at noise level 0 (which adds some noise), and the level."""
    pixels = model.image_processor(portrait, return_tensors="pt").pixel_values.to(model.device, model.dtype)
    embeds = model.image_encoder(pixels).image_embeds.float().expand(VIEWS, -1)
    noise = _randn(model, embeds.shape, [generator])
    level = torch.zeros(VIEWS, dtype=torch.long, device=model.device)
    normal = (embeds - model.embedding_mean) / model.embedding_std
    noised = model.noising_scheduler.add_noise(normal, noise, level) * model.embedding_std + model.embedding_mean
    sinusoids = get_timestep_embedding(level, embeds.shape[1], flip_sin_to_cos=True, downscale_freq_shift=0)
    return torch.cat([noised, sinusoids], dim=1).to(model.dtype)


def _randn(model: MultiViewDiffusion, shape: Sequence[int], generators: Sequence[torch.Generator]) -> Tensor:
    """Draw float32 noise of `shape` from each generator, one after the other along the first dimension."""
    # Draw in float32 for bfloat16 too (the reference never uses it), so that both dtypes give the same views.
    dtype = torch.float32 if model.dtype == torch.bfloat16 else model.dtype
    drawn = [torch.randn(shape, generator=each, device=model.device, dtype=dtype).float() for each in generators]
    return torch.cat(drawn)


def _split(numbers: list[int], size: int) -> Iterator[list[int]]:
    return (numbers[start : start + size] for start in range(0, len(numbers), size))

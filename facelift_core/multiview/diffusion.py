"""The diffusion model and its sampling loop: an aligned portrait to six views (docs/model.md, 3.3)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, DDPMScheduler, UNet2DConditionModel
from diffusers.models.embeddings import get_timestep_embedding
from PIL import Image
from torch import Tensor, nn
from transformers import CLIPImageProcessorPil, CLIPVisionModelWithProjection

from ..compute.device import NotEnoughMemory, nothing_left_behind, select_device, select_dtype
from ..compute.offload import WeightOffload
from ..errors import FaceLiftError, first_line
from ..presets import Sampling, check_settings
from ..progress import Cancel, Monitor, ProgressCallback
from ..rendering.cameras import VIEW_NAMES
from ..weights.layout import find_pipeline
from . import channels_last, compiling, graphs, solvers
from .agreement import Agree
from .clip import load_clip, load_image_processor
from .guidance import Condition, denoiser
from .loading import check_parts_fit, load_guidance, load_normalizer, load_scheduler
from .prompts import load_prompt_embeds
from .unet import fit_to_cpu, load_unet
from .vae import load_vae
from .work_space import pictures_at_once, work_bytes

VIEWS = len(VIEW_NAMES)
IMAGE_SIZE_MAX = 512
"""The reference works at 512², although the UNet's config inherits a larger sample size from Stable Diffusion."""
STEPS_PER_AGREEMENT = 10
"""An agreeing step takes about as long as this many ordinary ones; used only for the progress."""


@dataclass(frozen=True)
class MultiViewDiffusion:
    """Multi-view diffusion pipeline: six views of a head from its aligned portrait.

    Attributes:
        unet: diffusers' UNet with multi-view attention; its batch is (branch, view).
        vae: autoencoder between images in [−1, 1] and latents.
        image_encoder, image_processor: CLIP's vision model and its preprocessing.
        embedding_mean, embedding_std: (1, E) mean and standard deviation of CLIP embeddings of width E.
        noising_scheduler: adds noise to the CLIP embedding.
        scheduler: DDIM; a template from which each run makes its own solver.
        prompt_embeds: (6, L, C) prompt embeddings.
        guidance_scale: default guidance scale of this checkpoint.
        device, dtype: device and dtype of the computation; the autoencoder uses float32 in place of bfloat16.
        offload: weight offloading.
    """

    unet: UNet2DConditionModel
    vae: AutoencoderKL
    image_encoder: CLIPVisionModelWithProjection
    image_processor: CLIPImageProcessorPil
    embedding_mean: Tensor
    embedding_std: Tensor
    noising_scheduler: DDPMScheduler
    scheduler: DDIMScheduler
    prompt_embeds: Tensor
    guidance_scale: float
    device: torch.device
    dtype: torch.dtype
    offload: WeightOffload

    @classmethod
    def from_pretrained(
        cls,
        folder: str | Path,
        device: str | torch.device = "auto",
        dtype: torch.dtype | None = None,
        settle: bool = True,
    ) -> MultiViewDiffusion:
        """Load from a checkpoint in the released layout.

        Args:
            folder: the checkpoint, or its ``pipeckpts`` folder.
            device: "auto", "cuda", "mps" or "cpu".
            dtype: dtype of the computation; None uses :func:`~facelift_core.compute.device.select_dtype`.
            settle: move the weights to the device; otherwise the caller does so with :meth:`WeightOffload.settle`.

        Raises:
            FaceLiftError: the weights are missing, damaged or of another model, or the device is not available.
        """
        device = select_device(device)
        folder = find_pipeline(folder)
        # Embed the prompts first, so that the text encoder is freed before the large weights are loaded.
        prompt_embeds = load_prompt_embeds(folder)
        with nothing_left_behind():
            mean, std = load_normalizer(folder / "image_normalizer")
            unet = load_unet(folder / "unet")
            if device.type == "cpu":
                fit_to_cpu(unet)
            dtype = dtype or select_dtype(device, sum(weight.numel() for weight in unet.parameters()))
            # Channels last makes convolutions faster on CUDA; on a CPU it makes no difference.
            layout = torch.channels_last if device.type == "cuda" else torch.preserve_format
            first = device if settle else "cpu"
            model = cls(
                # nn.Module.to, because the override in diffusers warns about modules that these models do not have.
                unet=nn.Module.to(unet, first, dtype, memory_format=layout),
                vae=nn.Module.to(load_vae(folder / "vae"), first, _finer(dtype), memory_format=layout),
                image_encoder=load_clip(CLIPVisionModelWithProjection, folder / "image_encoder").to(first, dtype),
                image_processor=load_image_processor(folder / "feature_extractor"),
                embedding_mean=mean.to(device),
                embedding_std=std.to(device),
                noising_scheduler=load_scheduler(DDPMScheduler, folder / "image_noising_scheduler"),
                scheduler=load_scheduler(DDIMScheduler, folder / "scheduler"),
                prompt_embeds=prompt_embeds.to(device, dtype),
                guidance_scale=load_guidance(folder),
                device=device,
                dtype=dtype,
                offload=WeightOffload(device),
            )
        check_parts_fit(model, folder)
        model._use_kernels()
        for name, work in work_bytes(model).items():
            model.offload.add(name, getattr(model, name), work)
        return model

    @property
    def image_size(self) -> int:
        """Side in pixels of the portraits that this checkpoint was trained on."""
        sample_size = self.unet.config.sample_size
        side = sample_size if isinstance(sample_size, int) else min(sample_size)
        return min(IMAGE_SIZE_MAX, side * self.vae_factor)

    @property
    def vae_factor(self) -> int:
        """Pixels per latent along a side."""
        return 2 ** (len(self.vae.config.block_out_channels) - 1)

    @torch.no_grad()
    def compile(self, backend: str = "inductor") -> str | None:
        """Compile the UNet and the decoder, which takes about a minute the first time on a machine.

        Other batch sizes (without guidance, or with less memory) are compiled at their first use.

        Args:
            backend: backend of :func:`torch.compile`.

        Returns:
            None, or the reason why compiling failed. Nothing is compiled in that case.
        """
        if self.offload.in_use:
            raise FaceLiftError("The model cannot be compiled while it is running; compile it before or after.")
        compiling.compile_networks(self.unet, self.vae, backend)
        try:
            self._try_once()
        except NotEnoughMemory:
            raise
        except Exception as error:  # compilers, drivers and Triton's versions fail in their own ways
            compiling.undo(self.unet, self.vae)
            self._use_kernels()
            return first_line(error)
        return None

    def _use_kernels(self) -> None:
        """Use the fused kernels if they work on this device."""
        for network in (self.unet, self.vae):
            if channels_last.usable(self.device, next(network.parameters()).dtype):
                channels_last.fit(network)

    def _try_once(self) -> None:
        """Run one guided UNet evaluation and one decoding on zeros."""
        side = self.image_size // self.vae_factor
        channels = self.vae.config.latent_channels
        latents = torch.zeros(VIEWS, channels, side, side, device=self.device)
        labels = torch.zeros(VIEWS, self.unet.config.projection_class_embeddings_input_dim, device=self.device)
        condition = Condition(labels.to(self.dtype), latents.to(self.dtype), self.prompt_embeds)
        batch_guidance = self.offload.plan.batch_guidance
        with nothing_left_behind():
            with self.offload.using("unet"), denoiser(self.unet, condition, True, batch_guidance, 1) as denoise:
                denoise(latents, torch.tensor(0, device=self.device), 2.0)
            with self.offload.using("vae"):
                self._decode(latents, Monitor("views", None, None))

    def _records(self, how: Sampling) -> bool:
        """Return whether to record UNet evaluations as CUDA graphs, which saves the time to launch their kernels."""
        on_card = self.device.type == "cuda" and self.dtype != torch.float32
        stays = not self.offload.plan.offload and not compiling.is_compiled(self.unet)
        parameters = sum(weight.numel() for weight in self.unet.parameters())
        return on_card and stays and graphs.worth_recording(parameters, how) and graphs.problem() is None

    @torch.no_grad()
    def __call__(
        self,
        portrait: Image.Image,
        steps: int | None = None,
        guidance_scale: float | None = None,
        seed: int = 4,
        progress: ProgressCallback | None = None,
        cancelled: Cancel | None = None,
        preset: str | Sampling = "quality",
        agree: Agree | None = None,
    ) -> Tensor:
        """Sample the six views of the head in `portrait`.

        Random numbers are drawn on the model's device and in its dtype, as in the reference; a seed gives other views
        on another kind of device.

        Args:
            portrait: aligned, on white (docs/model.md, 2). The views have its size, a multiple of ``vae_factor``.
            steps: number of solver steps; None uses the preset's.
            guidance_scale: w in u + w·(c − u). With 1 there is no guidance, which takes half the time. None uses the
                checkpoint's.
            seed: 0 to 2⁶³ − 1.
            progress: called before the first step and after each step, with the stage "views".
            cancelled: polled equally often, and between decoded views.
            preset: a name in :data:`~facelift_core.presets.PRESETS`, or custom settings.
            agree: makes the views consistent in the preset's agreeing steps; None skips this, as in the reference.

        Returns:
            (6, 3, H, W) float32 in [0, 1] on the CPU, in the order of ``VIEW_NAMES``.

        Raises:
            FaceLiftError: a setting or the size is out of range, or memory ran out.
            Cancelled: `cancelled` returned true.
        """
        how = check_settings(preset, steps, guidance_scale, seed)
        self._check_size(portrait)
        scale = self.guidance_scale if guidance_scale is None else guidance_scale
        with nothing_left_behind():
            return self._sample(portrait.convert("RGB"), how, scale, seed, Monitor("views", progress, cancelled), agree)

    def _sample(
        self,
        portrait: Image.Image,
        how: Sampling,
        guidance_scale: float,
        seed: int,
        monitor: Monitor,
        agree: Agree | None,
    ) -> Tensor:
        run = solvers.start(self.scheduler, how)
        generator = torch.Generator(self.device).manual_seed(seed)
        monitor(0.0, "Reading the portrait")

        # The reference draws in this order: noise for CLIP, first latents, one draw per step.
        with self.offload.using("image_encoder"):
            class_labels = self._class_labels(portrait, generator)
        with self.offload.using("vae"):
            pixels = torch.from_numpy(np.array(portrait)).permute(2, 0, 1).unsqueeze(0) / 127.5 - 1
            image_latents = self._encode(pixels).expand(VIEWS, -1, -1, -1)
        latents = self._randn(image_latents.shape, generator) * run.scheduler.init_noise_sigma
        condition = Condition(class_labels, image_latents.to(self.dtype), self.prompt_embeds)

        scales = [guidance_scale if how.guides(step) else 1.0 for step in range(how.steps)]
        guided, batch_guidance = any(scale != 1 for scale in scales), self.offload.plan.batch_guidance
        agreeing = [agree is not None and how.agrees(step) for step in range(how.steps)]
        total, done = how.steps + STEPS_PER_AGREEMENT * sum(agreeing) + 1, 0
        with (
            self.offload.using("unet"),
            denoiser(self.unet, condition, guided, batch_guidance, how.reuse, self._records(how)) as denoise,
        ):
            # The scheduler gets timesteps as numbers, because its tables are on the CPU; the UNet gets them as tensors.
            # So no step waits for the GPU.
            numbers, tensors = run.timesteps.tolist(), run.timesteps.to(self.device)
            for step, (t, t_device, scale) in enumerate(zip(numbers, tensors, scales, strict=True)):
                denoise.reuse.begin_step(step)
                out = denoise(run.scaled(latents, t), t_device, scale)
                if agreeing[step]:
                    denoise.recordings.stop()  # frees memory for GS-LRM; few steps are left
                    part = monitor.part(done / total, (done + STEPS_PER_AGREEMENT) / total)
                    with self.offload.without("unet"):
                        change = self._agreed(run.clean(out, t, latents), agree, part)
                    out = run.shifted(out, t, change)
                    done += STEPS_PER_AGREEMENT
                noise = self._randn(latents.shape, generator) if run.draws_noise else None
                latents = run.step(out, t, latents, noise)
                done += 1
                monitor(done / total, f"Step {step + 1} of {how.steps}")
        with self.offload.using("vae"):
            views = self._decode(latents, monitor)
        monitor(1.0, "Six views")
        return views

    def _agreed(self, latents: Tensor, agree: Agree, monitor: Monitor) -> Tensor:
        """Return the change of clean `latents` (6, C, h, w) for consistent views, as a difference of two encodings."""
        monitor(0.0, "Making the views agree")
        with self.offload.using("vae"):
            views = self._decode(latents, monitor)
        agreed = agree(views, monitor)
        change = torch.zeros_like(latents)
        changed = [number for number, (a, b) in enumerate(zip(views, agreed, strict=True)) if not torch.equal(a, b)]
        with self.offload.using("vae"):
            for numbers in _split(changed, pictures_at_once(self)):
                monitor.check()
                before, after = (self._encode(images[numbers] * 2 - 1) for images in (views, agreed))
                change[numbers] = after - before
        return change

    def _class_labels(self, portrait: Image.Image, generator: torch.Generator) -> Tensor:
        """Return (6, 2·E): the portrait's CLIP embedding at noise level 0 (which adds some noise), and the level."""
        pixels = self.image_processor(portrait, return_tensors="pt").pixel_values.to(self.device, self.dtype)
        embeds = self.image_encoder(pixels).image_embeds.float().expand(VIEWS, -1)
        noise = self._randn(embeds.shape, generator)
        level = torch.zeros(VIEWS, dtype=torch.long, device=self.device)
        normal = (embeds - self.embedding_mean) / self.embedding_std
        noised = self.noising_scheduler.add_noise(normal, noise, level) * self.embedding_std + self.embedding_mean
        sinusoids = get_timestep_embedding(level, embeds.shape[1], flip_sin_to_cos=True, downscale_freq_shift=0)
        return torch.cat([noised, sinusoids], dim=1).to(self.dtype)

    def _encode(self, pixels: Tensor) -> Tensor:
        """Encode pixels (N, 3, H, W) in [-1, 1] to scaled latents (N, C, h, w), float32."""
        latents = self.vae.encode(pixels.to(self.device, self.vae.dtype)).latent_dist.mode()
        return latents.float() * self.vae.config.scaling_factor

    def _decode(self, latents: Tensor, monitor: Monitor) -> Tensor:
        """Decode scaled latents to images (6, 3, H, W), float32 in [0, 1] on the CPU."""
        latents = (latents / self.vae.config.scaling_factor).to(self.vae.dtype)
        images = []
        for some in latents.split(pictures_at_once(self)):
            monitor.check()
            images.append(self.vae.decode(some, return_dict=False)[0].float())
        images = torch.cat(images).cpu()
        if not images.isfinite().all():
            raise FaceLiftError(
                "The multi-view diffusion produced NaN or infinity; the weights are damaged, or this device computes "
                "wrong results: try the device “cpu”."
            )
        return (images / 2 + 0.5).clamp(0, 1)

    def _randn(self, shape: torch.Size, generator: torch.Generator) -> Tensor:
        # Draw in float32 for bfloat16 too (the reference never uses it), so that both dtypes give the same views.
        dtype = torch.float32 if self.dtype == torch.bfloat16 else self.dtype
        return torch.randn(shape, generator=generator, device=self.device, dtype=dtype).float()

    def _check_size(self, portrait: Image.Image) -> None:
        if any(side % self.vae_factor for side in portrait.size):
            raise FaceLiftError(
                f"The portrait is {portrait.width} × {portrait.height} pixels; its sides must be multiples of "
                f"{self.vae_factor} (these weights were trained on {self.image_size} × {self.image_size})."
            )


def _split(numbers: list[int], size: int) -> Iterator[list[int]]:
    return (numbers[start : start + size] for start in range(0, len(numbers), size))


def _finer(dtype: torch.dtype) -> torch.dtype:
    """Return the autoencoder's dtype: bfloat16 is too coarse for images, and the autoencoder takes little time."""
    return torch.float32 if dtype == torch.bfloat16 else dtype

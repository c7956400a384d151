"""The diffusion model: an aligned portrait to six views (docs/model.md, 3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDIMScheduler, DDPMScheduler, UNet2DConditionModel
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
from . import channels_last, compiling, graphs
from .agreement import Agree
from .clip import load_clip, load_image_processor
from .guidance import Condition, denoiser
from .loading import check_parts_fit, load_guidance, load_normalizer, load_scheduler
from .prompts import load_prompt_embeds
from .sampling import decode, draw
from .unet import fit_to_cpu, load_unet
from .vae import load_vae
from .when_to_compile import Experience
from .work_space import work_bytes

VIEWS = len(VIEW_NAMES)
IMAGE_SIZE_MAX = 512
"""The reference works at 512², although the UNet's config inherits a larger sample size from Stable Diffusion."""


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
        experience: how long earlier heads took.
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
    experience: Experience = field(default_factory=Experience)

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
            model = cls(
                # nn.Module.to, because the override in diffusers warns about modules that these models do not have.
                unet=nn.Module.to(unet, dtype),
                vae=nn.Module.to(load_vae(folder / "vae"), _finer(dtype)),
                image_encoder=load_clip(CLIPVisionModelWithProjection, folder / "image_encoder").to(dtype),
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
            model.offload.add(name, getattr(model, name), work, channels_last=name != "image_encoder")
        if settle:
            model.offload.settle(model.offload.plan)
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

    def compile(
        self, preset: str | Sampling = "quality", guidance_scale: float | None = None, backend: str = "inductor"
    ) -> str | None:
        """Compile the UNet for the evaluations of `preset`, and the decoder.

        Takes about a minute the first time on a machine. What is compiled already stays so. Other evaluations (without
        guidance, or with less memory) run as before.

        Args:
            backend: backend of :func:`torch.compile`.

        Returns:
            None, or the reason why compiling failed. Nothing is compiled in that case.
        """
        if self.offload.in_use:
            raise FaceLiftError("The model cannot be compiled while it is running; compile it before or after.")
        how = check_settings(preset, None, guidance_scale, 0)
        try:
            compiling.compile_unet(self.unet, self.variants(how, guidance_scale), backend)
            compiling.compile_decoder(self.vae, backend)
            self._try_once(how)
        except NotEnoughMemory:
            compiling.undo(self.unet, self.vae)
            raise
        except Exception as error:  # compilers, drivers and Triton's versions fail in their own ways
            compiling.undo(self.unet, self.vae)
            return first_line(error)
        return None

    def variants(self, how: Sampling, guidance_scale: float | None = None) -> set[compiling.Variant]:
        """Return the kinds of evaluation of one portrait with the current memory plan."""
        scale = self.guidance_scale if guidance_scale is None else guidance_scale
        rows = VIEWS * (2 if scale != 1 and self.offload.plan.batch_guidance else 1)
        reuses = how.reuse > 1 and len(self.unet.up_blocks) > 1
        return {(rows, False)} | ({(rows, True)} if reuses else set())

    def _use_kernels(self) -> None:
        """Use the fused kernels if they work on this device."""
        for network in (self.unet, self.vae):
            if channels_last.usable(self.device, next(network.parameters()).dtype):
                channels_last.fit(network)

    @torch.no_grad()
    def _try_once(self, how: Sampling) -> None:
        """Run one UNet evaluation of each kind and one decoding on zeros."""
        side = self.image_size // self.vae_factor
        latents = torch.zeros(VIEWS, self.vae.config.latent_channels, side, side, device=self.device)
        labels = torch.zeros(VIEWS, self.unet.config.projection_class_embeddings_input_dim, device=self.device)
        condition = Condition(labels.to(self.dtype), latents.to(self.dtype), self.prompt_embeds)
        plan, t = self.offload.plan, torch.tensor(0, device=self.device)
        with nothing_left_behind():
            with self.offload.using("unet"), denoiser(self.unet, condition, True, plan.batch_guidance, 2) as denoise:
                for step in range(min(how.reuse, 2)):
                    denoise.begin_step(step)
                    denoise(latents, t, 2.0)
            with self.offload.using("vae"):
                decode(self, latents, Monitor("views", None, None))

    def records(self, how: Sampling) -> bool:
        """Return whether to record UNet evaluations as CUDA graphs, which saves the time to launch their kernels."""
        on_card = self.device.type == "cuda" and self.dtype != torch.float32
        parameters = sum(weight.numel() for weight in self.unet.parameters())
        worth = graphs.worth_recording(parameters, how) and not self.offload.plan.offload
        return on_card and worth and graphs.problem() is None

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
        agrees = None if agree is None else [agree]
        return self.several([portrait], steps, guidance_scale, seed, progress, cancelled, preset, agrees)[0]

    def several(
        self,
        portraits: Sequence[Image.Image],
        steps: int | None = None,
        guidance_scale: float | None = None,
        seed: int = 4,
        progress: ProgressCallback | None = None,
        cancelled: Cancel | None = None,
        preset: str | Sampling = "quality",
        agrees: Sequence[Agree] | None = None,
    ) -> list[Tensor]:
        """Sample the six views of several heads in one batch, which fills a large GPU better.

        Args:
            portraits: all of the same size.
            agrees: one for each portrait. The others, the results and the errors are as for :meth:`__call__`; the views
                of a portrait differ from those that it has alone by rounding.
        """
        how = check_settings(preset, steps, guidance_scale, seed)
        for portrait in portraits:
            self._check_size(portrait)
        scale = self.guidance_scale if guidance_scale is None else guidance_scale
        monitor = Monitor("views", progress, cancelled)
        with nothing_left_behind():
            return draw(self, [each.convert("RGB") for each in portraits], how, scale, seed, monitor, agrees)

    def _check_size(self, portrait: Image.Image) -> None:
        if any(side % self.vae_factor for side in portrait.size):
            raise FaceLiftError(
                f"The portrait is {portrait.width} × {portrait.height} pixels; its sides must be multiples of "
                f"{self.vae_factor} (these weights were trained on {self.image_size} × {self.image_size})."
            )


def _finer(dtype: torch.dtype) -> torch.dtype:
    """Return the autoencoder's dtype: bfloat16 is too coarse for images, and the autoencoder takes little time."""
    return torch.float32 if dtype == torch.bfloat16 else dtype

"""The trainable model of stage 1 with its frozen autoencoder, and batched sampling."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, DDIMScheduler, DDPMScheduler, UNet2DConditionModel
from diffusers.models.embeddings import get_timestep_embedding
from torch import Tensor, nn
from transformers import CLIPImageProcessorPil, CLIPVisionConfig, CLIPVisionModelWithProjection

from ..errors import FaceLiftError
from ..multiview import MultiViewDiffusion, solvers
from ..multiview.unet import attention_mode, set_attention
from ..presets import Sampling
from ..rendering.cameras import VIEW_NAMES
from ..weights.layout import find_pipeline
from ..weights.named import find_weights
from .autoencoder import LATENT_CHANNELS, downscaling, load_autoencoder
from .growth import is_grown, with_outer_level
from .heads.dataset import HeadDataset
from .loop import averaged_weights, load_learned, read_origin

VIEWS = len(VIEW_NAMES)
EMBEDDING_WIDTH = 64
PROMPT_TOKENS = 4
CHANNELS = (48, 96, 160)
OUTER_CHANNELS = 48
ATTENTION_SIDE = 16
"""Side of the latents at which the UNet has attention; larger latents get outer levels without attention."""


class ViewDiffusion(nn.Module):
    """UNet, vision model and prompt embeddings (docs/model.md, 3), all trainable.

    Attributes:
        processor: preprocessing for the vision model.
    """

    def __init__(
        self,
        unet: UNet2DConditionModel,
        image_encoder: CLIPVisionModelWithProjection,
        prompt_embeds: Tensor,
        processor: CLIPImageProcessorPil,
        embedding_mean: Tensor,
        embedding_std: Tensor,
    ):
        super().__init__()
        self.unet, self.image_encoder, self.processor = unet, image_encoder, processor
        self.prompt_embeds = nn.Parameter(prompt_embeds.clone())
        constants = {
            "pixel_mean": torch.tensor(processor.image_mean)[:, None, None],
            "pixel_std": torch.tensor(processor.image_std)[:, None, None],
            "embedding_mean": embedding_mean.clone(),
            "embedding_std": embedding_std.clone(),
        }
        for name, value in constants.items():
            self.register_buffer(name, value, persistent=False)
        # Scale of the embedding at noise level 0, slightly below 1 (docs/model.md, 3.3.1).
        self.kept = float(image_noising_scheduler().alphas_cumprod[0])

    @classmethod
    def small(cls, size: int) -> ViewDiffusion:
        """An untrained model of `mini`'s width for views of this size. Prompt embeddings are learned."""
        side = size // downscaling(size)
        outer = max(0, (side // ATTENTION_SIDE).bit_length() - 1)
        channels, across = (OUTER_CHANNELS,) * outer + CHANNELS, len(CHANNELS) - 1
        unet = UNet2DConditionModel(
            sample_size=side,
            in_channels=2 * LATENT_CHANNELS,
            out_channels=LATENT_CHANNELS,
            block_out_channels=channels,
            layers_per_block=1,
            down_block_types=("DownBlock2D",) * outer + ("CrossAttnDownBlock2D",) * across + ("DownBlock2D",),
            up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * across + ("UpBlock2D",) * outer,
            cross_attention_dim=EMBEDDING_WIDTH,
            attention_head_dim=[c // 32 for c in channels],
            use_linear_projection=True,
            class_embed_type="projection",
            projection_class_embeddings_input_dim=2 * EMBEDDING_WIDTH,
            norm_num_groups=16,
        )
        unet.register_to_config(num_views=VIEWS)
        set_attention(unet, VIEWS, "sparse")
        tower = CLIPVisionModelWithProjection(
            CLIPVisionConfig(
                hidden_size=EMBEDDING_WIDTH,
                intermediate_size=2 * EMBEDDING_WIDTH,
                num_hidden_layers=2,
                num_attention_heads=2,
                image_size=size,
                patch_size=size // 4,
                projection_dim=EMBEDDING_WIDTH,
                hidden_act="gelu",
            )
        )
        prompts = torch.randn(VIEWS, PROMPT_TOKENS, EMBEDDING_WIDTH)
        processor = CLIPImageProcessorPil(size={"shortest_edge": size}, crop_size={"height": size, "width": size})
        return cls(unet, tower, prompts, processor, torch.zeros(1, EMBEDDING_WIDTH), torch.ones(1, EMBEDDING_WIDTH))

    def forward(self, noisy: Tensor, timesteps: Tensor, latents: Tensor, portraits: Tensor, keep: Tensor) -> Tensor:
        """Predict noise, velocity or clean latents, depending on the scheduler's prediction type.

        Args:
            noisy: (B, V, C, h, w).
            timesteps: (B,).
            latents: (B, C, h, w) scaled latents of the portraits.
            portraits: (B, 3, H, W) in [0, 1].
            keep: (B,), 0 where the condition is dropped.
        """
        batch = len(noisy)
        labels = self._class_labels(portraits) * keep[:, None]
        condition = (latents * keep[:, None, None, None])[:, None].expand(-1, VIEWS, -1, -1, -1)
        predicted = self.unet(
            torch.cat([noisy, condition], dim=2).flatten(0, 1),
            timesteps.repeat_interleave(VIEWS),
            encoder_hidden_states=self.prompt_embeds.repeat(batch, 1, 1),
            class_labels=labels.repeat_interleave(VIEWS, 0),
        ).sample
        return predicted.unflatten(0, (batch, VIEWS))

    def _class_labels(self, portraits: Tensor) -> Tensor:
        """Return (B, 2·E): embeddings at noise level 0, and the level."""
        side = self.processor.crop_size["height"]
        if portraits.shape[-1] != side:
            portraits = F.interpolate(portraits, size=(side, side), mode="bicubic", antialias=True).clamp(0, 1)
        embeds = self.image_encoder((portraits - self.pixel_mean) / self.pixel_std).image_embeds
        normal = (embeds - self.embedding_mean) / self.embedding_std
        normal = self.kept**0.5 * normal + (1 - self.kept) ** 0.5 * torch.randn_like(normal)
        level = torch.zeros(len(embeds), dtype=torch.long, device=embeds.device)
        sinusoids = get_timestep_embedding(level, embeds.shape[1], flip_sin_to_cos=True, downscale_freq_shift=0)
        return torch.cat([normal * self.embedding_std + self.embedding_mean, sinusoids], dim=-1)


def noise_scheduler() -> DDIMScheduler:
    """The noise schedule of our checkpoints: zero terminal SNR, so the last timestep does not reveal the mean color."""
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        set_alpha_to_one=True,
        clip_sample=False,
    )


def image_noising_scheduler() -> DDPMScheduler:
    """The noise schedule for image embeddings."""
    return DDPMScheduler(beta_schedule="squaredcos_cap_v2")


@dataclass(frozen=True)
class ViewStage:
    """The trainable model with the frozen parts it needs."""

    model: ViewDiffusion
    autoencoder: AutoencoderKL
    scheduler: DDIMScheduler

    @classmethod
    def begin(cls, origin: str | None, autoencoder: AutoencoderKL | None, size: int) -> ViewStage:
        """Start from a checkpoint or untrained. `autoencoder`, if given, replaces the checkpoint's.

        Raises:
            FaceLiftError: neither a checkpoint nor an autoencoder is given, or as :meth:`of_weights`.
        """
        if origin is None and autoencoder is None:
            raise FaceLiftError("The view diffusion needs a trained autoencoder; pass its run with --autoencoder.")
        stage = cls.of_weights(origin) if origin else cls(ViewDiffusion.small(size), autoencoder, noise_scheduler())
        return replace(stage, autoencoder=autoencoder or stage.autoencoder)

    @classmethod
    def of_weights(cls, weights: str | Path) -> ViewStage:
        """Load a checkpoint in the released layout, of any size.

        Vision model and prompts are frozen if the checkpoint has a text encoder, because they are CLIP's then.

        Raises:
            FaceLiftError: as :meth:`MultiViewDiffusion.from_pretrained`.
        """
        parts = MultiViewDiffusion.from_pretrained(find_weights(weights), "cpu", torch.float32)
        model = ViewDiffusion(
            parts.unet,
            parts.image_encoder,
            parts.prompt_embeds,
            parts.image_processor,
            parts.embedding_mean,
            parts.embedding_std,
        )
        for parameter in model.parameters():  # no longer mapped from the file
            parameter.data = parameter.data.clone()
        own = not (find_pipeline(find_weights(weights)) / "text_encoder").is_dir()
        model.requires_grad_(own).unet.requires_grad_(True)
        return cls(model, parts.vae.float(), parts.scheduler)

    @classmethod
    def of_run(cls, run: Path, autoencoder_run: Path | None, held_out: HeadDataset) -> ViewStage:
        """Load the averaged weights of a run of `facelift-train views`.

        Raises:
            FaceLiftError: a run is missing or belongs to another model.
        """
        autoencoder = load_autoencoder(autoencoder_run, held_out) if autoencoder_run else None
        stage = cls.begin(read_origin(run), autoencoder, held_out.size)
        weights = averaged_weights(run)
        while is_grown(weights, len(stage.model.unet.down_blocks)):
            stage = stage.grown()
        load_learned(stage.model, weights, run)
        stage.model.eval()
        return stage

    def grown(self) -> ViewStage:
        """Return the model for views of twice the size, with the same autoencoder."""
        unet = self.model.unet
        self.model.unet = with_outer_level(unet, attention_mode(unet)).requires_grad_(True)
        return self

    def to(self, device: torch.device) -> ViewStage:
        return ViewStage(self.model.to(device), self.autoencoder.to(device), self.scheduler)

    @torch.no_grad()
    def encode(self, images: Tensor) -> Tensor:
        """Encode images (…, 3, H, W) in [0, 1] to scaled latents (…, C, h, w)."""
        flat = self.autoencoder.encode(images.flatten(0, -4) * 2 - 1).latent_dist.mode().float()
        return (flat * self.autoencoder.config.scaling_factor).unflatten(0, images.shape[:-3])

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """Decode scaled latents (B, V, C, h, w) to images (B, V, 3, H, W) in [0, 1]."""
        flat = self.autoencoder.decode(latents.flatten(0, 1) / self.autoencoder.config.scaling_factor).sample.float()
        return (flat / 2 + 0.5).clamp(0, 1).unflatten(0, latents.shape[:2])

    @torch.no_grad()
    def sample(
        self,
        portraits: Tensor,
        steps: int,
        guidance_scale: float,
        generator: torch.Generator,
        model: ViewDiffusion | None = None,
        towards: Tensor | None = None,
        strength: float = 1.0,
    ) -> Tensor:
        """Sample views with the pipeline's guided DDIM, for several portraits at once.

        Args:
            portraits: (B, 3, H, W) in [0, 1].
            generator: generator of the noise, on the CPU.
            model: model to use in place of the stage's own, such as its running average.
            towards: (B, V, 3, H, W) views to start from, with noise of `strength` added; None starts from pure noise.
            strength: from 0, which returns `towards`, to 1, which ignores it.

        Returns:
            (B, V, 3, H, W) in [0, 1].
        """
        model = model or self.model
        run = solvers.start(self.scheduler, Sampling(steps))
        condition = self.encode(portraits[:, None])[:, 0]
        shape = (len(portraits), VIEWS, *condition.shape[1:])
        first = min(round((1 - strength) * steps), steps) if towards is not None else 0

        def noise() -> Tensor:
            return torch.randn(shape, generator=generator).to(portraits.device)

        timesteps = run.timesteps[first:]
        x = noise()
        if first:
            clean = self.encode(towards)
            if not len(timesteps):
                return self.decode(clean)
            x = self.scheduler.add_noise(clean, x, timesteps[:1].expand(len(clean)))
        everything = torch.ones(len(portraits), device=portraits.device)
        for t in timesteps:
            time = t.to(portraits.device).expand(len(portraits))
            out = model(x, time, condition, portraits, everything).float()
            if guidance_scale != 1:
                without = model(x, time, condition, portraits, 0 * everything).float()
                out = without + guidance_scale * (out - without)
            x = run.step(out, int(t), x, noise())
        return self.decode(x)

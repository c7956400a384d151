"""Stage 1: train the multi-view diffusion from nothing, at `mini`'s size (spec §3; paper's recipe: v-prediction,
whole-condition dropout, EMA).

Differences to the paper that a small model on little compute asks for: zero-terminal-SNR noise with trailing
timesteps, so that the mean colour does not leak through the last step, and a vision tower that is learned along.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from PIL import Image
from torch import Tensor, nn
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection
from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD

from ..cameras import VIEW_NAMES
from ..multiview.unet import set_attention
from .autoencoder import LATENT_CHANNELS
from .batches import WHITE, ColorShift, HeadTensors, as_photographed, composite, picture_grid, psnr
from .heads.dataset import HeadDataset
from .loop import LoopOptions, Task, train

VIEWS = len(VIEW_NAMES)
CONDITION_DROPOUT = 0.05
SNR_CLAMP = 5.0
EMBEDDING_WIDTH = 64
PROMPT_TOKENS = 4


def noise_scheduler() -> DDIMScheduler:
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


class ViewDiffusion(nn.Module):
    """All that stage 1 learns: UNet, vision tower, and one learned prompt per view in place of a text encoder's."""

    def __init__(self, size: int, channels: tuple[int, ...] = (48, 96, 160)):
        super().__init__()
        levels = len(channels)
        self.unet = UNet2DConditionModel(
            sample_size=size // 4,
            in_channels=2 * LATENT_CHANNELS,
            out_channels=LATENT_CHANNELS,
            block_out_channels=channels,
            layers_per_block=1,
            down_block_types=("CrossAttnDownBlock2D",) * (levels - 1) + ("DownBlock2D",),
            up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * (levels - 1),
            cross_attention_dim=EMBEDDING_WIDTH,
            attention_head_dim=[c // 32 or 1 for c in channels],
            use_linear_projection=True,
            class_embed_type="projection",
            projection_class_embeddings_input_dim=2 * EMBEDDING_WIDTH,
            norm_num_groups=16,
        )
        set_attention(self.unet, VIEWS, "sparse")
        self.image_encoder = CLIPVisionModelWithProjection(
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
        self.prompt_embeds = nn.Parameter(torch.randn(VIEWS, PROMPT_TOKENS, EMBEDDING_WIDTH))
        self.register_buffer("pixel_mean", torch.tensor(OPENAI_CLIP_MEAN)[:, None, None], persistent=False)
        self.register_buffer("pixel_std", torch.tensor(OPENAI_CLIP_STD)[:, None, None], persistent=False)

    def forward(self, noisy: Tensor, timesteps: Tensor, latents: Tensor, portraits: Tensor, keep: Tensor) -> Tensor:
        """Predict v.

        Args:
            noisy: (B, V, C, h, w).
            timesteps: (B,).
            latents: (B, C, h, w) scaled latents of the portraits.
            portraits: (B, 3, H, W) in [0, 1].
            keep: (B,) zero where the condition is dropped.
        """
        batch = len(noisy)
        embeds = self.image_encoder((portraits - self.pixel_mean) / self.pixel_std).image_embeds
        # Noise level 0 embedded as sinusoids: cosines first, all one, then sines, all zero.
        level = torch.cat([torch.ones_like(embeds[:, ::2]), torch.zeros_like(embeds[:, ::2])], dim=-1)
        labels = torch.cat([embeds, level], dim=-1) * keep[:, None]
        condition = (latents * keep[:, None, None, None])[:, None].expand(-1, VIEWS, -1, -1, -1)
        predicted = self.unet(
            torch.cat([noisy, condition], dim=2).flatten(0, 1),
            timesteps.repeat_interleave(VIEWS),
            encoder_hidden_states=self.prompt_embeds.repeat(batch, 1, 1),
            class_labels=labels.repeat_interleave(VIEWS, 0),
        ).sample
        return predicted.unflatten(0, (batch, VIEWS))


@dataclass(frozen=True)
class ViewBatch:
    """Target views (B, V, 3, H, W) over white and the portrait as photographed (B, 3, H, W), in [0, 1]."""

    views: Tensor
    portraits: Tensor

    @classmethod
    def draw(cls, heads: HeadDataset, random: np.random.Generator, count: int) -> ViewBatch:
        views, portraits = [], []
        for _ in range(count):
            head = HeadTensors.draw(heads, random)
            rgba = ColorShift.draw(random)(head.rgba[:VIEWS])
            views.append(composite(rgba, WHITE))
            portraits.append(as_photographed(rgba[0], random))
        return cls(torch.stack(views), torch.stack(portraits))

    @classmethod
    def clean(cls, heads: HeadDataset, count: int) -> ViewBatch:
        """The first `count` heads, or as many as there are; the front view itself is the portrait."""
        views = torch.stack(
            [composite(HeadTensors.of(heads[i]).rgba[:VIEWS], WHITE) for i in range(min(count, len(heads)))]
        )
        return cls(views, views[:, 0])


def train_views(
    heads: HeadDataset, held_out: HeadDataset, autoencoder: AutoencoderKL, options: LoopOptions, batch: int
) -> nn.Module:
    """Train on six views of `batch` heads per step, conditioned on a front view as photographed."""
    scheduler = noise_scheduler()
    model = ViewDiffusion(heads.size)
    fixed = ViewBatch.clean(held_out, 24)
    shown = ViewBatch.clean(held_out, 6)
    alphas = scheduler.alphas_cumprod

    @torch.no_grad()
    def encode(images: Tensor) -> Tensor:
        flat = autoencoder.encode(images.flatten(0, -4) * 2 - 1).latent_dist.mode().float()
        return (flat * autoencoder.config.scaling_factor).unflatten(0, images.shape[:-3])

    def decode(latents: Tensor) -> Tensor:
        flat = autoencoder.decode(latents.flatten(0, 1) / autoencoder.config.scaling_factor).sample.float()
        return (flat / 2 + 0.5).clamp(0, 1).unflatten(0, latents.shape[:2])

    def loss(step: int, random: np.random.Generator, logged: dict[str, float]) -> Tensor:
        drawn = ViewBatch.draw(heads, random, batch)
        clean = encode(drawn.views)
        condition = encode(drawn.portraits[:, None])[:, 0]
        timesteps = torch.from_numpy(random.integers(0, len(alphas), batch))
        keep = torch.from_numpy(random.random(batch) >= CONDITION_DROPOUT).float()
        noise = torch.randn_like(clean)
        noisy = scheduler.add_noise(clean, noise, timesteps)
        target = scheduler.get_velocity(clean, noise, timesteps)
        error = (model(noisy, timesteps, condition, drawn.portraits, keep).float() - target).square()
        # Min-SNR with the clamp on SNR + 1, since SNR itself is 0 at the last, most decisive timestep.
        snr = alphas[timesteps] / (1 - alphas[timesteps])
        weight = (snr + 1).clamp(max=SNR_CLAMP) / (snr + 1)
        logged["v"] = error.mean().item()
        return (error.mean((1, 2, 3, 4)) * weight).mean()

    def first_guess(averaged: nn.Module, batch: ViewBatch) -> Tensor:
        """What the model makes of pure noise in one step: its mean expectation of the six views."""
        condition = encode(batch.portraits[:, None])[:, 0]
        noise = torch.randn(len(condition), VIEWS, *condition.shape[1:], generator=torch.Generator().manual_seed(0))
        last = torch.full((len(condition),), len(alphas) - 1)
        return decode(-averaged(noise, last, condition, batch.portraits, torch.ones(len(condition))))

    def validate(averaged: nn.Module) -> dict[str, float]:
        quality = psnr(first_guess(averaged, fixed), fixed.views)
        return {"psnr_front": quality[:, 0].mean().item(), "psnr_others": quality[:, 1:].mean().item()}

    def picture(averaged: nn.Module) -> Image.Image:
        condition = encode(shown.portraits[:, None])[:, 0]
        sampled = decode(sample(averaged, condition, shown.portraits, steps=20, guidance_scale=3.0))
        guessed = first_guess(averaged, shown)
        rows = [row for i in range(len(shown.views)) for row in (shown.views[i], guessed[i], sampled[i])]
        return picture_grid(rows)

    return train(Task(model, loss, validate, picture), options)


def sample(model: ViewDiffusion, latents: Tensor, portraits: Tensor, steps: int, guidance_scale: float) -> Tensor:
    """(B, V, C, h, w) scaled latents drawn with the guided DDIM of the pipeline, for looking at during training."""
    scheduler = noise_scheduler()
    scheduler.set_timesteps(steps)
    generator = torch.Generator().manual_seed(4)
    x = torch.randn(len(latents), VIEWS, *latents.shape[1:], generator=generator)
    for t in scheduler.timesteps:
        time = t.expand(len(latents))
        conditional = model(x, time, latents, portraits, torch.ones(len(latents))).float()
        without = model(x, time, latents, portraits, torch.zeros(len(latents))).float()
        guided = without + guidance_scale * (conditional - without)
        x = scheduler.step(guided, t, x, eta=1.0, generator=generator).prev_sample
    return x

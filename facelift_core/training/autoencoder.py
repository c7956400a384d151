"""The small variational autoencoder that provides the latents for `mini`'s view diffusion."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from PIL import Image
from torch import Tensor, nn

from ..multiview.vae import load_vae
from ..rendering.metrics import psnr, ssim
from ..weights.layout import find_pipeline
from ..weights.named import find_weights
from .batches import WHITE, ColorShift, HeadTensors, composite, picture_grid
from .heads.dataset import HeadDataset
from .loop import LoopOptions, Task, load_averaged, read_origin, train

LATENT_CHANNELS = 8
"""Twice Stable Diffusion's: at 64², facial features span a few pixels, too much detail for 4 numbers per 4 × 4."""
KL_WEIGHT = 1e-6
EDGE_WEIGHT = 0.5
TONE_WEIGHT = 2.0
TONE_POOL = 8
"""Width and height in pixels of the blocks whose average colors enter the tone loss."""
CROPS_UNTIL = 0.75
"""Fraction of the steps that use crops of a quarter of the area, four times as many, because most of a view is
background."""


def downscaling(size: int) -> int:
    """Downscaling factor: 64-pixel views have latents of 16; 128- and 256-pixel views have latents of 32."""
    return 4 if size <= 128 else 8


def build_autoencoder(size: int) -> AutoencoderKL:
    """An untrained autoencoder for images of `size` × `size` pixels."""
    channels = (24, 48, 64) if downscaling(size) == 4 else (24, 48, 64, 96)
    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        latent_channels=LATENT_CHANNELS,
        block_out_channels=channels,
        layers_per_block=1,
        down_block_types=("DownEncoderBlock2D",) * len(channels),
        up_block_types=("UpDecoderBlock2D",) * len(channels),
        norm_num_groups=8,
        sample_size=size,
    )


def autoencoder_of(origin: str | None, size: int) -> AutoencoderKL:
    """The trainable autoencoder of the checkpoint `origin` (in the released layout), or an untrained one if None.

    Raises:
        FaceLiftError: as :func:`load_vae`.
    """
    if origin is None:
        return build_autoencoder(size)
    model = load_vae(find_pipeline(find_weights(origin)) / "vae").float()
    for parameter in model.parameters():  # no longer mapped from the file
        parameter.data = parameter.data.clone()
    return model.requires_grad_(True)


def train_autoencoder(
    heads: HeadDataset, held_out: HeadDataset, model: AutoencoderKL, options: LoopOptions, batch: int
) -> nn.Module:
    """Train on single views over white with random colors. See :mod:`.loop` for resuming and for `options.folder`.

    Args:
        batch: images per step.
    """
    model = model.to(options.device)
    samples = _fixed_views(held_out, 48).to(options.device)

    def loss(step: int, images: Tensor, random: np.random.Generator, logged: dict[str, float]) -> Tensor:
        images = images.to(options.device).float() / 127.5 - 1
        posterior = model.encode(images).latent_dist
        decoded = model.decode(posterior.sample()).sample.float()
        reconstruction = (decoded - images).abs().mean() + (decoded - images).square().mean()
        edges = sum((decoded - images).diff(dim=d).abs().mean() for d in (-1, -2))
        tone = F.avg_pool2d(decoded - images, TONE_POOL).abs().mean()
        logged["l1"] = (decoded - images).abs().mean().item()
        return reconstruction + TONE_WEIGHT * tone + EDGE_WEIGHT * edges + KL_WEIGHT * posterior.kl().float().mean()

    def validate(averaged: nn.Module) -> dict[str, float]:
        latents = averaged.encode(samples * 2 - 1).latent_dist.mode()
        decoded = averaged.decode(latents).sample / 2 + 0.5
        decoded = decoded.clamp(0, 1)
        return {
            "psnr": psnr(decoded, samples).mean().item(),
            "ssim": ssim(decoded, samples).mean().item(),
            "latent_std": latents.std().item(),
        }

    def picture(averaged: nn.Module) -> Image.Image:
        shown = samples[:12]
        return picture_grid([shown, averaged(shown * 2 - 1).sample / 2 + 0.5])

    draw = partial(_draw, heads, batch, CROPS_UNTIL * options.steps)
    return train(Task(model, draw, loss, validate, picture), options)


def load_autoencoder(folder: Path, held_out: HeadDataset) -> AutoencoderKL:
    """Load the trained autoencoder, frozen. Its scaling factor gives latents unit variance, except if the run was
    started from a checkpoint: it then keeps that checkpoint's factor, which its view diffusion expects.

    Raises:
        FaceLiftError: there is no run, or it belongs to another model.
    """
    origin = read_origin(folder)
    model = load_averaged(autoencoder_of(origin, held_out.size), folder).requires_grad_(False)
    if origin is None:
        latents = model.encode(_fixed_views(held_out, 96) * 2 - 1).latent_dist.mode()
        model.register_to_config(scaling_factor=round(1 / latents.std().item(), 5))
    return model


def _draw(heads: HeadDataset, count: int, crops_until: float, step: int, random: np.random.Generator) -> Tensor:
    """(count, 3, H, W) views, or four crops of each (4 · count, 3, H/2, W/2), as bytes."""
    images = [_random_view(heads, random) for _ in range(count)]
    if step < crops_until:
        crops = [_random_crop(view, random) for view in images for _ in range(4)]
        # Skin and hair colors span only two dimensions; swapping channels covers the third, which clothes need.
        images = [crop[random.permutation(3)] if random.random() < 0.4 else crop for crop in crops]
    return (torch.stack(images) * 255).round().byte()


def _random_view(heads: HeadDataset, random: np.random.Generator) -> Tensor:
    head = HeadTensors.draw(heads, random)
    rgba = head.rgba[int(random.integers(len(head.rgba)))]
    return composite(ColorShift.draw(random)(rgba), WHITE)


def _random_crop(image: Tensor, random: np.random.Generator) -> Tensor:
    """(3, H, W) → random (3, H/2, W/2) crop; tries a few times to find one that is not only background."""
    half = image.shape[-1] // 2
    for _ in range(4):
        top, left = random.integers(0, half + 1, 2)
        crop = image[:, top : top + half, left : left + half]
        if (crop < 0.99).float().mean() > 0.4:
            break
    return crop


def _fixed_views(held_out: HeadDataset, count: int) -> Tensor:
    """(count, 3, H, W): view i mod V of head i."""
    heads = [HeadTensors.of(held_out[i % len(held_out)]) for i in range(count)]
    return torch.stack([composite(head.rgba[i % len(head.rgba)], WHITE) for i, head in enumerate(heads)])

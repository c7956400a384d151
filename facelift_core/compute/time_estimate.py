"""Estimate the duration of a reconstruction from its number of multiplications and the measured speed."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import nn

from ..presets import VIEWS, Sampling
from . import native

if TYPE_CHECKING:
    from ..gslrm.network import GSLRM
    from ..multiview import MultiViewDiffusion

USUAL_RATE = {"cpu": 5e10, "mps": 1e12, "cuda": 5e13}
"""Typical multiplications per second by device, used for the proportions between stages if nothing was measured."""
ALIGN_SECONDS, FILTER_SECONDS, SKIN_SECONDS = 1.0, 0.1, 1.0
REFINE_SECONDS, REFINE_SECONDS_BY_TORCH, REFINE_SECONDS_ON_CUDA = 40.0, 60.0, 4.0
"""With compiled loops on a CPU, without them (fewer steps), and on a GPU with gsplat."""

CALIBRATION_SIDE = 16
"""Side of the latents on which the speed is measured; takes seconds with the released UNet on a CPU."""
CALIBRATION_TRIES, CALIBRATION_SECONDS = 5, 0.5
"""Limits of the measurement: number of tries and total time."""


def unet_products(unet: UNet2DConditionModel, side: int) -> int:
    """Count the multiplications of the UNet (weights and attention) for one view with side × side latents."""
    total, area = 0, side * side
    for block in unet.down_blocks:
        total += _block_products(block, area)
        area //= 4 if block.downsamplers is not None else 1
    if unet.mid_block is not None:
        total += _block_products(unet.mid_block, area)
    for block in unet.up_blocks:
        # The upsampler's convolution works at the larger size.
        larger = 4 if block.upsamplers is not None else 1
        inner = [module for name, module in block.named_children() if name != "upsamplers"]
        total += sum(_block_products(module, area) for module in inner)
        total += _block_products(block.upsamplers, larger * area) if larger > 1 else 0
        area *= larger
    return total + _weights([unet.conv_in, unet.conv_out]) * side * side


def gslrm_products(gslrm: GSLRM, size: int) -> int:
    """Count the multiplications of GS-LRM for six views of size² pixels."""
    tokens = len(gslrm.gaussian_position_embeddings) + VIEWS * (size // gslrm.patch_size) ** 2
    width = gslrm.gaussian_position_embeddings.shape[1]
    attention = len(gslrm.transformer_layers) * 2 * tokens**2 * width
    return tokens * _weights([gslrm]) + attention


def vae_products(vae: AutoencoderKL, size: int) -> tuple[int, int]:
    """Count the multiplications of the VAE to encode, and to decode, one view of size² pixels."""
    encoder, decoder, pixels = vae.encoder, vae.decoder, size**2
    encoded, area = _weights([encoder.conv_in]) * pixels, pixels
    for block in encoder.down_blocks:
        encoded += _weights([block.resnets]) * area
        if block.downsamplers is not None:
            area //= 4
            encoded += _weights([block.downsamplers]) * area
    encoded += _weights([encoder.mid_block, encoder.conv_out]) * area
    decoded = _weights([decoder.conv_in, decoder.mid_block]) * area
    for block in decoder.up_blocks:
        decoded += _weights([block.resnets]) * area
        if block.upsamplers is not None:
            area *= 4
            decoded += _weights([block.upsamplers]) * area
    return encoded, decoded + _weights([decoder.conv_out]) * pixels


def stage_seconds(
    multiview: MultiViewDiffusion,
    gslrm: GSLRM,
    how: Sampling | None,
    guidance_scale: float,
    likeness: str,
    rate: float | None = None,
) -> dict[str, float]:
    """Estimate the seconds of each stage of a run, in order. Features that the UNet reuses count as computed.

    Args:
        how: sampling settings; None if the views are given.
        rate: multiplications per second, see :func:`measured_rate`; None uses :data:`USUAL_RATE`.
    """
    device, size = multiview.device.type, multiview.image_size
    rate = rate or USUAL_RATE.get(device, USUAL_RATE["cuda"])
    lift = gslrm_products(gslrm, size)
    seconds = {"align": ALIGN_SECONDS}
    if how is not None:
        unet = how.evaluations(guidance_scale) * unet_products(multiview.unet, size // multiview.vae_factor)
        encoded, decoded = vae_products(multiview.vae, size)
        agreement = lift + VIEWS * decoded + 2 * (VIEWS - 1) * encoded  # each but the front, before and after
        agreements = min(how.agreeing_steps, how.steps)
        seconds["views"] = (encoded + unet + agreements * agreement + VIEWS * decoded) / rate
    seconds |= {"gaussians": lift / rate, "filter": FILTER_SECONDS}
    if likeness != "off":
        seconds["skin"] = SKIN_SECONDS
    if likeness == "refined":
        seconds["refine"] = _refine_seconds(device, gslrm)
    return seconds


def _refine_seconds(device: str, gslrm: GSLRM) -> float:
    if device == "cuda":
        return REFINE_SECONDS_ON_CUDA
    compiled = gslrm.sh_features == 1 and native.available("splatter")
    return REFINE_SECONDS if compiled else REFINE_SECONDS_BY_TORCH


@torch.no_grad()
def measured_rate(multiview: MultiViewDiffusion) -> float:
    """Measure the multiplications per second of the UNet on small latents.

    Takes the fastest of several short tries, because other programs can slow down any single one.
    """
    unet, device, dtype = multiview.unet, multiview.device, multiview.dtype
    side = min(CALIBRATION_SIDE, multiview.image_size // multiview.vae_factor)
    sample = torch.zeros(VIEWS, unet.config.in_channels, side, side, device=device, dtype=dtype)
    labels = torch.zeros(VIEWS, unet.config.projection_class_embeddings_input_dim, device=device, dtype=dtype)
    arguments = sample, torch.tensor(0, device=device), multiview.prompt_embeds
    with multiview.offload.using("unet"):
        unet(sample[..., :8, :8], *arguments[1:], class_labels=labels)  # warm-up
        tries: list[float] = []
        while not tries or (sum(tries) < CALIBRATION_SECONDS and len(tries) < CALIBRATION_TRIES):
            start = time.perf_counter()
            unet(*arguments, class_labels=labels).sample.flatten()[0].item()  # waits for the result
            tries.append(time.perf_counter() - start)
        return VIEWS * unet_products(unet, side) / min(tries)


def _block_products(block: nn.Module, area: int) -> int:
    tokens = area * _weights([block])
    # Each view attends to its own tokens and the front's: scores and weighted sums over 2 · area keys.
    widths = (module.to_q.out_features for name, module in block.named_modules() if name.rpartition(".")[2] == "attn1")
    return tokens + sum(2 * area * 2 * area * width for width in widths)


def _weights(modules: Iterable[nn.Module]) -> int:
    """Count the weights of convolutions and linear layers, except those that act on the prompts or the time step."""
    return sum(
        parameter.numel()
        for module in modules
        for name, parameter in module.named_parameters()
        if parameter.ndim > 1 and not any(part in name for part in ("attn2.to_k", "attn2.to_v", "time_emb"))
    )

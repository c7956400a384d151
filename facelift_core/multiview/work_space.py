"""Estimate the memory that the networks need in addition to their weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..rendering.cameras import VIEW_NAMES
from . import compiling

if TYPE_CHECKING:
    from .diffusion import MultiViewDiffusion

VIEWS = len(VIEW_NAMES)
TENSORS_AT_ONCE = {"unet": 28, "vae": 9, "image_encoder": 100}
"""Peak memory in tensors of the size of the first level; measured for the autoencoder (8.3 at full size in float32)."""
PICTURES_BYTES = 256 * 2**20
"""On a GPU, the autoencoder may always use this much memory to process several images at once."""


def work_bytes(model: MultiViewDiffusion) -> dict[str, int]:
    """Return the bytes that each network needs besides its weights; the autoencoder processes one view at a time."""
    pixels = model.image_size**2
    latents = pixels // model.vae_factor**2
    tensor = {
        "unet": VIEWS * latents * model.unet.config.block_out_channels[0] * model.dtype.itemsize,
        "vae": pixels * model.vae.config.block_out_channels[0] * model.vae.dtype.itemsize,
        "image_encoder": model.image_encoder.config.image_size**2 * model.dtype.itemsize,
    }
    return {name: TENSORS_AT_ONCE[name] * size for name, size in tensor.items()}


def pictures_at_once(model: MultiViewDiffusion) -> int:
    """Return the autoencoder's batch size: on a GPU, as many images as fit into the memory that the UNet needs anyway.

    1 on a CPU, where larger batches are not faster and round differently.
    """
    if model.device.type != "cuda" or compiling.is_compiled(model.vae):
        return 1
    work = work_bytes(model)
    room = max(PICTURES_BYTES, work["unet"] * (2 if model.offload.plan.batch_guidance else 1))
    return max(1, min(VIEWS, room // work["vae"]))

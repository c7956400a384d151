"""Memory that the networks need while they run, beside their weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..rendering.cameras import VIEW_NAMES
from . import compiling

if TYPE_CHECKING:
    from .diffusion import MultiViewDiffusion

VIEWS = len(VIEW_NAMES)
TENSORS_AT_ONCE = {"unet": 28, "vae": 9, "image_encoder": 100}
"""How many tensors of its first level's size a network holds at the peak, counted over its operations, measured for the
autoencoder (8.3 at full size in float32)."""
PICTURES_BYTES = 256 * 2**20
"""Work space that pictures may share a pass of the autoencoder in, on a graphics card, whatever else takes more."""


def work_bytes(model: MultiViewDiffusion) -> dict[str, int]:
    """Bytes that each network takes beside its weights for six views, one of them at a time where it can."""
    pixels = model.image_size**2
    latents = pixels // model.vae_factor**2
    tensor = {
        "unet": VIEWS * latents * model.unet.config.block_out_channels[0] * model.dtype.itemsize,
        "vae": pixels * model.vae.config.block_out_channels[0] * model.vae.dtype.itemsize,
        "image_encoder": model.image_encoder.config.image_size**2 * model.dtype.itemsize,
    }
    return {name: TENSORS_AT_ONCE[name] * size for name, size in tensor.items()}


def pictures_at_once(model: MultiViewDiffusion) -> int:
    """How many the autoencoder takes; on a graphics card those that take no more than other networks do anyway.

    On a CPU one: more bring nothing there, and other sums.
    """
    if model.device.type != "cuda" or compiling.is_compiled(model.unet):
        return 1
    work = work_bytes(model)
    room = max(PICTURES_BYTES, work["unet"] * (2 if model.offload.plan.batch_guidance else 1))
    return max(1, min(VIEWS, room // work["vae"]))

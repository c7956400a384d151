"""Compile the UNet and the decoder with ``torch.compile`` for static shapes.

The UNet's blocks are compiled one by one, so that :mod:`.deep_cache` can skip compiled blocks too. Compiling takes
about a minute once per machine. The kernels are cached in :func:`~facelift_core.user_dirs.kernels_folder`, so later
processes take a few seconds.
"""

from __future__ import annotations

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import nn

from ..user_dirs import keep_kernels
from . import channels_last

RECOMPILES_MAX = 64
"""PyTorch's limit counts per function, and all blocks of one class share their code."""
MARK = "compiled_by_facelift"


def compile_networks(unet: UNet2DConditionModel, vae: AutoencoderKL, backend: str = "inductor") -> None:
    """Compile the blocks of `unet` and the decoder of `vae`, each at its first use with a batch size."""
    keep_kernels()
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, RECOMPILES_MAX)
    for block in (*_blocks(unet), vae.decoder):
        channels_last.unfit(block)  # the compiler does the same fusion
        block.forward = torch.compile(block.forward, dynamic=False, backend=backend)
    setattr(unet, MARK, True)


def undo(unet: UNet2DConditionModel, vae: AutoencoderKL) -> None:
    """Undo :func:`compile_networks`, but without the patches of :mod:`.channels_last`."""
    for block in (*_blocks(unet), vae.decoder):
        block.__dict__.pop("forward", None)
    setattr(unet, MARK, False)


def is_compiled(unet: UNet2DConditionModel) -> bool:
    return getattr(unet, MARK, False)


def _blocks(unet: UNet2DConditionModel) -> list[nn.Module]:
    return [*unet.down_blocks, unet.mid_block, *unet.up_blocks]

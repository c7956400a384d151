"""UNet and decoder compiled by PyTorch for their static shapes, whose results are kept on disk.

The UNet's blocks are compiled one by one, with everything in them, so that :mod:`.deep_cache` can leave blocks out of
compiled code, too. It takes about a minute, once per machine: a later process finds the kernels in
:func:`~facelift_core.user_dirs.kernels_folder` and takes a few seconds.
"""

from __future__ import annotations

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import nn

from ..user_dirs import keep_kernels
from . import channels_last

RECOMPILES_MAX = 64
"""Blocks of one class share their code, and PyTorch counts what it compiled for each."""
MARK = "compiled_by_facelift"


def compile_networks(unet: UNet2DConditionModel, vae: AutoencoderKL, backend: str = "inductor") -> None:
    """Have the blocks of `unet` and the decoder of `vae` compiled at their first use for each size of batch."""
    keep_kernels()
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, RECOMPILES_MAX)
    for block in (*_blocks(unet), vae.decoder):
        channels_last.unfit(block)  # the compiler fuses the same by itself
        block.forward = torch.compile(block.forward, dynamic=False, backend=backend)
    setattr(unet, MARK, True)


def undo(unet: UNet2DConditionModel, vae: AutoencoderKL) -> None:
    """Have them computed as before :func:`compile_networks`, but for what :mod:`.channels_last` did."""
    for block in (*_blocks(unet), vae.decoder):
        block.__dict__.pop("forward", None)
    setattr(unet, MARK, False)


def is_compiled(unet: UNet2DConditionModel) -> bool:
    return getattr(unet, MARK, False)


def _blocks(unet: UNet2DConditionModel) -> list[nn.Module]:
    return [*unet.down_blocks, unet.mid_block, *unet.up_blocks]

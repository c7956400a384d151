"""Grows a model trained on small images into one for larger images, keeping what it has learned."""

from __future__ import annotations

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn

from ..multiview.unet import set_attention, stock_config

OUTER = 0


@torch.no_grad()
def with_outer_level(unet: UNet2DConditionModel, mode: str) -> UNet2DConditionModel:
    """Add an outer level without attention to a UNet, for latents of twice the width and height.

    Initially, the new level averages 2 × 2 features on the way down and repeats them on the way up, so the trained
    weights of `unet` remain useful; only its first and last convolutions see features of another scale.

    Args:
        mode: self-attention mode of the result, as in :func:`set_attention`.
    """
    config = dict(unet.config)
    for key in ("block_out_channels", "attention_head_dim"):
        if not isinstance(config[key], int):  # a single number applies to all levels
            config[key] = [config[key][OUTER], *config[key]]
    config["down_block_types"] = ["DownBlock2D", *config["down_block_types"]]
    config["up_block_types"] = [*config["up_block_types"], "UpBlock2D"]
    config["sample_size"] = 2 * config["sample_size"]
    grown = UNet2DConditionModel(**stock_config(config))
    grown.register_to_config(num_views=unet.config.num_views)
    set_attention(grown, unet.config.num_views, mode)
    state = grown.state_dict() | {_inner(name): tensor for name, tensor in unet.state_dict().items()}
    grown.load_state_dict(state)

    down, up = grown.down_blocks[OUTER], grown.up_blocks[-1]
    for resnet in (*down.resnets, *up.resnets):
        nn.init.zeros_(resnet.conv2.weight), nn.init.zeros_(resnet.conv2.bias)
    for resnet in up.resnets:  # pass on the upsampled features, ignore the skip connection
        _pass_on(resnet.conv_shortcut, torch.ones(1, 1))
    average, same = torch.zeros(3, 3), torch.zeros(3, 3)
    average[1:, 1:], same[1, 1] = 0.25, 1
    _pass_on(down.downsamplers[0].conv, average)
    _pass_on(grown.up_blocks[-2].upsamplers[0].conv, same)
    return grown


def is_grown(state: dict[str, Tensor], levels: int) -> bool:
    """Whether the weights of a UNet, with names that begin with ``unet.``, have more than this number of levels."""
    return any(name.startswith(f"unet.down_blocks.{levels}.") for name in state)


def _inner(name: str) -> str:
    """Name of a weight after an outer level has been added."""
    block, _, rest = name.partition(".")
    if block != "down_blocks":
        return name
    index, _, rest = rest.partition(".")
    return f"{block}.{int(index) + 1}.{rest}"


def _pass_on(convolution: nn.Conv2d, kernel: Tensor) -> None:
    """Set the convolution to filter each channel by `kernel`, without mixing channels."""
    nn.init.zeros_(convolution.weight), nn.init.zeros_(convolution.bias)
    channels = range(convolution.out_channels)
    convolution.weight[channels, channels] = kernel

"""A model that learned on small pictures as the beginning of one for larger ones, so that nothing is learned twice."""

from __future__ import annotations

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn

from ..multiview.unet import set_attention, stock_config

OUTER = 0


@torch.no_grad()
def with_outer_level(unet: UNet2DConditionModel, mode: str) -> UNet2DConditionModel:
    """The same UNet within one more level, without attention, for latents of twice the side.

    At first the new level only averages 2 × 2 features on the way in and repeats them on the way out, so that all that
    `unet` has learned is of use, and only its first and last convolution meet features of another scale.

    Args:
        mode: of its self-attention, as :func:`set_attention` takes it.
    """
    config = dict(unet.config)
    for key in ("block_out_channels", "attention_head_dim"):
        if not isinstance(config[key], int):  # one number serves all levels
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
    for resnet in up.resnets:  # of what comes from within and what the way in had left, only the first
        _pass_on(resnet.conv_shortcut, torch.ones(1, 1))
    average, same = torch.zeros(3, 3), torch.zeros(3, 3)
    average[1:, 1:], same[1, 1] = 0.25, 1
    _pass_on(down.downsamplers[0].conv, average)
    _pass_on(grown.up_blocks[-2].upsamplers[0].conv, same)
    return grown


def is_grown(state: dict[str, Tensor], levels: int) -> bool:
    """Whether the learned weights of a UNet have more than so many levels; their names begin with ``unet.``."""
    return any(name.startswith(f"unet.down_blocks.{levels}.") for name in state)


def _inner(name: str) -> str:
    """What a weight is called once its level is no longer the outermost."""
    block, _, rest = name.partition(".")
    if block != "down_blocks":
        return name
    index, _, rest = rest.partition(".")
    return f"{block}.{int(index) + 1}.{rest}"


def _pass_on(convolution: nn.Conv2d, kernel: Tensor) -> None:
    """Every output channel becomes that input channel, filtered by `kernel`."""
    nn.init.zeros_(convolution.weight), nn.init.zeros_(convolution.bias)
    channels = range(convolution.out_channels)
    convolution.weight[channels, channels] = kernel

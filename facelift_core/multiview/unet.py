"""The released UNet as diffusers' stock class: blocks renamed, self-attention replaced (docs/model.md, 1.3 and 3.5)."""

from __future__ import annotations

import inspect
from functools import partial
from pathlib import Path
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention import FeedForward
from diffusers.models.attention_processor import AttnProcessor2_0

from ..compute.onednn import in_pieces, replace_linears
from ..errors import FaceLiftError, first_line
from ..weights.state_dict import load_into, load_json, load_state_dict
from .attention import MultiViewAttention, PromptAttention

WEIGHTS_FILE = "diffusion_pytorch_model.safetensors"
UNSUPPORTED = ("cd_attention_last", "cd_attention_mid", "addition_downsample")
"""Cross-domain attention and downsampled additions: other models of this family have them, FaceLift does not."""


def load_unet(folder: str | Path) -> UNet2DConditionModel:
    """Load the multi-view UNet strictly, on the CPU, in the number format of the file.

    The weights stay memory-mapped until moved, so that a full-size UNet is in memory once.

    Args:
        folder: with ``config.json`` and ``diffusion_pytorch_model.safetensors``.

    Returns:
        The stock UNet; its batch is (branch, view), ``unet.config.num_views`` rows per branch.

    Raises:
        FaceLiftError: the config asks for something unsupported, or weights and config do not fit.
    """
    folder = Path(folder)
    config = load_json(folder / "config.json")
    for name in UNSUPPORTED:
        if config.get(name):
            raise FaceLiftError(f"{folder / 'config.json'} sets {name}, which belongs to another model than FaceLift.")
    views = config.get("num_views", 6)
    if not isinstance(views, int) or views < 1:
        raise FaceLiftError(f"{folder / 'config.json'}: num_views should be a positive number, not {views!r}.")
    try:
        with torch.device("meta"):
            unet = UNet2DConditionModel(**stock_config(config))
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RuntimeError, AssertionError) as error:
        reason = first_line(error)
        raise FaceLiftError(f"{folder / 'config.json'} does not describe a UNet: {reason}") from None
    load_into(unet, load_state_dict(folder / WEIGHTS_FILE), folder / WEIGHTS_FILE)
    unet.register_to_config(num_views=views)
    set_attention(unet, views, _mode(config))
    return unet.requires_grad_(False).eval()


def set_attention(unet: UNet2DConditionModel, views: int, mode: str) -> None:
    """Give every self-attention of `unet` the "sparse" or "dense" form across `views`, or "none": within the view."""
    self_attention = AttnProcessor2_0() if mode == "none" else MultiViewAttention(views, mode)
    names = unet.attn_processors
    unet.set_attn_processor(
        {name: self_attention if name.endswith("attn1.processor") else PromptAttention() for name in names}
    )


def attention_mode(unet: UNet2DConditionModel) -> str:
    """What :func:`set_attention` was told."""
    across = next(p for name, p in unet.attn_processors.items() if name.endswith("attn1.processor"))
    return across.mode if isinstance(across, MultiViewAttention) else "none"


def fit_to_cpu(unet: UNet2DConditionModel) -> None:
    """The same function in less time on a CPU: by its fastest products, with feed-forward layers in its cache."""
    replace_linears(unet)
    for module in unet.modules():
        if isinstance(module, FeedForward):
            module.forward = partial(in_pieces, module.forward)


def _mode(config: dict[str, Any]) -> str:
    if not config.get("multiview_attention", True):
        return "none"
    return "sparse" if config.get("sparse_mv_attention", True) else "dense"


def stock_config(config: dict[str, Any]) -> dict[str, Any]:
    """The arguments of the stock class: multi-view blocks under their stock names, keys of no use to it left out."""
    known = inspect.signature(UNet2DConditionModel.__init__).parameters.keys() - {"self"}
    stock = {key: value for key, value in config.items() if key in known}
    for key in ("down_block_types", "up_block_types"):
        if key in stock:
            stock[key] = tuple(block.replace("MV2D", "2D") for block in stock[key])
    if stock.get("mid_block_type"):
        stock["mid_block_type"] = stock["mid_block_type"].replace("MV2D", "2D")
    return stock

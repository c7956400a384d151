"""Load the released UNet into diffusers' stock class, with multi-view attention (docs/model.md, 1.3 and 3.5)."""

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
from ..weights.config import load_config
from ..weights.state_dict import load_into, load_state_dict
from .attention import MultiViewAttention, PromptAttention

WEIGHTS_FILE = "diffusion_pytorch_model.safetensors"
UNSUPPORTED = (
    "cd_attention_last", "cd_attention_mid", "addition_downsample",
    "addition_embed_type", "center_input_sample", "class_embeddings_concat", "encoder_hid_dim_type",
    "time_embedding_act_fn",
)  # fmt: skip
"""Options of related models that FaceLift does not use, such as cross-domain attention and further embeddings."""


def load_unet(folder: str | Path) -> UNet2DConditionModel:
    """Load the multi-view UNet strictly, on the CPU, in the dtype of the file.

    The weights stay memory-mapped until they are moved, so that only one copy is in memory.

    Args:
        folder: folder with ``config.json`` and ``diffusion_pytorch_model.safetensors``.

    Returns:
        The stock UNet; its batch is (branch, view), ``unet.config.num_views`` rows per branch.

    Raises:
        FaceLiftError: the config is not supported, or the weights do not match it.
    """
    folder = Path(folder)
    config = load_config(folder / "config.json")
    for name in UNSUPPORTED:
        if config.get(name):
            raise FaceLiftError(f"{folder / 'config.json'} sets {name}, which belongs to another model than FaceLift.")
    views = config.get("num_views", 6)
    try:
        with torch.device("meta"):
            unet = UNet2DConditionModel(**stock_config(config))
    except Exception as error:  # an invalid config can fail anywhere in the constructors
        reason = first_line(error)
        raise FaceLiftError(f"{folder / 'config.json'} does not describe a UNet: {reason}") from None
    load_into(unet, load_state_dict(folder / WEIGHTS_FILE), folder / WEIGHTS_FILE)
    unet.register_to_config(num_views=views)
    set_attention(unet, views, _mode(config))
    return unet.requires_grad_(False).eval()


def set_attention(unet: UNet2DConditionModel, views: int, mode: str) -> None:
    """Set the self-attention of `unet`: "sparse" or "dense" across `views` views, or "none" (within each view)."""
    self_attention = AttnProcessor2_0() if mode == "none" else MultiViewAttention(views, mode)
    names = unet.attn_processors
    unet.set_attn_processor(
        {name: self_attention if name.endswith("attn1.processor") else PromptAttention() for name in names}
    )


def attention_mode(unet: UNet2DConditionModel) -> str:
    """Return the mode set by :func:`set_attention`."""
    across = next(p for name, p in unet.attn_processors.items() if name.endswith("attn1.processor"))
    return across.mode if isinstance(across, MultiViewAttention) else "none"


def fit_to_cpu(unet: UNet2DConditionModel) -> None:
    """Make `unet` faster on a CPU: faster matrix products, and feed-forward layers in blocks that fit the cache."""
    replace_linears(unet)
    for module in unet.modules():
        if isinstance(module, FeedForward):
            module.forward = partial(in_pieces, module.forward)


def _mode(config: dict[str, Any]) -> str:
    if not config.get("multiview_attention", True):
        return "none"
    return "sparse" if config.get("sparse_mv_attention", True) else "dense"


def stock_config(config: dict[str, Any]) -> dict[str, Any]:
    """Return the stock class's arguments: multi-view blocks renamed to stock blocks, and unknown keys removed."""
    known = inspect.signature(UNet2DConditionModel.__init__).parameters.keys() - {"self"}
    stock = {key: value for key, value in config.items() if key in known}
    for key in ("down_block_types", "up_block_types"):
        if key in stock:
            stock[key] = tuple(block.replace("MV2D", "2D") for block in stock[key])
    if stock.get("mid_block_type"):
        stock["mid_block_type"] = stock["mid_block_type"].replace("MV2D", "2D")
    return stock

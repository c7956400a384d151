"""Run diffusers' UNet and autoencoder in channels last, with the kernels of :mod:`facelift_core.compute.fused`.

Computes the same function in fewer passes over memory: a block's first bias and its time embedding are fused into the
normalization that follows, its second bias into the residual, and transformers do not copy to channels first.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import MethodType

import torch
import torch.nn.functional as F
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from torch import Tensor, nn

from ..compute import fused


def fit(network: nn.Module) -> None:
    """Patch `network` to use the fused kernels; :func:`unfit` undoes it. Slower on a device without them."""
    for module in network.modules():
        if (forward := _forward(module)) is not None:
            module.forward = forward
        if isinstance(module, Transformer2DModel):
            module._get_output_for_continuous_inputs = MethodType(_transformer_output, module)


def unfit(network: nn.Module) -> None:
    """Restore the original implementation of diffusers in `network`."""
    for module in network.modules():
        if _forward(module) is not None:
            module.__dict__.pop("forward", None)
        module.__dict__.pop("_get_output_for_continuous_inputs", None)


def _forward(module: nn.Module) -> Callable[..., Tensor] | None:
    if isinstance(module, ResnetBlock2D) and _is_plain(module):
        return partial(_resnet, module)
    if isinstance(module, nn.GroupNorm):
        return partial(_group_norm, module)
    return None


def _is_plain(block: ResnetBlock2D) -> bool:
    """Return whether `block` is configured as in Stable Diffusion; other blocks are not patched."""
    resampled = block.upsample is not None or block.downsample is not None
    usual = block.time_embedding_norm == "default" and not block.skip_time_act and block.output_scale_factor == 1
    return usual and not resampled and isinstance(block.nonlinearity, nn.SiLU) and block.dropout.p == 0


def _group_norm(norm: nn.GroupNorm, x: Tensor, silu: bool = False, shift: Tensor | None = None) -> Tensor:
    return fused.group_norm(x, norm.num_groups, norm.weight, norm.bias, norm.eps, silu, shift)


def _resnet(block: ResnetBlock2D, x: Tensor, temb: Tensor | None = None) -> Tensor:
    """Forward pass of a residual block: x is (N, C, H, W); temb is the time embedding (N, T), or None."""
    hidden = _convolved(block.conv1, _group_norm(block.norm1, x, silu=True))
    shift = block.conv1.bias.expand(len(x), -1)
    if temb is not None and block.time_emb_proj is not None:
        shift = shift + block.time_emb_proj(F.silu(temb))
    hidden = _convolved(block.conv2, _group_norm(block.norm2, hidden, silu=True, shift=shift))
    return fused.add(hidden, block.conv2.bias, x if block.conv_shortcut is None else block.conv_shortcut(x))


def _convolved(convolution: nn.Conv2d, x: Tensor) -> Tensor:
    """Convolve without adding the bias."""
    return F.conv2d(x, convolution.weight, None, convolution.stride, convolution.padding)


def _transformer_output(
    self: Transformer2DModel,
    hidden_states: Tensor,
    residual: Tensor,
    batch_size: int,
    height: int,
    width: int,
    inner_dim: int,
) -> Tensor:
    """Replaces diffusers' method of that name; `hidden_states` is (N, H·W, C), `residual` is (N, C, H, W)."""

    def picture(tokens: Tensor) -> Tensor:
        return tokens.view(batch_size, height, width, -1).permute(0, 3, 1, 2)

    if self.use_linear_projection:
        return picture(self.proj_out(hidden_states)) + residual
    return self.proj_out(picture(hidden_states)) + residual


def usable(device: torch.device, dtype: torch.dtype) -> bool:
    """Return whether the kernels work on `device` in `dtype`."""
    return device.type == "cuda" and dtype in fused.HALF and fused.problem() is None

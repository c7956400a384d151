"""Linear layers in float32 on a CPU, by the faster of the two libraries that PyTorch brings along.

PyTorch multiplies float32 matrices with Intel's MKL, which uses only half of the vector width of AMD's processors.
oneDNN, which PyTorch has for convolutions, uses all of it.
"""

from __future__ import annotations

import platform
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

TOKENS_AT_ONCE = 1024
"""Of a feed-forward network on a CPU: so many keep its hidden layer in the cache."""


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x · weightᵀ + bias, as :func:`torch.nn.functional.linear`, which it is with gradients and on other devices."""
    is_float32 = x.dtype == weight.dtype == torch.float32
    if x.device.type == "cpu" and is_float32 and not torch.is_grad_enabled() and x.numel() and onednn_pays():
        return _linear_by_onednn(x, weight, bias)
    return F.linear(x, weight, bias)


class Linear(nn.Linear):
    """PyTorch's layer, computed by :func:`linear`."""

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias)


def replace_linears(network: nn.Module) -> None:
    """Have all linear layers of somebody else's `network` computed by :func:`linear`, with the same weights."""
    for parent in list(network.modules()):
        for name, child in parent.named_children():
            if type(child) is nn.Linear:
                with torch.device("meta"):
                    ours = Linear(child.in_features, child.out_features, child.bias is not None)
                ours.weight, ours.bias = child.weight, child.bias
                setattr(parent, name, ours.train(child.training))


def in_pieces(layers: Callable[[Tensor], Tensor], x: Tensor, tokens: int = TOKENS_AT_ONCE) -> Tensor:
    """layers(x) of the same shape as `x`, for layers that treat each row of `x` by itself; so many rows at a time."""
    return torch.cat([layers(rows) for rows in x.flatten(0, -2).split(tokens)]).view(x.shape)


@lru_cache(maxsize=1)
def onednn_pays() -> bool:
    """Whether to use oneDNN: a fixed rule by the processor's maker, so that a machine always gives the same numbers."""
    if not is_amd():
        return False
    x, weight = torch.eye(3, 5), torch.arange(20.0).view(4, 5)
    try:
        return torch.equal(_linear_by_onednn(x, weight, None), F.linear(x, weight))
    except (AttributeError, RuntimeError):  # this PyTorch has no oneDNN, or no such operator
        return False


def is_amd() -> bool:
    """Whether this is an x86 processor of AMD's, or of a maker that builds AMD's designs."""
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return False
    cpuinfo = Path("/proc/cpuinfo")
    text = cpuinfo.read_text(errors="replace") if cpuinfo.is_file() else platform.processor()
    return "AuthenticAMD" in text or "HygonGenuine" in text


def _linear_by_onednn(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    if not weight.is_contiguous() and not weight.t().is_contiguous():
        weight = weight.contiguous()  # for rows that lie apart there is only a reference implementation
    # Made for torch.compile, hence the underscore; the last three say that nothing is to be done to the result.
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")

"""Fast float32 linear layers on AMD CPUs.

PyTorch multiplies float32 matrices with Intel's MKL, which uses only half the vector width of AMD processors. oneDNN,
which PyTorch ships for convolutions, uses all of it.
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
"""Tokens per block of a feed-forward network on a CPU; its hidden layer then stays in the cache."""


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Compute x · weightᵀ + bias, by oneDNN if it is faster.

    With gradients enabled, on other devices, and in compiled code this is :func:`torch.nn.functional.linear`.
    """
    if torch.compiler.is_compiling():
        return F.linear(x, weight, bias)
    is_float32 = x.dtype == weight.dtype == torch.float32
    if x.device.type == "cpu" and is_float32 and not torch.is_grad_enabled() and x.numel() and onednn_pays():
        return _linear_by_onednn(x, weight, bias)
    return F.linear(x, weight, bias)


class Linear(nn.Linear):
    """:class:`torch.nn.Linear`, computed by :func:`linear`."""

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias)


def replace_linears(network: nn.Module) -> None:
    """Replace all :class:`torch.nn.Linear` layers of `network` by :class:`Linear` layers with the same weights."""
    for parent in list(network.modules()):
        for name, child in parent.named_children():
            if type(child) is nn.Linear:
                with torch.device("meta"):
                    ours = Linear(child.in_features, child.out_features, child.bias is not None)
                ours.weight, ours.bias = child.weight, child.bias
                setattr(parent, name, ours.train(child.training))


def in_pieces(layers: Callable[[Tensor], Tensor], x: Tensor, tokens: int = TOKENS_AT_ONCE) -> Tensor:
    """Compute ``layers(x)`` in blocks of `tokens` rows. `layers` must treat rows independently and keep the shape."""
    return torch.cat([layers(rows) for rows in x.flatten(0, -2).split(tokens)]).view(x.shape)


@lru_cache(maxsize=1)
def onednn_pays() -> bool:
    """Return whether to use oneDNN. A fixed rule by CPU vendor, so that results are reproducible on a machine."""
    if not is_amd():
        return False
    x, weight = torch.eye(3, 5), torch.arange(20.0).view(4, 5)
    try:
        return torch.equal(_linear_by_onednn(x, weight, None), F.linear(x, weight))
    except (AttributeError, RuntimeError):  # this PyTorch lacks oneDNN or this operator
        return False


def is_amd() -> bool:
    """Return whether this is an x86 processor by AMD, or by a vendor that builds AMD designs."""
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return False
    cpuinfo = Path("/proc/cpuinfo")
    text = cpuinfo.read_text(errors="replace") if cpuinfo.is_file() else platform.processor()
    return "AuthenticAMD" in text or "HygonGenuine" in text


def _linear_by_onednn(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    if not weight.is_contiguous() and not weight.t().is_contiguous():
        weight = weight.contiguous()  # for strided rows oneDNN has only a slow reference implementation
    # A private operator, made for torch.compile. The last three arguments select no activation.
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")

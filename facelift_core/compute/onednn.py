"""Linear layers in float32 on a CPU, by the faster of the two libraries that PyTorch brings along.

PyTorch multiplies float32 matrices by Intel's MKL, which on other makers' processors leaves half of their width unused;
for convolutions it has oneDNN, which does not. Which is faster is tried once.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

TOKENS_AT_ONCE = 1024
"""Of a feed-forward network on a CPU: so many keep its hidden layer in the cache."""
ONEDNN_GAIN = 1.25
"""How much faster oneDNN's products have to be: clearly, so that every run on a machine takes the same."""


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
    """Whether oneDNN multiplies float32 matrices clearly faster, and right; tried, which takes a tenth of a second."""
    try:
        by_onednn = product_seconds(_linear_by_onednn, torch.float32)
        x, weight = torch.eye(3, 5), torch.arange(20.0).view(4, 5)
        right = torch.equal(_linear_by_onednn(x, weight, None), F.linear(x, weight))
    except (AttributeError, RuntimeError):  # this PyTorch has no oneDNN, or no such operator
        return False
    return right and product_seconds(F.linear, torch.float32) > ONEDNN_GAIN * by_onednn


@torch.no_grad()
def product_seconds(multiply: Callable[..., Tensor], dtype: torch.dtype) -> float:
    """That a matrix product of moderate size takes by `multiply`, which is called as :func:`linear`."""
    a, b = torch.ones(512, 1024, dtype=dtype), torch.ones(1024, 1024, dtype=dtype)
    tries = []
    for _ in range(5):  # the first one prepares
        start = time.perf_counter()
        multiply(a, b, None)
        tries.append(time.perf_counter() - start)
    return min(tries)


def _linear_by_onednn(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    if not weight.is_contiguous() and not weight.t().is_contiguous():
        weight = weight.contiguous()  # for rows that lie apart there is only a reference implementation
    # Made for torch.compile, hence the underscore; the last three say that nothing is to be done to the result.
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")

"""Memory-efficient attention: never holds all scores at once, and uses the fastest kernel of each device."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from .onednn import linear, onednn_pays

QUERIES_AT_ONCE = 128
"""Query rows per CPU thread; their scores fit into a core's cache."""
SCORES_AT_ONCE = 6 * 2**20
"""Maximum over all threads. The C library requests blocks over 32 MiB from the system, zeroed, at each allocation."""
QUERIES_MIN, KEYS_MIN = 256, 1024
"""Minimum numbers of queries and keys for which computing in blocks pays off in float32."""
CUDNN_KEYS_MIN = 8192
"""Minimum number of keys for which cuDNN's attention is worth its preparation, once per size."""
CUDNN_CARDS = 8, 0
"""Minimum compute capability for which cuDNN has kernels (Ampere)."""
CUDNN_TOLERANCE = 5e-3
"""Maximum relative difference between the kernels."""


def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Compute softmax(query · keyᵀ / √d) · value.

    Args:
        query: (N, heads, L, d).
        key, value: (N, heads, M, d).

    Returns:
        (N, heads, L, d).
    """
    if query.device.type == "mps":
        return item_by_item(query, key, value)
    if query.device.type == "cpu" and not torch.compiler.is_compiling() and _blocks_pay(query, key):
        return _InBlocks.apply(query, key, value)
    if query.is_cuda and _cudnn_pays(query, key):
        return _by_cudnn(query, key, value)
    return F.scaled_dot_product_attention(query, key, value)


def item_by_item(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """:func:`attend` for Apple's MPS, whose kernels hold all scores of a call: one item of the batch at a time."""
    items = zip(query.split(1), key.split(1), value.split(1), strict=True)
    return torch.cat([F.scaled_dot_product_attention(q, k, v) for q, k, v in items])


def _blocks_pay(query: Tensor, key: Tensor) -> bool:
    """Return whether blocks beat PyTorch's fused kernel, which uses neither the CPU's bfloat16 nor oneDNN's float32
    matrix products."""
    if query.dtype == torch.bfloat16:
        return True
    enough = query.shape[-2] >= QUERIES_MIN and key.shape[-2] >= KEYS_MIN
    return enough and query.dtype == torch.float32 and onednn_pays()


def _cudnn_pays(query: Tensor, key: Tensor) -> bool:
    """Return whether to use cuDNN's kernel: for long sequences, if PyTorch has no faster one."""
    long = key.shape[-2] >= CUDNN_KEYS_MIN and query.shape[-1] == 64 and query.dtype == torch.float16
    usual = not torch.compiler.is_compiling() and not torch.is_grad_enabled()
    return long and usual and cudnn_works()


def _by_cudnn(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    # PyTorch's own kernels follow, for inputs that cuDNN has no kernel for.
    order = [SDPBackend.CUDNN_ATTENTION, SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]
    with sdpa_kernel(order, set_priority=True):
        return F.scaled_dot_product_attention(query, key, value)


@lru_cache(maxsize=1)
@torch.no_grad()
def cudnn_works() -> bool:
    """Return whether to prefer cuDNN's attention on this GPU. A fixed rule, so that results are reproducible.

    PyTorch for Windows is built without Flash Attention, and its next kernel is slow. Elsewhere PyTorch's own choice is
    kept, which is cuDNN on server GPUs from Hopper on.
    """
    if torch.cuda.get_device_capability() < CUDNN_CARDS or torch.backends.cuda.is_flash_attention_available():
        return False
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(1, 16, CUDNN_KEYS_MIN, 64, generator=generator).to("cuda", torch.float16) for _ in range(3))
    try:
        expected, found = F.scaled_dot_product_attention(q, k, v), _by_cudnn(q, k, v)
        return bool((found - expected).norm() < CUDNN_TOLERANCE * expected.norm())
    except torch.OutOfMemoryError:
        raise
    except RuntimeError:  # cuDNN has no kernel for this GPU, or this PyTorch none of cuDNN's
        return False


class _InBlocks(torch.autograd.Function):
    """Attention by matrix products over blocks of queries. The backward pass recomputes the scores.

    In bfloat16 the scores are rounded to bfloat16, which raises the error from .4 to .6 % of the output.
    """

    @staticmethod
    def forward(ctx, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        out = torch.empty(query.shape, dtype=query.dtype)
        with torch.autocast("cpu", enabled=False):  # autocast would compute every softmax in float32
            for q, k, v, o in zip(*_by_head(query, key, value, out), strict=True):
                k, columns = k.contiguous(), v.contiguous().t()
                for rows, result in _blocks(len(k), q, o):
                    result.copy_(linear(_weights(rows, k), columns))
        if any(ctx.needs_input_grad):
            ctx.save_for_backward(query, key, value, out)
        return out

    @staticmethod
    def backward(ctx, out_grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        query, key, value, out = ctx.saved_tensors
        # The gradients of keys and values are summed over the blocks; half precision would lose too much.
        query_grad = torch.empty(query.shape, dtype=query.dtype)
        key_grad, value_grad = torch.zeros(key.shape), torch.zeros(value.shape)
        scale = query.shape[-1] ** -0.5
        inputs, outputs = _by_head(query, key, value, out, out_grad), _by_head(query_grad, key_grad, value_grad)
        with torch.autocast("cpu", enabled=False):
            for q, k, v, o, og, qg, kg, vg in zip(*inputs, *outputs, strict=True):
                k, v = k.contiguous(), v.contiguous()
                for rows, result, grad, target in _blocks(len(k), q, o, og, qg):
                    grad = grad.contiguous()
                    weights = _weights(rows, k)
                    vg += linear(grad.t().contiguous(), weights.t()).t()
                    towards = linear(grad, v)
                    towards -= (grad * result).sum(-1, keepdim=True)
                    weights *= towards
                    target.copy_(linear(weights, k.t())).mul_(scale)
                    kg += linear((rows * scale).t().contiguous(), weights.t()).t()
        return query_grad, key_grad.to(key.dtype), value_grad.to(value.dtype)


def _weights(rows: Tensor, key: Tensor) -> Tensor:
    """Attention weights softmax(rows · keyᵀ / √d) of a block of queries (L, d)."""
    scores = linear(rows * rows.shape[-1] ** -0.5, key)
    return torch.softmax(scores, -1, out=scores)


def _by_head(*tensors: Tensor) -> list[Tensor]:
    """Reshape each (N, heads, L, d) to (N · heads, L, d)."""
    return [x.flatten(0, 1) for x in tensors]


def _blocks(keys: int, *tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Split all tensors into the same blocks of rows, sized so that the scores of a block stay in the cache."""
    at_once = max(1, min(QUERIES_AT_ONCE * torch.get_num_threads(), SCORES_AT_ONCE // keys))
    return zip(*(x.split(at_once) for x in tensors), strict=True)

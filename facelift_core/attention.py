"""Attention that never holds all scores, by the fastest way a device has."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .products import linear, onednn_pays

QUERIES_AT_ONCE = 128
"""For each thread of a CPU: so many rows of scores stay in a core's cache."""
SCORES_AT_ONCE = 6 * 2**20
"""At most, over all threads: the C library takes more than 32 MiB from the system anew each time, and clears them."""
QUERIES_MIN, KEYS_MIN = 256, 1024
"""From which on blocks are worth it in float32."""


def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """softmax(query · keyᵀ / √d) · value.

    Args:
        query: (N, heads, L, d).
        key, value: (N, heads, M, d).

    Returns:
        (N, heads, L, d).
    """
    if query.device.type == "mps":  # Apple's kernels hold the scores, so there one item at a time
        items = zip(query.split(1), key.split(1), value.split(1), strict=True)
        return torch.cat([F.scaled_dot_product_attention(q, k, v) for q, k, v in items])
    if query.device.type == "cpu" and not torch.is_grad_enabled() and _blocks_pay(query, key):
        return _attend_in_blocks(query, key, value)
    return F.scaled_dot_product_attention(query, key, value)


def _blocks_pay(query: Tensor, key: Tensor) -> bool:
    """PyTorch's fused kernel uses neither the processor's bfloat16 products nor, in float32, those of oneDNN."""
    if query.dtype == torch.bfloat16:
        return True
    enough = query.shape[-2] >= QUERIES_MIN and key.shape[-2] >= KEYS_MIN
    return enough and query.dtype == torch.float32 and onednn_pays()


def _attend_in_blocks(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """By plain matrix products, some queries at a time.

    In bfloat16 the scores are rounded to it, which raises the error from .4 to .6 % of the output.
    """
    scale = query.shape[-1] ** -0.5
    at_once = max(1, min(QUERIES_AT_ONCE * torch.get_num_threads(), SCORES_AT_ONCE // key.shape[-2]))
    out = torch.empty(query.shape, dtype=query.dtype)
    for q, k, v, o in zip(*(x.flatten(0, 1) for x in (query, key, value, out)), strict=True):
        k, v = k.contiguous(), v.contiguous().t()
        for rows, result in zip(q.split(at_once), o.split(at_once), strict=True):
            scores = linear(rows * scale, k)
            torch.softmax(scores, -1, out=scores)
            result.copy_(linear(scores, v))
    return out

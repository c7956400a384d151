"""Self-attention across the six views of one head (spec §3): the only thing that sets this UNet apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

Mode = Literal["sparse", "dense"]


def multiview_attention(query: Tensor, key: Tensor, value: Tensor, mode: Mode) -> Tensor:
    """Attend within and across views; scores are never materialised.

    Args:
        query, key, value: (B, V, heads, L, d), one entry of B per guidance branch; view 0 is the front.
        mode: "sparse": each view sees the front's tokens and its own, 2·L (for the front they are the same tokens
            twice, which equals seeing them once, so that is what is computed). "dense": each view sees all V·L.

    Returns:
        (B, V, heads, L, d).
    """
    views = query.shape[1]
    if mode == "dense":
        query, key, value = (rearrange(x, "b v h l d -> b h (v l) d") for x in (query, key, value))
        return rearrange(_attend(query, key, value), "b h (v l) d -> b v h l d", v=views)
    front = _attend(query[:, 0], key[:, 0], value[:, 0]).unsqueeze(1)
    if views == 1:
        return front
    keys, values = (torch.cat([x[:, :1].expand_as(x[:, 1:]), x[:, 1:]], dim=3).flatten(0, 1) for x in (key, value))
    others = _attend(query[:, 1:].flatten(0, 1), keys, values)
    return torch.cat([front, others.unflatten(0, (-1, views - 1))], dim=1)


def _attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """(N, heads, L, d) attention. Apple's kernels hold the scores, so there one item at a time."""
    if query.device.type != "mps":
        return F.scaled_dot_product_attention(query, key, value)
    items = zip(query.split(1), key.split(1), value.split(1), strict=True)
    return torch.cat([F.scaled_dot_product_attention(q, k, v) for q, k, v in items])


@dataclass(frozen=True)
class MultiViewAttention:
    """A diffusers attention processor for the self-attention ``attn1`` of a transformer block.

    Rows of the batch are (branch, view). It takes no keyword that it does not use, for diffusers drops those that a
    processor does not name without a word.
    """

    views: int
    mode: Mode

    def __call__(
        self,
        attn,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
    ) -> Tensor:
        if encoder_hidden_states is not None or attention_mask is not None:
            raise ValueError("Multi-view attention is self-attention without a mask.")
        query, key, value = (
            rearrange(project(hidden_states), "(b v) l (h d) -> b v h l d", v=self.views, h=attn.heads)
            for project in (attn.to_q, attn.to_k, attn.to_v)
        )
        dtype = hidden_states.dtype
        # Fused CUDA kernels accumulate scores in float32 anyway; elsewhere float16 scores of these weights overflow.
        if attn.upcast_attention and query.device.type != "cuda":
            query, key, value = query.float(), key.float(), value.float()
        attended = multiview_attention(query, key, value, self.mode).to(dtype)
        return attn.to_out[1](attn.to_out[0](rearrange(attended, "b v h l d -> (b v) l (h d)")))

"""Attention processors of the UNet: self-attention across the six views (docs/model.md, 3.5), which the stock UNet does
not have, and cross-attention to the prompts."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

import torch
from einops import rearrange
from torch import Tensor, nn

from ..compute.attention import attend

Mode = Literal["sparse", "dense"]


def multiview_attention(query: Tensor, key: Tensor, value: Tensor, mode: Mode) -> Tensor:
    """Attend within and across views, without storing all scores.

    Args:
        query, key, value: (B, V, heads, L, d), one entry of B per guidance branch; view 0 is the front.
        mode: "sparse": each view attends to the front's tokens and its own, 2·L in all. For the front these are the
            same tokens twice, which gives the same result as once. "dense": each view attends to all V·L tokens.

    Returns:
        (B, V, heads, L, d).
    """
    views = query.shape[1]
    if mode == "dense":
        query, key, value = (rearrange(x, "b v h l d -> b h (v l) d") for x in (query, key, value))
        return rearrange(attend(query, key, value), "b h (v l) d -> b v h l d", v=views)
    front = attend(query[:, 0], key[:, 0], value[:, 0]).unsqueeze(1)
    if views == 1:
        return front
    # The result is stored by token, as the next layer reads it, so that joining the views is the only copy.
    keys, values = (torch.cat([x[:, :1].expand_as(x[:, 1:]), x[:, 1:]], dim=3).flatten(0, 1) for x in (key, value))
    others = attend(query[:, 1:].flatten(0, 1), keys, values)
    by_token = [x.transpose(2, 3) for x in (front, others.unflatten(0, (-1, views - 1)))]
    return torch.cat(by_token, dim=1).transpose(2, 3)


def _upcast(attn, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Convert to float32 if float16 scores of these weights may overflow. CUDA kernels accumulate in float32 anyway."""
    if attn.upcast_attention and query.dtype == torch.float16 and query.device.type != "cuda":
        return query.float(), key.float(), value.float()
    return query, key, value


@dataclass(frozen=True)
class MultiViewAttention:
    """A diffusers attention processor for the self-attention ``attn1`` of a transformer block.

    Rows of the batch are (branch, view). It has no ``**kwargs``, because it would then silently ignore arguments.
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
        query, key, value = _upcast(attn, query, key, value)
        attended = multiview_attention(query, key, value, self.mode).to(hidden_states.dtype)
        return attn.to_out[1](attn.to_out[0](rearrange(attended, "b v h l d -> (b v) l (h d)")))


@dataclass
class PromptAttention:
    """A diffusers attention processor for the cross-attention ``attn2`` to the prompts.

    The prompts are the same in every step, and so are their keys and values: inside :func:`remembered_prompts` they are
    computed once per tensor of prompts.

    Attributes:
        known: for each thread inside :func:`remembered_prompts`, prompts, keys and values by the id of the prompts.
    """

    known: dict[int, dict[int, tuple[Tensor, Tensor, Tensor]]] = field(default_factory=dict)

    def __call__(
        self,
        attn,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
    ) -> Tensor:
        if encoder_hidden_states is None or attention_mask is not None:
            raise ValueError("Attention to the prompts needs prompts and takes no mask.")
        query = rearrange(attn.to_q(hidden_states), "n l (h d) -> n h l d", h=attn.heads)
        key, value = self._keys_and_values(attn, encoder_hidden_states)
        query, key, value = _upcast(attn, query, key, value)
        attended = attend(query, key, value).to(hidden_states.dtype)
        return attn.to_out[1](attn.to_out[0](rearrange(attended, "n h l d -> n l (h d)")))

    def _keys_and_values(self, attn, prompts: Tensor) -> tuple[Tensor, Tensor]:
        # The compiler cannot trace which thread it is in; compiled blocks compute keys and values in each step.
        known = None if torch.compiler.is_compiling() else self.known.get(threading.get_ident())
        if known is not None and (found := known.get(id(prompts))) is not None:
            return found[1:]
        key, value = (
            rearrange(project(prompts), "n l (h d) -> n h l d", h=attn.heads) for project in (attn.to_k, attn.to_v)
        )
        if known is not None:
            known[id(prompts)] = prompts, key, value  # keep the prompts alive, so that their id is not reused
        return key, value


@contextmanager
def remembered_prompts(unet: nn.Module) -> Iterator[None]:
    """Context manager in which keys and values are cached for each tensor of prompts, for calls of this thread."""
    processors = [p for p in unet.attn_processors.values() if isinstance(p, PromptAttention)]
    thread = threading.get_ident()
    for processor in processors:
        processor.known[thread] = {}
    try:
        yield
    finally:
        for processor in processors:
            processor.known.pop(thread, None)

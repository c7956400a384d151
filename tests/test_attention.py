"""Attention in blocks, for bfloat16 on a CPU, against the fused kernel in double precision."""

import pytest
import torch
import torch.nn.functional as F

from facelift_core import attention
from facelift_core.attention import attend


@pytest.mark.parametrize("shape", [(1, 1, 1, 1, 8), (2, 3, 300, 77, 16), (1, 5, 129, 513, 64)])
def test_blocks_in_bfloat16(shape, monkeypatch):
    n, heads, length, seen, width = shape
    generator = torch.Generator().manual_seed(0)
    query = torch.randn(n, heads, length, width, generator=generator)
    key, value = (torch.randn(n, heads, seen, width, generator=generator) for _ in range(2))
    exact = F.scaled_dot_product_attention(query.double(), key.double(), value.double())
    blocks = []
    original = attention._attend_in_blocks
    monkeypatch.setattr(attention, "_attend_in_blocks", lambda *a: blocks.append(1) or original(*a))
    with torch.no_grad():
        found = attend(query.bfloat16(), key.bfloat16(), value.bfloat16())
    assert blocks and found.shape == exact.shape and found.dtype == torch.bfloat16
    assert ((found.double() - exact).norm() / exact.norm()) < 0.02
    assert torch.equal(attend(query, key, value), F.scaled_dot_product_attention(query, key, value))


def test_training_goes_through_the_fused_kernel():
    query = torch.randn(1, 2, 8, 4, dtype=torch.bfloat16, requires_grad=True)
    attend(query, query, query).sum().backward()
    assert query.grad is not None

"""Attention in blocks, as on a CPU, against the plain formula in double precision."""

import pytest
import torch
import torch.nn.functional as F

from facelift_core.compute import attention
from facelift_core.compute.attention import attend


def inputs(n: int, heads: int, length: int, seen: int, width: int) -> list[torch.Tensor]:
    """Query, key and value whose rows lie apart, as projections have them."""
    generator = torch.Generator().manual_seed(0)
    shapes = ((n, tokens, heads, width) for tokens in (length, seen, seen))
    return [torch.randn(shape, generator=generator).transpose(1, 2) for shape in shapes]


def plain(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    scores = query.double() @ key.double().transpose(-1, -2) / query.shape[-1] ** 0.5
    return scores.softmax(-1) @ value.double()


@pytest.fixture
def blocks(monkeypatch) -> list:
    """Grows with each call of the blocks."""
    calls, original = [], attention._InBlocks.apply
    monkeypatch.setattr(attention._InBlocks, "apply", lambda *a: calls.append(1) or original(*a))
    return calls


@pytest.mark.parametrize("shape", [(1, 1, 1, 1, 8), (2, 3, 300, 77, 16), (1, 5, 129, 513, 64), (1, 2, 300, 1030, 64)])
@pytest.mark.parametrize("at_once", [attention.SCORES_AT_ONCE, 5000])
def test_blocks(shape, at_once, blocks, monkeypatch):
    monkeypatch.setattr(attention, "SCORES_AT_ONCE", at_once)
    tensors = inputs(*shape)
    exact = plain(*tensors)
    with torch.no_grad():
        rounded = attend(*(x.bfloat16() for x in tensors))
        found = attention._InBlocks.apply(*tensors)
    assert blocks and rounded.shape == exact.shape and rounded.dtype == torch.bfloat16
    assert ((rounded.double() - exact).norm() / exact.norm()) < 0.02
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), exact, rtol=0, atol=2e-6)


@pytest.mark.parametrize("pays", [True, False])
def test_float32_takes_blocks_where_they_pay(pays, blocks, monkeypatch):
    monkeypatch.setattr(attention, "onednn_pays", lambda: pays)
    long, short = inputs(1, 2, 256, 1024, 16), inputs(1, 2, 256, 77, 16)
    with torch.no_grad():
        torch.testing.assert_close(attend(*long).double(), plain(*long), rtol=0, atol=2e-6)
        assert len(blocks) == pays
        assert torch.equal(attend(*short), F.scaled_dot_product_attention(*short)) and len(blocks) == pays


@pytest.mark.parametrize(("dtype", "most_off"), [(torch.bfloat16, 0.02), (torch.float32, 2e-6)])
@pytest.mark.parametrize("at_once", [attention.SCORES_AT_ONCE, 50_000])
def test_gradients(dtype, most_off, at_once, blocks, monkeypatch):
    """Of blocks, which in training mixed precision must not change, against the plain formula's."""
    monkeypatch.setattr(attention, "SCORES_AT_ONCE", at_once)
    monkeypatch.setattr(attention, "onednn_pays", lambda: True)
    tensors = [x.to(dtype).requires_grad_() for x in inputs(2, 3, 300, 1030, 16)]
    exact = [x.detach().double().requires_grad_() for x in tensors]
    towards = torch.randn(2, 3, 300, 16, generator=torch.Generator().manual_seed(1))
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        found = attend(*tensors)
    found.backward(towards.to(dtype))
    plain(*exact).backward(towards.double())
    assert blocks and found.dtype == dtype
    for ours, theirs in zip(tensors, exact, strict=True):
        assert ours.grad.dtype == dtype
        assert (ours.grad.double() - theirs.grad).norm() < most_off * theirs.grad.norm()

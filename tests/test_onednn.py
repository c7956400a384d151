"""Linear layers by oneDNN against PyTorch's own."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from facelift_core.compute import onednn as products
from facelift_core.compute.onednn import Linear, linear, replace_linears


@pytest.fixture
def onednn(monkeypatch) -> list:
    """Grows with each product by oneDNN, which is taken whether it pays or not."""
    try:
        products._linear_by_onednn(torch.ones(1, 1), torch.ones(1, 1), None)
    except (AttributeError, RuntimeError):
        pytest.skip("this PyTorch has no oneDNN")
    calls, original = [], products._linear_by_onednn
    monkeypatch.setattr(products, "_linear_by_onednn", lambda *a: calls.append(1) or original(*a))
    monkeypatch.setattr(products, "onednn_pays", lambda: True)
    return calls


@pytest.mark.parametrize("shape", [(1, 3), (700, 3), (2, 5, 3), (2, 3, 4, 3), (0, 3), (2, 0, 3), (3,)])
@pytest.mark.parametrize("biased", [True, False])
def test_equals_pytorch(shape, biased, onednn):
    torch.manual_seed(0)
    x, weight, bias = torch.randn(shape), torch.randn(7, 3), torch.randn(7) if biased else None
    with torch.no_grad():
        found = linear(x, weight, bias)
    expected = F.linear(x, weight, bias)
    assert found.shape == expected.shape and bool(onednn) == bool(x.numel())
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-6)


@torch.no_grad()
def test_numbers_that_lie_apart(onednn):
    torch.manual_seed(0)
    x, weight = torch.randn(40, 96), torch.randn(50, 96)
    for a, w in (
        (x[:, 32:64], weight[:, 32:64]),
        (x.t()[:32].t(), weight[:, :32].contiguous().t().contiguous().t()),
        (x[::2, 5:7], weight[::3, 5:7]),
        (x[:, :50], weight[:, :50].t()),
    ):
        torch.testing.assert_close(linear(a, w), F.linear(a, w), rtol=0, atol=1e-5)
    assert onednn


def test_gradients_and_other_formats_are_pytorchs(onednn):
    layer = Linear(3, 4)
    layer(torch.ones(2, 3)).sum().backward()
    assert layer.weight.grad is not None
    with torch.no_grad():
        layer.to(torch.bfloat16)(torch.ones(2, 3, dtype=torch.bfloat16))
    assert not onednn


def test_layers_of_a_network_are_replaced(onednn):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 5), nn.ModuleList([nn.Linear(5, 6, bias=False), nn.Dropout()])).eval()
    weights, x = dict(network.named_parameters()), torch.randn(3, 4)
    expected = network[1][0](network[0](x))
    replace_linears(network)
    assert type(network[0]) is type(network[1][0]) is Linear and not network[0].training
    assert all(parameter is weights[name] for name, parameter in network.named_parameters())
    with torch.no_grad():
        found = network[1][0](network[0](x))
    assert len(onednn) == 2
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("failure", [AttributeError("no operator"), RuntimeError("not compiled with oneDNN")])
def test_without_onednn(failure, monkeypatch):
    def missing(*_):
        raise failure

    monkeypatch.setattr(products, "_linear_by_onednn", missing)
    monkeypatch.setattr(products, "is_amd", lambda: True)
    assert not products.onednn_pays.__wrapped__()


def test_wrong_products_are_not_taken(monkeypatch):
    monkeypatch.setattr(products, "is_amd", lambda: True)
    monkeypatch.setattr(products, "_linear_by_onednn", lambda x, weight, bias: F.linear(x, weight) + 1)
    assert not products.onednn_pays.__wrapped__()


@pytest.mark.parametrize("machine, maker, pays", [
    ("x86_64", "AuthenticAMD", True), ("AMD64", "HygonGenuine", True), ("x86_64", "GenuineIntel", False),
    ("aarch64", "AuthenticAMD", False),
])  # fmt: skip
def test_the_maker_of_the_processor_decides(monkeypatch, tmp_path, machine, maker, pays):
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(f"processor\t: 0\nvendor_id\t: {maker}\n")
    monkeypatch.setattr(products, "Path", lambda _: cpuinfo)
    monkeypatch.setattr(products.platform, "machine", lambda: machine)
    assert products.is_amd() == pays
    cpuinfo.unlink()
    monkeypatch.setattr(products.platform, "processor", lambda: f"AMD64 Family 25 Model 33 Stepping 0, {maker}")
    assert products.is_amd() == pays

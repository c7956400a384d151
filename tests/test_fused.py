"""Group normalisation by Triton's kernels against PyTorch's, on a card or by Triton's interpreter."""

import pytest
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, UNet2DConditionModel

from facelift_core.compute import fused
from facelift_core.multiview import channels_last

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@pytest.fixture(scope="module")
def kernels():
    pytest.importorskip("triton", reason="Triton comes with PyTorch's CUDA builds for Linux only")
    from facelift_core.compute.fused import kernels

    return kernels


def numbers(*shape: int, dtype=torch.float16, scale: float = 1.0, mean: float = 0.0) -> torch.Tensor:
    return (torch.randn(shape) * scale + mean).to(DEVICE, dtype)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize(
    ("shape", "groups"),
    [((2, 320, 8, 8), 32), ((1, 48, 16, 16), 16), ((3, 96, 5, 7), 32), ((1, 24, 67, 64), 8), ((2, 128, 70), 32)],
)
@pytest.mark.parametrize(("silu", "shifted"), [(False, False), (True, True), (True, False)])
@pytest.mark.parametrize("whole", [True, False])
def test_group_norm_equals_the_formula(kernels, monkeypatch, dtype, shape, groups, silu, shifted, whole):
    """A group by one program, or in parts."""
    monkeypatch.setattr(kernels, "HELD_MAX", 2**20 if whole else 0)
    torch.manual_seed(0)
    x = fused.channels_last(numbers(*shape, dtype=dtype, mean=0.5))
    weight, bias = numbers(shape[1], dtype=dtype), numbers(shape[1], dtype=dtype)
    shift = numbers(*shape[:2], dtype=dtype) if shifted else None
    found = kernels.group_norm(x, groups, weight, bias, 1e-5, silu, shift)
    exact = (None if t is None else t.double() for t in (weight, bias, shift))
    weight, bias, shift = exact
    expected = fused.group_norm_by_torch(x.double(), groups, weight, bias, 1e-5, silu, shift)
    assert found.dtype == dtype and found.shape == x.shape and found.stride() == x.stride()
    # One rounding, that of the result.
    torch.testing.assert_close(found.double(), expected, rtol=torch.finfo(dtype).eps, atol=2e-5)


def test_large_pictures_have_several_tiles_in_a_chunk(kernels, monkeypatch):
    """And several rounds of merging."""
    monkeypatch.setattr(kernels, "HELD_MAX", 0)
    monkeypatch.setattr(kernels, "CHUNKS_MAX", 5)
    monkeypatch.setattr(kernels, "MERGED_AT_ONCE", 2)
    torch.manual_seed(0)
    x, weight, bias = fused.channels_last(numbers(1, 16, 30, 31, mean=2.0)), numbers(16), numbers(16)
    found = kernels.group_norm(x, 4, weight, bias, 1e-5, True, None)
    expected = fused.group_norm_by_torch(x.double(), 4, weight.double(), bias.double(), 1e-5, True)
    torch.testing.assert_close(found.double(), expected, rtol=1e-3, atol=2e-5)


@pytest.mark.parametrize("held", [0, 2**20])
def test_one_shift_for_all_items_need_not_be_copied(kernels, monkeypatch, held):
    monkeypatch.setattr(kernels, "HELD_MAX", held)
    x, shift = fused.channels_last(numbers(2, 64, 4, 4)), numbers(64)
    weight, bias = numbers(64), numbers(64)
    expanded = kernels.group_norm(x, 32, weight, bias, 1e-5, True, shift.expand(2, -1))
    assert torch.equal(expanded, kernels.group_norm(x, 32, weight, bias, 1e-5, True, shift.repeat(2, 1)))


@pytest.mark.parametrize("held", [0, 2**20])
def test_a_large_mean_takes_nothing_from_the_variance(kernels, monkeypatch, held):
    """The sum of squares less the square of the sum would lose it."""
    monkeypatch.setattr(kernels, "HELD_MAX", held)
    x = fused.channels_last(numbers(1, 32, 40, 40, scale=1.0, mean=1000.0))
    ones, zeros = torch.ones(32, device=DEVICE).half(), torch.zeros(32, device=DEVICE).half()
    found = kernels.group_norm(x, 8, ones, zeros, 1e-5, False, None)
    expected = F.group_norm(x.double(), 8, ones.double(), zeros.double(), 1e-5)
    torch.testing.assert_close(found.double(), expected, rtol=1e-3, atol=1e-3)


def test_add_equals_the_formula(kernels):
    x, other = (fused.channels_last(numbers(2, 80, 9, 7)) for _ in range(2))
    bias = numbers(80)
    found = kernels.add(x, bias, other)
    expected = fused.add_by_torch(x.double(), bias.double(), other.double())
    torch.testing.assert_close(found.double(), expected, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize(
    ("shape", "launches"),
    [((12, 320, 64, 64), 3), ((12, 640, 32, 32), 1), ((12, 1280, 16, 16), 1), ((12, 2560, 8, 8), 1)],
)
def test_small_groups_take_one_launch(kernels, monkeypatch, shape, launches):
    """At the sizes of the released UNet, of which no number is computed."""
    launched = []

    class Counted:
        def __getitem__(self, grid):
            return lambda *arguments, **options: launched.append(grid)

    for name in ("_whole", "_moments", "_factors", "_apply"):
        monkeypatch.setattr(kernels, name, Counted())
    x = torch.empty(shape, dtype=torch.float16, device=DEVICE).to(memory_format=torch.channels_last)
    weight = torch.empty(shape[1], dtype=torch.float16, device=DEVICE)
    kernels.group_norm(x, 32, weight, weight, 1e-5, True, None)
    assert len(launched) == launches


def test_the_trial_passes_right_kernels_and_refuses_wrong_ones(kernels, monkeypatch):
    device = torch.device(DEVICE)
    assert fused.trial(kernels, device) is None
    monkeypatch.setattr(kernels, "add", lambda x, bias, other: x + other)
    assert "wrong results" in fused.trial(kernels, device)


def test_everything_else_is_computed_by_torch():
    """To the last bit: on a CPU, in float32, with gradients."""
    x, weight, bias, shift = torch.randn(2, 8, 4, 4), torch.randn(8), torch.randn(8), torch.randn(2, 8)
    expected = F.silu(F.group_norm(x + shift[:, :, None, None], 4, weight, bias, 1e-5))
    assert torch.equal(fused.group_norm(x, 4, weight, bias, 1e-5, True, shift), expected)
    assert torch.equal(fused.add(x, bias, x), x + (x + bias[:, None, None]))
    assert not fused.pays(x.half())


@torch.no_grad()
def small_networks() -> tuple[UNet2DConditionModel, AutoencoderKL]:
    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        sample_size=8, in_channels=8, out_channels=4, block_out_channels=(32, 64), layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        attention_head_dim=(1, 2), cross_attention_dim=16, use_linear_projection=True, norm_num_groups=8,
    )  # fmt: skip
    vae = AutoencoderKL(
        block_out_channels=(16, 32), layers_per_block=1, latent_channels=4, norm_num_groups=8,
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
    )  # fmt: skip
    for network in (unet, vae):
        for parameter in network.eval().parameters():
            parameter += 0.1 * torch.randn_like(parameter)  # biases are 0 at first
    return unet, vae


@torch.no_grad()
def test_networks_by_the_kernels_are_the_same_function(kernels, monkeypatch):
    """Within half precision."""
    unet, vae = small_networks()
    latents, prompts = torch.randn(2, 8, 8, 8), torch.randn(2, 3, 16)
    exact = unet(latents, torch.tensor(500), prompts).sample
    expected = exact, vae.decode(exact).sample
    launched = []
    monkeypatch.setattr(fused, "pays", lambda x: launched.append(x) or x.dtype in fused.HALF)
    for network in (unet, vae):
        channels_last.fit(network.to(DEVICE, torch.bfloat16, memory_format=torch.channels_last))
    half = [x.to(DEVICE, torch.bfloat16) for x in (latents, prompts, exact)]
    found = unet(half[0], torch.tensor(500), half[1]).sample, vae.decode(half[2]).sample
    assert len(launched) > 20
    for ours, right in zip(found, expected, strict=True):
        assert ((ours.float().cpu() - right).norm() / right.norm()).item() < 0.05


@pytest.mark.parametrize("memory_format", [torch.channels_last, torch.contiguous_format])
@torch.no_grad()
def test_networks_with_the_channels_last_are_the_same_function(memory_format):
    """In double precision, where no order of adding up shows."""
    unet, vae = (network.to(torch.float64, memory_format=memory_format) for network in small_networks())
    latents, prompts = torch.randn(2, 8, 8, 8).double(), torch.randn(2, 3, 16).double()

    def results() -> list[torch.Tensor]:
        drawn = unet(latents, torch.tensor(500), prompts).sample
        return [drawn, vae.decode(drawn).sample, vae.encode(vae.decode(drawn).sample).latent_dist.mode()]

    before = results()
    for network in (unet, vae):
        channels_last.fit(network)
    fitted = results()
    for network in (unet, vae):
        channels_last.unfit(network)
    for plain, fit, after in zip(before, fitted, results(), strict=True):
        torch.testing.assert_close(fit, plain, rtol=1e-10, atol=1e-10)
        assert torch.equal(after, plain)

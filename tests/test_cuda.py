"""What only a graphics card can show: its own ways of computing give what the plain ones give."""

import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from facelift_core.compute import attention, fused
from facelift_core.compute.upload import PIECE_BYTES, staging_for, upload
from facelift_core.gaussians.filters import keep_indices
from facelift_core.multiview import MultiViewDiffusion, channels_last, graphs
from facelift_core.pipeline import FaceLift, lift
from facelift_core.progress import Monitor

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
HALF = 0.03
"""By which a pixel may differ after some steps in half precision, in the mean of squares."""


@pytest.fixture(scope="module")
def model() -> FaceLift:
    return FaceLift.from_pretrained("mini", "cuda")


@pytest.fixture(scope="module")
def portrait(model) -> Image.Image:
    torch.manual_seed(0)
    side = model.multiview.image_size
    noise = F.interpolate(torch.rand(1, 3, 8, 8), size=side, mode="bicubic")[0].clamp(0, 1)
    return Image.fromarray((noise.permute(1, 2, 0) * 255).byte().numpy())


def difference(a: torch.Tensor, b: torch.Tensor) -> float:
    return (a - b).square().mean().sqrt().item()


@pytest.mark.parametrize("preset", ["balanced", "fast"])
def test_recorded_evaluations_give_what_launched_ones_give(model, portrait, preset, monkeypatch):
    recorded = model.multiview(portrait, preset=preset)
    assert graphs.problem() is None
    monkeypatch.setattr(MultiViewDiffusion, "records", lambda self, how: False)
    assert torch.equal(recorded, model.multiview(portrait, preset=preset))


def test_recordings_give_their_memory_back(model, portrait):
    """And take little more than launched evaluations while they are there."""
    peaks = []
    for record in (False, True):
        with pytest.MonkeyPatch.context() as patch:
            if not record:
                patch.setattr(MultiViewDiffusion, "records", lambda self, how: False)
            model.multiview(portrait, preset="balanced")
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_reserved()
            model.multiview(portrait, preset="balanced")
            peaks.append(torch.cuda.max_memory_reserved())
            torch.cuda.empty_cache()
            assert torch.cuda.memory_reserved() <= before + 2**21
    assert peaks[1] <= peaks[0] + 2**26


def test_what_cannot_be_recorded_leaves_the_card_usable(monkeypatch):
    monkeypatch.setattr(graphs, "_failures", [])
    recordings, x = graphs.Recordings(graphs.CudaGraphs()), torch.ones(4, device="cuda")
    waits = lambda x: (x * float(x.sum()),)  # noqa: E731
    assert [recordings("a", waits, x)[0].sum().item() for _ in range(3)] == [16.0] * 3
    assert recordings.record is None and graphs.problem()
    torch.cuda.empty_cache()
    assert torch.cuda.current_stream() == torch.cuda.default_stream()
    assert torch.ones(1 << 22, device="cuda").sum().item() == 1 << 22


def test_the_kernels_give_what_pytorch_gives(model, portrait):
    assert fused.problem() is None
    networks = model.multiview.unet, model.multiview.vae
    with_kernels = model.multiview(portrait, preset="balanced")
    for network in networks:
        channels_last.unfit(network)
    plain = model.multiview(portrait, preset="balanced")
    for network in networks:
        channels_last.fit(network)
    assert difference(with_kernels, plain) < HALF


def test_a_card_gives_what_a_processor_gives(model):
    """From the same views; random numbers differ between devices."""
    views = torch.rand(6, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    monitor = Monitor("gaussians", None, None)
    on_card, on_cpu = (
        lift(m.gslrm, views, monitor).to("cpu") for m in (model, FaceLift.from_pretrained("mini", "cpu"))
    )
    assert (on_card.positions - on_cpu.positions).abs().mean() < 2e-3
    kept = [set(keep_indices(gaussians).tolist()) for gaussians in (on_card.to("cuda"), on_card)]
    assert len(kept[0] ^ kept[1]) <= 1e-4 * len(on_card)  # the two round exponentials differently


@torch.no_grad()
def test_long_attention_is_right_whoever_computes_it():
    torch.manual_seed(0)
    q, k, v = (torch.randn(2, 4, 8200, 64, device="cuda", dtype=torch.float16) for _ in range(3))
    expected = F.scaled_dot_product_attention(q[:, :1, :512].float(), k[:, :1].float(), v[:, :1].float())
    found = attention.attend(q, k, v)[:, :1, :512].float()
    assert ((found - expected).norm() / expected.norm()).item() < 5e-3


def test_weights_arrive_in_pinned_pieces_as_they_are(model):
    on_cpu = FaceLift.from_pretrained("mini", "cpu").multiview
    networks = ((model.multiview.unet, on_cpu.unet), (model.multiview.vae, on_cpu.vae))
    for name, (there, here) in zip(("unet", "vae"), networks, strict=True):
        for (key, found), expected in zip(there.state_dict().items(), here.state_dict().values(), strict=True):
            assert torch.equal(found.cpu(), expected.to(found.dtype)), (name, key)
        convolutions = [p for p in there.parameters() if p.ndim == 4]
        assert convolutions and all(p.is_contiguous(memory_format=torch.channels_last) for p in convolutions)


def test_buffers_are_not_overwritten_while_the_card_reads_them():
    staging = staging_for(torch.device("cuda"))
    for number in range(6):
        tensor = torch.full((3 * PIECE_BYTES // 4 + 5,), float(number))
        assert torch.equal(upload(tensor, torch.float32, torch.device("cuda"), staging=staging).cpu(), tensor)


def test_two_heads_at_once_are_those_made_alone(model, portrait):
    alone = model.multiview(portrait, preset="balanced")
    for views in model.multiview.several([portrait, portrait], preset="balanced"):
        assert difference(views, alone) < HALF

"""Weights arrive on a device bit by bit the same, and no buffer is written to while a GPU still reads it."""

import pytest
import torch

from facelift_core.compute import offload
from facelift_core.compute.memory_plan import PLANS
from facelift_core.compute.offload import WeightOffload
from facelift_core.compute.upload import Staging, staging_for, upload
from facelift_core.multiview import MultiViewDiffusion

CPU = torch.device("cpu")


class Card:
    """Counts the events behind pieces, and how often somebody waits for one."""

    def __init__(self, piece: int):
        self.waits = 0
        self.staging = Staging(
            (torch.zeros(piece, dtype=torch.uint8), torch.zeros(piece, dtype=torch.uint8)), self.mark
        )
        self.events = []

    def mark(self):
        card = self

        class Reached:
            def synchronize(self):
                card.waits += 1

        self.events.append(Reached())
        return self.events[-1]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.bool])
@pytest.mark.parametrize("shape", [(), (0,), (1,), (7, 3), (5, 4, 3, 3), (300,)])
def test_pieces_add_up_to_the_tensor(dtype, shape):
    card, tensor = Card(64), torch.randn(shape).mul(100).to(dtype)
    found = upload(tensor, dtype, CPU, staging=card.staging)
    assert (torch.equal(found, tensor) and found.data_ptr() != tensor.data_ptr()) or not tensor.numel()
    bytes_of = tensor.numel() * tensor.element_size()
    assert len(card.events) == max(1, -(-bytes_of // 64))


def test_a_buffer_is_filled_again_when_the_card_has_read_it():
    """Two pieces may be on their way; for each further one the card is waited for, also from tensor to tensor."""
    card = Card(40)
    for number in range(3):
        assert torch.equal(
            upload(torch.full((10,), number), torch.int64, CPU, staging=card.staging), torch.full((10,), number)
        )
    assert len(card.events) == 6 and card.waits == 4


def test_what_is_not_contiguous_arrives_in_order():
    tensor = torch.arange(24.0).view(4, 6).t()
    assert torch.equal(upload(tensor, torch.float32, CPU, staging=Card(16).staging), tensor)


def test_dtype_and_layout_are_changed_on_the_device():
    tensor = torch.randn(4, 3, 2, 2)
    found = upload(tensor, torch.float16, CPU, channels_last=True, staging=Card(64).staging)
    assert torch.equal(found, tensor.half()) and found.is_contiguous(memory_format=torch.channels_last)
    assert upload(torch.randn(4, 3), torch.float32, CPU, channels_last=True).is_contiguous()


def test_a_processor_keeps_the_mapped_file():
    tensor = torch.randn(4, 3, 2, 2)
    assert staging_for(CPU) is None
    assert upload(tensor, torch.float32, CPU).data_ptr() == tensor.data_ptr()


@pytest.mark.parametrize("plan", [PLANS[0], PLANS[2]])
def test_networks_placed_in_pieces_are_the_same(weights_folder, monkeypatch, plan):
    expected = MultiViewDiffusion.from_pretrained(weights_folder, "cpu").unet.state_dict()
    sent = []
    monkeypatch.setattr(offload, "staging_for", lambda device: sent.append(1) or Card(1 << 16).staging)
    model = MultiViewDiffusion.from_pretrained(weights_folder, "cpu", settle=False)
    assert not sent
    model.offload.settle(plan)
    with model.offload.using("unet"):
        assert sent
        for name, tensor in model.unet.state_dict().items():
            same = expected[name] if plan is PLANS[0] else expected[name].half().float()
            assert torch.equal(tensor, same), name


def test_only_a_card_keeps_convolutions_in_another_layout():
    network = torch.nn.Conv2d(8, 8, 3)
    there = WeightOffload(CPU)
    there.add("network", network, 0, channels_last=True)
    there.settle(PLANS[0])
    assert network.weight.is_contiguous()

"""One loaded model used by several threads, arguments as callers give them, limited memory (tests/field/README.md)."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from PIL import Image, ImageOps

import facelift_core as fl
from facelift_core.compute.memory_plan import PLANS
from facelift_core.presets import Sampling

GOLDENS = Path(__file__).parents[1] / "goldens"
FAST = Sampling(4, "dpm", reuse=2)


@pytest.fixture
def model(weights_folder) -> fl.FaceLift:
    return fl.FaceLift.from_pretrained(weights_folder, device="cpu")


# Several users


@pytest.mark.parametrize("plan", [PLANS[0], PLANS[-1]], ids=lambda plan: plan.name)
def test_threads_that_share_a_model_get_their_own_views(model, plan):
    model.offload.settle(plan)
    front = Image.open(GOLDENS / "input.png").convert("RGB")
    wanted = [(front, 1), (ImageOps.mirror(front), 2), (ImageOps.flip(front), 3)]
    expected = [model.multiview(portrait, seed=seed, preset=FAST) for portrait, seed in wanted]
    together = threading.Barrier(len(wanted))

    def run(portrait: Image.Image, seed: int) -> torch.Tensor:
        together.wait()
        return model.multiview(portrait, seed=seed, preset=FAST)

    with ThreadPoolExecutor(len(wanted)) as pool:
        for _ in range(2):
            for views, alone in zip(pool.map(run, *zip(*wanted, strict=True)), expected, strict=True):
                torch.testing.assert_close(views, alone, rtol=0, atol=1e-5)
    unet = model.multiview.unet
    assert not any("forward" in vars(block) for block in (*unet.down_blocks, unet.mid_block, *unet.up_blocks))
    assert not any(getattr(processor, "known", None) for processor in unet.attn_processors.values())
    assert not model.offload.in_use


def test_weights_stay_while_another_run_uses_them(model):
    offload = model.offload
    offload.settle(PLANS[-1])
    weight = next(model.multiview.unet.parameters())
    with offload.using("unet"):
        with offload.using("unet"):
            pass
        assert weight.dtype == torch.float32
        with offload.without("unet"):
            assert weight.dtype == torch.float16
        assert weight.dtype == torch.float32
        settling = threading.Thread(target=offload.settle, args=(PLANS[0],))
        settling.start()
        settling.join(0.2)
        assert settling.is_alive() and offload.plan == PLANS[-1]
    settling.join(20)
    assert offload.plan == PLANS[0]


def test_a_model_that_runs_cannot_be_compiled(model):
    with model.offload.using("unet"), pytest.raises(fl.FaceLiftError, match="while it is running"):
        model.multiview.compile("eager")

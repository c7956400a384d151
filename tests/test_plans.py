"""Memory plans: choosing one, stepping down, and that all give the same."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

import facelift_core as fl
from facelift_core import pipeline
from facelift_core.compute import device
from facelift_core.compute.memory_plan import PLANS, RESERVE, SLACK, Needs, choose, step_down

GIB = 2**30
GOLDENS = Path(__file__).parent / "goldens"
RELEASED = Needs(  # half precision on a graphics card
    weights={
        "image_encoder": int(1.2 * GIB),
        "vae": int(0.16 * GIB),
        "unet": int(1.62 * GIB),
        "gslrm": int(0.57 * GIB),
    },
    parked={"image_encoder": 0, "vae": 0, "unet": 0, "gslrm": 0},
    work={"image_encoder": 0, "vae": int(0.57 * GIB), "unet": int(0.41 * GIB), "gslrm": int(0.62 * GIB)},
)


def test_plans_take_less_and_less():
    peaks = [RELEASED.peak(plan) for plan in PLANS]
    assert peaks == sorted(peaks, reverse=True) and len(set(peaks)) == len(peaks)


@pytest.mark.parametrize("card, context, plan", [(24, 1.0, 0), (12, 1.0, 0), (8, 1.0, 0), (6, 0.8, 1), (4, 0.7, 2)])
def test_released_weights_on_graphics_cards(card, context, plan):
    """`context` is what the system and CUDA itself take of a card."""
    free = int((card - context) * GIB)
    chosen = choose(free, RELEASED)
    assert chosen == PLANS[plan]
    assert RELEASED.peak(chosen) < free


def test_the_fastest_plan_that_fits():
    for i, plan in enumerate(PLANS):
        enough = int(RELEASED.peak(plan) * SLACK + RESERVE) + 1
        assert choose(enough, RELEASED) == plan
        if i + 1 < len(PLANS):
            assert choose(enough - 2, RELEASED) == PLANS[i + 1]
    assert choose(0, RELEASED) == PLANS[-1], "the one with the best chance"
    assert choose(None, RELEASED) == PLANS[0]


def test_stepping_down_ends():
    plan, seen = PLANS[0], []
    while plan is not None:
        seen.append(plan)
        plan = step_down(plan)
    assert seen == list(PLANS)


def test_weights_that_wait_in_the_same_memory():
    """On a CPU: half-precision copies stay while one network works in float32."""
    needs = Needs({"unet": 400, "b": 100}, {"unet": 200, "b": 50}, {"unet": 10, "b": 30})
    assert needs.peak(PLANS[0]) == 500 + 30
    assert needs.peak(PLANS[2]) == 250 + 400 + 20
    # Weights that wait as they are need no second copy, and turns save nothing.
    same = Needs({"unet": 200, "b": 50}, {"unet": 200, "b": 50}, {"unet": 40, "b": 30})
    assert same.peak(PLANS[2]) == same.peak(PLANS[0]) == 250 + 80


def test_what_the_libraries_take_is_there_in_every_plan():
    with_libraries = dataclasses.replace(RELEASED, overhead=GIB)
    assert all(with_libraries.peak(plan) == RELEASED.peak(plan) + GIB for plan in PLANS)


def test_the_photos_front_is_made_when_no_network_is_at_work():
    needs = Needs({"unet": 400, "b": 100}, {"unet": 200, "b": 50}, {"unet": 10, "b": 30})
    with_skin = dataclasses.replace(needs, skin=1000)
    assert [with_skin.peak(plan) for plan in PLANS] == [1500, 1500, 1250, 1250]
    assert all(dataclasses.replace(needs, skin=30).peak(plan) == needs.peak(plan) for plan in PLANS)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="resident memory is told differently")
@pytest.mark.parametrize("number", range(len(PLANS)), ids=[plan.name for plan in PLANS])
def test_measured_memory_is_not_above_what_was_planned(number):
    """Of mini in a process of its own, whose threads each have buffers: with one, all machines are alike."""
    script = Path(__file__).parents[1] / "benchmarks" / "memory.py"
    command = [sys.executable, script, "--weights", "mini", "--dtype", "float32", "--plan", str(number)]
    done = subprocess.run(
        command, env=os.environ | {"OMP_NUM_THREADS": "1"}, check=True, capture_output=True, text=True
    )
    row = json.loads(done.stdout.splitlines()[-1])
    assert row["plan"] == PLANS[number].name
    assert 0.4 * row["planned_mib"] < row["peak_mib"] < 1.1 * row["planned_mib"]


# --- On real networks ---


@pytest.fixture
def model(weights_folder) -> fl.FaceLift:
    return fl.FaceLift.from_pretrained(weights_folder, device="cpu")


@pytest.fixture(scope="module")
def portrait() -> Image.Image:
    return Image.open(GOLDENS / "input.png").convert("RGB")


@pytest.fixture(scope="module")
def expected(weights_folder, portrait) -> fl.Result:
    return fl.FaceLift.from_pretrained(weights_folder, device="cpu").reconstruct(
        portrait, steps=2, crop=False, matting="none", likeness="off"
    )


def run(model, portrait, **how) -> fl.Result:
    return model.reconstruct(portrait, steps=2, crop=False, matting="none", likeness="off", **how)


@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: plan.name)
def test_every_plan_gives_the_same(model, portrait, expected, plan):
    batches = []
    model.multiview.unet.conv_in.register_forward_pre_hook(lambda module, args: batches.append(len(args[0])))
    model.offload.settle(plan)
    result = run(model, portrait)
    assert set(batches) == {12 if plan.batch_guidance else 6}
    # Weights that wait are rounded to half precision, in which released ones come anyway.
    tolerance = 2e-2 if plan.offload else 1e-5
    torch.testing.assert_close(result.views, expected.views, rtol=0, atol=tolerance)
    positions = model.reconstruct_from_views(expected.views).raw_gaussians.positions
    torch.testing.assert_close(positions, expected.raw_gaussians.positions, rtol=0, atol=tolerance)


def test_weights_take_turns(model, portrait):
    unet = next(model.multiview.unet.parameters())
    lift = next(model.gslrm.parameters())
    model.offload.settle(PLANS[3])
    assert unet.dtype == lift.dtype == torch.float16
    seen = []
    model.multiview.unet.conv_in.register_forward_pre_hook(lambda *_: seen.append(("unet", unet.dtype, lift.dtype)))
    model.gslrm.transformer_layers[0].register_forward_pre_hook(
        lambda *_: seen.append(("gslrm", unet.dtype, lift.dtype))
    )
    run(model, portrait)
    half, full = torch.float16, torch.float32
    assert set(seen) == {("unet", full, half), ("gslrm", half, full)}
    assert unet.dtype == lift.dtype == half
    model.offload.settle(PLANS[0])
    assert unet.dtype == lift.dtype == full


def out_of_memory(times: int, error: Exception):
    """A hook that fails so often, then not any more."""
    left = [times]

    def hook(*_):
        if left[0] > 0:
            left[0] -= 1
            raise error

    return hook


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("MPS backend out of memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
        MemoryError(),
    ],
)
def test_out_of_memory_goes_on_with_the_next_plan(model, portrait, expected, error):
    model.multiview.unet.conv_in.register_forward_pre_hook(out_of_memory(1, error))
    told = []
    result = run(model, portrait, progress=lambda stage, fraction, message: told.append((stage, message)))
    assert model.offload.plan == PLANS[1]
    assert ("views", f"Not enough memory; continuing with {PLANS[1].name}") in told
    torch.testing.assert_close(result.views, expected.views, rtol=0, atol=1e-5)


def test_out_of_memory_in_the_second_stage_keeps_the_views(model, portrait, expected):
    evaluations = []
    model.multiview.unet.conv_in.register_forward_pre_hook(lambda *_: evaluations.append(1))
    model.gslrm.transformer_layers[0].register_forward_pre_hook(out_of_memory(2, MemoryError()))
    result = run(model, portrait)
    assert model.offload.plan == PLANS[2] and len(evaluations) == 2
    torch.testing.assert_close(result.raw_gaussians.positions, expected.raw_gaussians.positions, rtol=0, atol=2e-2)


def test_out_of_memory_with_every_plan_is_one_sentence(model, portrait):
    model.multiview.unet.conv_in.register_forward_pre_hook(out_of_memory(99, MemoryError()))
    with pytest.raises(device.NotEnoughMemory, match=r"Not enough memory; close other programs"):
        run(model, portrait)
    assert model.offload.plan == PLANS[-1]


def test_the_plan_is_chosen_by_what_is_free(weights_folder, monkeypatch):
    monkeypatch.setattr(pipeline, "free_memory", lambda device: 0)
    tight = fl.FaceLift.from_pretrained(weights_folder, device="cpu")
    assert tight.offload.plan == min(PLANS, key=tight.offload.needs.peak)
    monkeypatch.setattr(pipeline, "free_memory", lambda device: None)
    assert fl.FaceLift.from_pretrained(weights_folder, device="cpu").offload.plan == PLANS[0]


def test_weights_that_do_not_fit_are_loaded_by_the_next_plan(weights_folder, monkeypatch):
    from facelift_core.compute.offload import WeightOffload

    settle, tried = WeightOffload.settle, []

    def settle_or_fail(self, plan):
        tried.append(plan)
        if not plan.offload:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        settle(self, plan)

    monkeypatch.setattr(WeightOffload, "settle", settle_or_fail)
    model = fl.FaceLift.from_pretrained(weights_folder, device="cpu")
    assert tried == list(PLANS[:3]) and model.offload.plan == PLANS[2]


def test_free_memory_is_told():
    free = device.free_memory(torch.device("cpu"))
    assert free is None or 0 < free < 2**50


def test_large_networks_are_rounded_where_that_is_faster(monkeypatch):
    cpu = torch.device("cpu")
    for pays, expected in ((True, torch.bfloat16), (False, torch.float32)):
        monkeypatch.setattr(device, "bfloat16_pays", lambda pays=pays: pays)
        assert device.select_dtype(cpu, device.LARGE) == expected
        assert device.select_dtype(cpu, device.LARGE - 1) == torch.float32


def test_plans_are_plain_data():
    assert dataclasses.asdict(PLANS[0]) == {"name": PLANS[0].name, "batch_guidance": True, "offload": False}

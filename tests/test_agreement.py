"""Views that agree: what the hook sees, and that nothing else changes."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from diffusers import DDIMScheduler
from PIL import Image

import facelift_core as fl
from facelift_core import drawing
from facelift_core.compute.memory_plan import PLANS
from facelift_core.images import to_pictures
from facelift_core.likeness.front import Front
from facelift_core.multiview import agreement, solvers
from facelift_core.multiview.agreement import MIN_OPACITY, Agreement, affordable
from facelift_core.presets import SOLVERS, Sampling
from facelift_core.progress import Monitor
from facelift_core.rendering import render
from facelift_core.rendering.cameras import intrinsics, six_views

GOLDENS = Path(__file__).parent / "goldens"


@pytest.fixture(scope="module")
def portrait() -> Image.Image:
    """Its alpha is the matte, so that no background has to be found."""
    portrait = Image.open(GOLDENS / "input.png").convert("RGB")
    portrait.putalpha(255)
    portrait.putpixel((0, 0), (255, 255, 255, 0))
    return portrait


@pytest.fixture(scope="module")
def model(weights_folder) -> fl.FaceLift:
    return fl.FaceLift.from_pretrained(weights_folder, device="cpu")


FEW = 300


@pytest.fixture(autouse=True)
def drawn_quickly(monkeypatch):
    """Random weights make Gaussians as large as the picture, which take a minute to draw; no skin needs them drawn."""
    monkeypatch.setattr(agreement, "render", lambda gaussians, *camera: render(gaussians[:FEW], *camera))
    monkeypatch.setattr(fl.pipeline, "with_photo_front", lambda head, *_: Front(head, ()))


def darker(views, monitor):
    return torch.cat([views[:1], 0.5 * views[1:]])


# --- In the sampling loop ---


@pytest.mark.parametrize("solver", SOLVERS)
def test_views_that_agree_already_stay_to_the_bit(model, portrait, solver):
    how = Sampling(4, solver, agreeing_steps=2)
    without = model.multiview(portrait, preset=how)
    assert torch.equal(model.multiview(portrait, preset=how, agree=lambda views, monitor: views.clone()), without)
    assert not torch.equal(model.multiview(portrait, preset=how, agree=darker), without)


@pytest.mark.parametrize(
    "how, expected", [(Sampling(5, agreeing_steps=2), [4, 5]), (Sampling(2, agreeing_steps=3), [1, 2])]
)
def test_only_the_last_steps_agree(model, portrait, how, expected):
    evaluations, seen = [], []
    hook = model.multiview.unet.conv_in.register_forward_pre_hook(lambda *_: evaluations.append(1))

    def agree(views, monitor):
        seen.append(len(evaluations))
        assert views.shape == (6, 3, 64, 64) and views.min() >= 0 and views.max() <= 1
        return views

    model.multiview(portrait, preset=how, agree=agree)
    hook.remove()
    assert seen == expected


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize("solver", SOLVERS)
def test_the_solver_takes_over_what_the_estimate_became(model, solver, prediction):
    template = DDIMScheduler.from_config(model.multiview.scheduler.config, prediction_type=prediction)
    run = solvers.start(template, Sampling(8, solver))
    generator = torch.Generator().manual_seed(0)
    out, latents, change = (torch.randn(6, 4, 8, 8, generator=generator) for _ in range(3))
    t = run.timesteps.tolist()[-2]
    clean = run.clean(out, t, latents)
    torch.testing.assert_close(run.clean(run.shifted(out, t, change), t, latents), clean + change, rtol=0, atol=1e-4)
    assert torch.equal(run.shifted(out, t, 0 * change), out)
    if solver == "ddim":
        theirs = run.scheduler.step(out, t, latents, eta=1.0, variance_noise=0 * out).pred_original_sample
        torch.testing.assert_close(clean, theirs, rtol=0, atol=1e-4)


def test_what_agrees_in_the_last_step_is_what_comes_out(model, portrait):
    """DPM-Solver++ leaves no noise at the end: the views are those that agreed, decoded; the front is as it was."""
    seen, multiview = [], model.multiview

    def agree(views, monitor):
        seen.append(views)
        return darker(views, monitor)

    views = multiview(portrait, preset=Sampling(3, "dpm", agreeing_steps=1), agree=agree)
    without = multiview(portrait, preset=Sampling(3, "dpm"))
    torch.testing.assert_close(seen[0], without, rtol=0, atol=1e-4)
    torch.testing.assert_close(views[0], without[0], rtol=0, atol=1e-4)
    assert ((views[1:] - without[1:]).abs().amax((1, 2, 3)) > 1e-3).all()


def test_progress_grows_through_agreement_and_cancelling_stops_within_it(model, portrait):
    how, calls = Sampling(3, agreeing_steps=2), []
    agree = drawing.agreement(model, portrait)
    model.multiview(portrait, preset=how, progress=lambda *call: calls.append(call), agree=agree)
    fractions = [fraction for _, fraction, _ in calls]
    assert fractions[0] == 0 and fractions[-1] == 1 and fractions == sorted(fractions)
    messages = [message for *_, message in calls]
    assert messages.count("Making the views agree") == 2 and any(
        message.startswith("Layer 1 of") for message in messages
    )
    layers = []
    hook = model.gslrm.transformer_layers[0].register_forward_pre_hook(lambda *_: layers.append(1))
    with pytest.raises(fl.Cancelled):
        model.multiview(portrait, preset=how, cancelled=lambda: bool(layers), agree=agree)
    hook.remove()
    assert len(layers) == 1


# --- Through the head ---


@pytest.mark.parametrize("with_portrait", [False, True])
def test_all_but_the_front_become_renders_of_the_head(model, portrait, with_portrait):
    views = torch.rand(6, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    agree = drawing.agreement(model, portrait)
    lifted = agree.with_portrait(views)
    assert torch.equal(lifted[1:], views[1:]) and np.array_equal(to_pictures(lifted)[0], portrait.convert("RGB"))
    if not with_portrait:
        agree, lifted = Agreement(agree.lift), views
    agreed = agree(views, Monitor("views"))
    assert torch.equal(agreed[0], views[0]) and agreed.shape == views.shape
    with torch.no_grad():
        (head,) = model.gslrm(lifted[None], intrinsics(64).expand(1, 6, 4), six_views()[None])
    head = head[head.opacities > MIN_OPACITY][:FEW]
    large = render(head, six_views()[1:], intrinsics(256), 256, 256).permute(0, 3, 1, 2)
    torch.testing.assert_close(agreed[1:], F.avg_pool2d(large, 4).clamp(0, 1))


def test_the_front_is_the_portrait(model, portrait):
    result = model.reconstruct(portrait, crop=False, preset=Sampling(2, agreeing_steps=1), likeness="photo")
    size = (model.multiview.image_size,) * 2
    front = np.array(result.portrait.resize(size, Image.Resampling.LANCZOS))
    assert np.array_equal(to_pictures(result.views)[0], front)


def test_every_plan_gives_the_same_views(weights_folder, portrait):
    how, views = Sampling(2, agreeing_steps=1), []
    for plan in PLANS:
        model = fl.FaceLift.from_pretrained(weights_folder, "cpu", plan=plan)
        agree = drawing.agreement(model, portrait)
        views.append(model.multiview(portrait, preset=how, agree=agree))
        # Weights that wait are rounded to half precision, in which released ones come anyway.
        torch.testing.assert_close(views[-1], views[0], rtol=0, atol=5e-2 if plan.offload else 1e-4)
        for part in model.offload.parts.values():
            assert (part.home is not None) == plan.offload
            assert all(
                x.data_ptr() == home.data_ptr() for x, home in zip(part.tensors(), part.home or [], strict=False)
            )


def test_without_agreement_a_run_is_as_published(model, portrait):
    runs = [
        model.reconstruct(portrait, crop=False, preset=how, likeness="off")
        for how in (Sampling(3, agreeing_steps=2), Sampling(3))
    ]
    assert torch.equal(runs[0].views, runs[1].views)


def test_half_precision(weights_folder, portrait):
    for dtype in (torch.float16, torch.bfloat16):
        half = fl.FaceLift.from_pretrained(weights_folder, "cpu", dtype)
        result = half.reconstruct(portrait, crop=False, preset=Sampling(2, agreeing_steps=1), likeness="photo")
        assert result.views.isfinite().all() and len(result.gaussians)


def test_memory_that_does_not_suffice_for_the_head_is_no_end(weights_folder, portrait, monkeypatch):
    model = fl.FaceLift.from_pretrained(weights_folder, "cpu")
    attempts, lift = [], drawing.lift

    def scarce(*arguments):
        attempts.append(model.offload.plan)
        if len(attempts) == 1:
            raise torch.OutOfMemoryError("out of memory")
        return lift(*arguments)

    monkeypatch.setattr(drawing, "lift", scarce)
    how = Sampling(2, agreeing_steps=1)
    result = model.reconstruct(portrait, crop=False, preset=how, likeness="photo")
    assert len(result.gaussians) and attempts[:2] == list(PLANS[:2])


def test_a_large_model_on_a_processor_agrees_once():
    how = Sampling(agreeing_steps=3)
    assert affordable(how, False) == how and affordable(how, True).agreeing_steps == 1
    assert affordable(dataclasses.replace(how, agreeing_steps=0), True).agreeing_steps == 0

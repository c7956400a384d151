"""Faster ways of sampling: solvers against what they solve, guidance over part of the steps, reused features."""

import copy
import dataclasses
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode

import facelift_core as fl
from facelift_blender.presets import CUSTOM, ITEMS, of_steps
from facelift_core.compute.time_estimate import (
    REFINE_SECONDS,
    REFINE_SECONDS_BY_TORCH,
    SKIN_SECONDS,
    gslrm_products,
    measured_rate,
    unet_products,
    vae_products,
)
from facelift_core.multiview import MultiViewDiffusion, solvers
from facelift_core.multiview.attention import PromptAttention
from facelift_core.presets import PRESETS, SOLVERS, Sampling, sampling

GOLDENS = Path(__file__).parent / "goldens"
RELEASED = {"rescale_betas_zero_snr": False, "timestep_spacing": "leading", "steps_offset": 1}
MINI = {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing", "steps_offset": 0}


@pytest.fixture(scope="module")
def model(weights_folder) -> MultiViewDiffusion:
    return MultiViewDiffusion.from_pretrained(weights_folder, device="cpu")


@pytest.fixture(scope="module")
def portrait() -> Image.Image:
    return Image.open(GOLDENS / "input.png").convert("RGB")


# --- What a preset is ---


def test_presets_get_cheaper():
    assert dataclasses.replace(PRESETS["quality"], agreeing_steps=0) == Sampling(50, "ddim")
    costs = [PRESETS[name].evaluations() for name in ("quality", "balanced", "fast")]
    assert costs[0] == 600 and costs[0] > 2 * costs[1] > 2 * costs[2]
    assert all(0 < how.agreeing_steps < how.steps for how in PRESETS.values())


def test_blender_offers_every_preset():
    assert [name.lower() for name, _, _ in ITEMS] == list(PRESETS)
    assert [of_steps(steps) for steps in (50, 10, 8, 33, 0)] == ["QUALITY", "BALANCED", "FAST", CUSTOM, ""]


def test_steps_can_be_other_than_the_presets():
    assert sampling("fast", 7) == dataclasses.replace(PRESETS["fast"], steps=7)
    assert sampling(Sampling(3)) == Sampling(3)
    with pytest.raises(fl.FaceLiftError, match=r"“best”.*quality, balanced, fast"):
        sampling("best")


@pytest.mark.parametrize(
    "bad",
    [{"steps": 0}, {"solver": "euler"}, {"guided_until": -0.1}, {"guided_until": 1.1}, {"reuse": 0}],
)
def test_sampling_out_of_range(bad):
    with pytest.raises(fl.FaceLiftError):
        Sampling(**bad)


def test_guided_steps_are_counted():
    how = Sampling(10, guided_until=0.5)
    assert [step for step in range(10) if how.guides(step)] == [0, 1, 2, 3, 4]
    assert how.evaluations(3.0) == 6 * (10 + 5) and how.evaluations(1.0) == 60


# --- Solvers ---


@pytest.mark.parametrize("schedule", [RELEASED, MINI], ids=["released", "mini"])
@pytest.mark.parametrize("solver", SOLVERS)
def test_solvers_recover_data_whose_denoiser_is_known(model, solver, schedule):
    """Of one single image the exact prediction is known at every noise level; every solver has to arrive at it."""
    template = type(model.scheduler).from_config(model.scheduler.config, **schedule)
    run = solvers.start(template, Sampling(12, solver))
    signal = template.alphas_cumprod.double().sqrt()
    noise_level = (1 - template.alphas_cumprod.double()).sqrt()
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(6, 4, 8, 8, generator=generator)
    latents = torch.randn(image.shape, generator=generator) * run.scheduler.init_noise_sigma
    for t in run.timesteps.tolist():
        a, s = float(signal[t]), float(noise_level[t])
        noise = (latents - a * image) / s
        fresh = torch.randn(image.shape, generator=generator) if run.draws_noise else None
        latents = run.step(a * noise - s * image, t, run.scaled(latents, t), fresh)
    assert latents.isfinite().all()
    # DDIM ends one timestep above no noise in the released schedule.
    assert (latents - image).abs().mean() < (0.05 if solver == "ddim" else 0.01)


def test_more_steps_converge(model):
    """To the ODE's solution for Gaussian data, which is known: DPM-Solver++ and UniPC, faster than the first order."""
    spread = 0.5
    ends = {}
    for solver in ("dpm", "unipc"):
        for steps in (5, 10, 20, 200):
            run = solvers.start(model.scheduler, Sampling(steps, solver))
            alphas = model.scheduler.alphas_cumprod.double()
            latents = torch.linspace(-2, 2, 32).reshape(1, 1, 4, 8).double()
            for t in run.timesteps.tolist():
                a, s = alphas[t].sqrt(), (1 - alphas[t]).sqrt()
                clean = a * spread**2 / (a**2 * spread**2 + s**2) * latents  # the mean of what may lie below
                noise = (latents - a * clean) / s
                latents = run.step(a * noise - s * clean, t, latents, None)
            ends[solver, steps] = latents
        errors = [(ends[solver, steps] - ends[solver, 200]).abs().max() for steps in (5, 10, 20)]
        assert errors[0] > 2 * errors[1] > 4 * errors[2], solver
    torch.testing.assert_close(ends["dpm", 200], ends["unipc", 200], rtol=1e-3, atol=1e-3)


def test_thresholding_is_refused(model):
    template = type(model.scheduler).from_config(model.scheduler.config, thresholding=True)
    with pytest.raises(fl.FaceLiftError, match="thresholding"):
        solvers.start(template, Sampling(3))


def test_solvers_without_noise_draw_none(model, portrait):
    first = model(portrait, 3, seed=5, preset="fast")
    assert torch.equal(first, model(portrait, 3, seed=5, preset="fast"))
    assert not torch.equal(first, model(portrait, 3, seed=6, preset="fast"))
    assert not solvers.start(model.scheduler, PRESETS["fast"]).draws_noise


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_evaluate_as_often_as_they_say(model, portrait, preset):
    rows = []
    hook = model.unet.conv_in.register_forward_pre_hook(lambda module, args: rows.append(len(args[0])))
    views = model(portrait, preset=preset)
    hook.remove()
    assert views.isfinite().all() and sum(rows) == PRESETS[preset].evaluations() and len(rows) == PRESETS[preset].steps


@pytest.mark.parametrize("solver", SOLVERS)
def test_more_steps_than_the_schedule_has(model, portrait, solver):
    short = type(model.scheduler).from_config(model.scheduler.config, num_train_timesteps=20)
    with pytest.raises(fl.FaceLiftError, match="21 steps"):
        dataclasses.replace(model, scheduler=short)(portrait, 21, preset=Sampling(solver=solver))


# --- Guidance and reuse ---


def test_steps_without_guidance_take_half_the_batch(model, portrait):
    rows = []
    hook = model.unet.conv_in.register_forward_pre_hook(lambda module, args: rows.append(len(args[0])))
    model(portrait, preset=Sampling(4, "dpm", guided_until=0.75))
    hook.remove()
    assert rows == [12, 12, 12, 6]


def test_prompts_are_projected_once_per_run(model, portrait):
    processors = [p for p in model.unet.attn_processors.values() if isinstance(p, PromptAttention)]
    projections = []
    hooks = [
        module.to_k.register_forward_pre_hook(lambda *_, name=name: projections.append(name))
        for name, module in model.unet.named_modules()
        if name.endswith("attn2")
    ]
    model(portrait, 4)
    for hook in hooks:
        hook.remove()
    assert len(projections) == len(set(projections)) == len(processors) > 0
    assert not any(processor.known for processor in processors)


def test_reuse_computes_deep_blocks_less_often(model, portrait):
    counts = {}
    blocks = {"first": model.unet.down_blocks[0], "deep": model.unet.mid_block, "last": model.unet.up_blocks[-1]}
    inner = {name: next(block.children())[0] for name, block in blocks.items()}
    hooks = [
        module.register_forward_pre_hook(lambda *_, name=name: counts.update({name: counts.get(name, 0) + 1}))
        for name, module in inner.items()
    ]
    model(portrait, preset=Sampling(6, reuse=3))
    for hook in hooks:
        hook.remove()
    assert counts == {"first": 6, "deep": 2, "last": 6}


@pytest.mark.parametrize("in_parts", [False, True])
def test_reused_features_belong_to_their_branch(model, portrait, in_parts):
    """Where the UNet does not change from step to step, reusing changes nothing: here with time and latents fixed."""
    from facelift_core.multiview.guidance import Condition, denoiser

    generator = torch.Generator().manual_seed(1)
    channels, width = model.unet.config.in_channels // 2, model.unet.config.projection_class_embeddings_input_dim
    condition = Condition(
        torch.randn(6, width, generator=generator),
        torch.randn(6, channels, 8, 8, generator=generator),
        model.prompt_embeds,
    )
    latents, t = torch.randn(6, channels, 8, 8, generator=generator), torch.tensor(500)
    with torch.no_grad(), denoiser(model.unet, condition, True, not in_parts, 2) as denoise:
        outputs = []
        for step in range(4):
            denoise.begin_step(step)
            outputs.append(denoise(latents, t, 3.0 if step < 3 else 1.0))
    torch.testing.assert_close(outputs[1], outputs[0])
    with torch.no_grad(), denoiser(model.unet, condition, False, True, 1) as denoise:
        conditional = denoise(latents, t, 1.0)
    torch.testing.assert_close(outputs[3], conditional, rtol=1e-4, atol=1e-5)


def test_the_first_step_of_a_run_reuses_nothing(model, portrait):
    how = Sampling(2, reuse=2)
    first = model(portrait, seed=1, preset=how)
    model(portrait, seed=2, preset=how)
    assert torch.equal(first, model(portrait, seed=1, preset=how))


# --- Arithmetic ---


@torch.no_grad()
def test_arithmetic_is_counted_right(weights_folder):
    """Against PyTorch's own counter, on tensors without contents, where it sees the products within attention too."""
    model = fl.FaceLift.from_pretrained(weights_folder, device="cpu")
    unet, gslrm = copy.deepcopy(model.multiview.unet).to("meta"), copy.deepcopy(model.gslrm).to("meta")
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        labels = torch.zeros(6, unet.config.projection_class_embeddings_input_dim)
        prompts = torch.zeros(6, 77, unet.config.cross_attention_dim)
        unet(torch.zeros(6, unet.config.in_channels, 16, 16), torch.tensor(0), prompts, class_labels=labels)
    assert unet_products(unet, 16) == pytest.approx(counter.get_total_flops() / 2 / 6, rel=0.15)
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        tokens = gslrm.patch_embedder(torch.zeros(1, 6 * 64, 9 * gslrm.patch_size**2))
        gslrm.decode(torch.cat([gslrm.gaussian_position_embeddings[None], tokens], dim=1))
    assert gslrm_products(gslrm, 64) == pytest.approx(counter.get_total_flops() / 2, rel=0.15)


@torch.no_grad()
def test_the_autoencoder_is_counted_right(weights_folder):
    vae = copy.deepcopy(fl.FaceLift.from_pretrained(weights_folder, device="cpu").multiview.vae).to("meta").float()
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        latents = vae.encode(torch.zeros(1, 3, 64, 64)).latent_dist.mode()
    encoded = counter.get_total_flops() / 2
    with FlopCounterMode(display=False) as counter:
        vae.decode(latents)
    assert vae_products(vae, 64) == pytest.approx((encoded, counter.get_total_flops() / 2), rel=0.15)


def test_agreeing_steps_are_counted(weights_folder, monkeypatch):
    model = fl.FaceLift.from_pretrained(weights_folder, device="cpu")
    monkeypatch.setattr("facelift_core.pipeline.measured_rate", lambda multiview: 1e9)
    how = Sampling(4, agreeing_steps=2)
    without, two = model.estimate(Sampling(4)), model.estimate(how)
    assert two > without + 2 * gslrm_products(model.gslrm, 64) / 1e9
    assert model.estimate(dataclasses.replace(how, agreeing_steps=9)) > two
    off = [model.estimate(sampling, likeness="off") for sampling in (Sampling(4), how)]
    assert off[0] == off[1] == pytest.approx(without - SKIN_SECONDS)
    assert model.estimate(how, likeness="refined") > two
    monkeypatch.setattr("facelift_core.pipeline.LARGE", 0)  # a large model on a processor agrees once
    assert without < model.estimate(how) < two


def test_refinement_without_a_compiler_is_expected_to_take_longer(weights_folder, monkeypatch):
    model = fl.FaceLift.from_pretrained(weights_folder, device="cpu")
    monkeypatch.setattr("facelift_core.pipeline.measured_rate", lambda multiview: 1e9)
    seconds = {}
    for compiled in (True, False):
        monkeypatch.setattr(
            "facelift_core.compute.time_estimate.native.available", lambda name, compiled=compiled: compiled
        )
        seconds[compiled] = model.estimate(likeness="refined") - model.estimate()
    assert seconds[True] == pytest.approx(REFINE_SECONDS) and seconds[False] == pytest.approx(REFINE_SECONDS_BY_TORCH)


def test_estimates_are_seconds_and_grow_with_the_work(weights_folder, monkeypatch):
    model = fl.FaceLift.from_pretrained(weights_folder, device="cpu")
    assert 0 < model.estimate() < 1000
    monkeypatch.setattr("facelift_core.pipeline.measured_rate", lambda multiview: 1e9)
    assert model.estimate("fast") < model.estimate("balanced") < model.estimate()
    assert model.estimate(steps=50, guidance_scale=1.0) < model.estimate(steps=50)


def test_a_moment_of_another_program_does_not_count(weights_folder, monkeypatch):
    model = fl.FaceLift.from_pretrained(weights_folder, device="cpu").multiview
    clock = iter((0.0, 0.3, 1.0, 1.001, 2.0, 2.5))
    monkeypatch.setattr("facelift_core.compute.time_estimate.time.perf_counter", lambda: next(clock))
    rate = measured_rate(model)
    assert rate == pytest.approx(6 * unet_products(model.unet, 8) / 0.001)

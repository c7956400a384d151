"""Multi-view diffusion against the released system's numbers and against brute force."""

import dataclasses
import gc
import json
import shutil
import sys
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler
from PIL import Image
from safetensors.torch import load_file, save_file
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import CLIPImageProcessorPil, CLIPTextModel

import facelift_core as fl
from facelift_core.compute import attention as compute_attention
from facelift_core.compute import onednn as products
from facelift_core.multiview import MultiViewDiffusion, channels_last, deep_cache, guidance, prompts
from facelift_core.multiview.attention import MultiViewAttention, PromptAttention, multiview_attention
from facelift_core.multiview.unet import fit_to_cpu, load_unet, set_attention
from facelift_core.multiview.vae import load_vae

GOLDENS = Path(__file__).parent / "goldens"
CASE = json.loads((GOLDENS / "case_views.json").read_text())


@pytest.fixture(scope="module")
def expected() -> dict[str, torch.Tensor]:
    return load_file(GOLDENS / "expected_views.safetensors")


@pytest.fixture(scope="module")
def portrait() -> Image.Image:
    return Image.open(GOLDENS / "input.png").convert("RGB")


@pytest.fixture(scope="module")
def model(weights_folder) -> MultiViewDiffusion:
    return MultiViewDiffusion.from_pretrained(weights_folder, device="cpu")


def edit_json(path: Path, **changes) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@torch.no_grad()
def run_unet(unet, expected, sample=None) -> torch.Tensor:
    return unet(
        expected["unet_sample"] if sample is None else sample,
        expected["unet_timestep"],
        expected["prompt_embeds"].repeat(2, 1, 1),
        class_labels=expected["unet_class_labels"],
    ).sample


# --- The released system's numbers ---


def test_prompt_embeddings(model, expected):
    assert prompts.PROMPTS == tuple(CASE["prompts"])
    torch.testing.assert_close(model.prompt_embeds, expected["prompt_embeds"], rtol=0, atol=1e-5)


def test_unet_output(model, expected):
    torch.testing.assert_close(run_unet(model.unet, expected), expected["unet_out"], rtol=0, atol=1e-5)


@pytest.mark.parametrize("seed", CASE["seeds"])
def test_views_of_a_whole_run(model, expected, portrait, seed):
    views = model(portrait, steps=CASE["steps"], guidance_scale=CASE["guidance_scale"], seed=seed)
    assert views.shape == (6, 3, 64, 64) and views.dtype == torch.float32
    torch.testing.assert_close(views, expected[f"views_seed{seed}"], rtol=0, atol=1e-4)


def test_half_precision_stays_close(weights_folder, expected, portrait):
    half = MultiViewDiffusion.from_pretrained(weights_folder, device="cpu", dtype=torch.float16)
    sample, out = expected["unet_sample"].half(), expected["unet_out"]
    labels, embeds = expected["unet_class_labels"].half(), expected["prompt_embeds"].half().repeat(2, 1, 1)
    with torch.no_grad():
        found = half.unet(sample, expected["unet_timestep"], embeds, class_labels=labels).sample
    torch.testing.assert_close(found.float(), out, rtol=0, atol=2e-2)
    views = half(portrait, steps=2)
    assert views.dtype == torch.float32 and views.isfinite().all()


# --- Attention ---


def brute_force(query, key, value, mode):
    """(B, V, heads, L, d), one query at a time in float64, scores and all; keys repeated as the paper describes it."""
    query, key, value = (x.double() for x in (query, key, value))
    out = torch.empty_like(query)
    branches, views, heads, length, width = query.shape
    for b in range(branches):
        for v in range(views):
            seen = {"sparse": [0, v], "dense": range(views), "none": [v]}[mode]
            for h in range(heads):
                keys = torch.cat([key[b, s, h] for s in seen])
                values = torch.cat([value[b, s, h] for s in seen])
                for i in range(length):
                    scores = (keys @ query[b, v, h, i]) / width**0.5
                    out[b, v, h, i] = torch.softmax(scores, 0) @ values
    return out


@pytest.mark.parametrize("mode", ["sparse", "dense"])
@pytest.mark.parametrize("shape", [(2, 6, 3, 5, 4), (1, 6, 1, 7, 8), (2, 1, 2, 4, 4), (3, 2, 2, 3, 4)])
def test_attention_equals_brute_force(mode, shape):
    generator = torch.Generator().manual_seed(0)
    query, key, value = (3 * torch.randn(shape, generator=generator) for _ in range(3))
    found = multiview_attention(query, key, value, mode)
    torch.testing.assert_close(found.double(), brute_force(query, key, value, mode), rtol=0, atol=1e-5)


@dataclasses.dataclass
class BruteForceProcessor:
    mode: str

    def __call__(self, attn, hidden_states, encoder_hidden_states=None, attention_mask=None):
        heads = [
            p(hidden_states).unflatten(0, (-1, 6)).unflatten(-1, (attn.heads, -1)).transpose(2, 3)
            for p in (attn.to_q, attn.to_k, attn.to_v)
        ]
        out = brute_force(*heads, self.mode).float().transpose(2, 3).flatten(3).flatten(0, 1)
        return attn.to_out[0](out)


@pytest.mark.parametrize("mode", ["sparse", "dense", "none"])
def test_unet_with_each_attention_equals_brute_force(own_weights_folder, expected, mode):
    folder = own_weights_folder / "mvdiffusion/pipeckpts/unet"
    edit_json(folder / "config.json", multiview_attention=mode != "none", sparse_mv_attention=mode == "sparse")
    unet = load_unet(folder)
    sample = expected["unet_sample"][:, :, :6, :4]
    found = run_unet(unet, expected, sample)
    processors = {
        name: BruteForceProcessor(mode) if "attn1" in name else processor
        for name, processor in unet.attn_processors.items()
    }
    unet.set_attn_processor(processors)
    torch.testing.assert_close(found, run_unet(unet, expected, sample), rtol=0, atol=1e-5)


@pytest.mark.parametrize("side", [4, 8])
@torch.no_grad()
def test_what_is_done_for_a_cpu_changes_nothing(weights_folder, expected, side, monkeypatch):
    monkeypatch.setattr(products.in_pieces, "__defaults__", (5,))
    plain, ours = (load_unet(weights_folder / "mvdiffusion/pipeckpts/unet") for _ in range(2))
    fit_to_cpu(ours)
    assert any(isinstance(module, products.Linear) for module in ours.modules())
    sample = expected["unet_sample"][:, :, :side, :side]
    torch.testing.assert_close(run_unet(ours, expected, sample), run_unet(plain, expected, sample), rtol=0, atol=1e-5)


class Copies(TorchDispatchMode):
    """Records copies of pictures and of attention from one layout to another."""

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        result = operation(*args, **(kwargs or {}))
        if operation.name() in ("aten::clone", "aten::_to_copy", "aten::copy_") and args[0].ndim >= 4:
            self.found.append((operation.name(), tuple(args[0].shape), args[0].stride(), result.stride()))
        return result


@pytest.mark.parametrize("fitted", [True, False])
@torch.no_grad()
def test_in_channels_last_nothing_is_copied_between_blocks(weights_folder, monkeypatch, fitted):
    """diffusers' own transformers copy before and after."""
    for module in (products, compute_attention):
        monkeypatch.setattr(module, "onednn_pays", lambda: False)
    unet = MultiViewDiffusion.from_pretrained(weights_folder, device="cpu").unet.to(memory_format=torch.channels_last)
    if fitted:
        channels_last.fit(unet)
    sample = torch.rand(6, unet.config.in_channels, 8, 8).to(memory_format=torch.channels_last)
    labels = torch.rand(6, unet.config.projection_class_embeddings_input_dim)
    with Copies() as copies:
        unet(sample, torch.tensor(5), torch.rand(6, 77, unet.config.cross_attention_dim), class_labels=labels)
    assert bool(copies.found) != fitted, copies.found


@pytest.mark.parametrize(
    "mode, reached", [("sparse", {0, 1, 2, 3, 4, 5}), ("dense", {0, 1, 2, 3, 4, 5}), ("none", {0})]
)
def test_the_front_view_reaches_the_others(weights_folder, expected, mode, reached):
    unet = load_unet(weights_folder / "mvdiffusion/pipeckpts/unet")
    set_attention(unet, 6, mode)
    sample = expected["unet_sample"].clone()
    before = run_unet(unet, expected, sample)
    sample[0] += 1
    changed = (run_unet(unet, expected, sample) - before).abs().amax(dim=(1, 2, 3)) > 1e-6
    assert set(changed.nonzero().flatten().tolist()) == reached


def test_sparse_keeps_the_side_views_apart(model, expected):
    sample = expected["unet_sample"].clone()
    sample[4] += 1
    changed = (run_unet(model.unet, expected, sample) - run_unet(model.unet, expected)).abs().amax(dim=(1, 2, 3)) > 1e-6
    assert changed.nonzero().flatten().tolist() == [4]


def test_every_self_attention_is_multi_view_and_no_cross_attention(model):
    for name, processor in model.unet.attn_processors.items():
        assert isinstance(processor, MultiViewAttention if ".attn1." in name else PromptAttention), name


def test_keywords_meant_for_attention_are_not_dropped(model, expected):
    attn = next(module for name, module in model.unet.named_modules() if name.endswith("attn1"))
    tokens = torch.zeros(6, 4, attn.to_q.in_features)
    with pytest.raises(ValueError):
        attn(tokens, encoder_hidden_states=tokens)
    with pytest.raises(ValueError):
        attn(tokens, attention_mask=torch.ones(6, 1, 4))


# --- Sampling ---


def test_guidance_of_one_takes_half_the_batch_and_is_the_limit_of_the_formula(model, portrait):
    batches = []
    hook = model.unet.conv_in.register_forward_pre_hook(lambda module, args: batches.append(len(args[0])))
    plain = model(portrait, steps=2, guidance_scale=1.0)
    guided = model(portrait, steps=2, guidance_scale=1.0 + 1e-6)
    hook.remove()
    assert batches == [6, 6, 12, 12]
    torch.testing.assert_close(plain, guided, rtol=0, atol=1e-3)


def test_a_checkpoint_tells_which_guidance_it_is_best_at(model, own_weights_folder, portrait):
    assert model.guidance_scale == 3  # as published, where it tells nothing
    torch.testing.assert_close(model(portrait, steps=1), model(portrait, steps=1, guidance_scale=3.0))
    told = own_weights_folder / "mvdiffusion/pipeckpts/sampling.json"
    told.write_text('{"guidance_scale": 1.5}')
    other = MultiViewDiffusion.from_pretrained(own_weights_folder, device="cpu")
    torch.testing.assert_close(other(portrait, steps=1), model(portrait, steps=1, guidance_scale=1.5))
    for nonsense in ('"much"', "-1", "NaN", "true"):
        told.write_text(f'{{"guidance_scale": {nonsense}}}')
        with pytest.raises(fl.FaceLiftError, match=r"guidance_scale must be a number|NaN is not a number"):
            MultiViewDiffusion.from_pretrained(own_weights_folder, device="cpu")


def test_the_photo_is_encoded_once(model, portrait):
    seen = []
    hooks = [
        model.vae.encoder.register_forward_pre_hook(lambda module, args: seen.append(("vae", len(args[0])))),
        model.image_encoder.vision_model.embeddings.register_forward_pre_hook(
            lambda module, args, kwargs: seen.append(("clip", len(args[0] if args else kwargs["pixel_values"]))),
            with_kwargs=True,
        ),
    ]
    model(portrait, steps=1)
    for hook in hooks:
        hook.remove()
    assert sorted(seen) == [("clip", 1), ("vae", 1)]


def test_seeds_and_nothing_else_decide_the_random_numbers(model, portrait):
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = model(portrait, steps=2, seed=7)
    assert torch.equal(state, torch.get_rng_state())
    torch.manual_seed(2)
    assert torch.equal(first, model(portrait, steps=2, seed=7))
    assert not torch.equal(first, model(portrait, steps=2, seed=8))


@pytest.mark.parametrize("size", [(72, 56), (64, 64), (104, 104)])
def test_views_have_the_size_of_the_portrait(model, portrait, size):
    views = model(portrait.resize(size), steps=1)
    assert views.shape == (6, 3, size[1], size[0])
    assert views.isfinite().all() and views.min() >= 0 and views.max() <= 1


def test_a_portrait_of_odd_size_is_refused(model, portrait):
    with pytest.raises(fl.FaceLiftError, match=r"60 × 64 pixels.*multiples of 8.*64 × 64"):
        model(portrait.resize((60, 64)), steps=1)


@pytest.mark.parametrize(
    "settings",
    [
        {"steps": 0},
        {"steps": 1001},
        {"steps": 2.5},
        {"guidance_scale": -1},
        {"guidance_scale": float("nan")},
        {"guidance_scale": float("inf")},
        {"seed": -1},
        {"seed": 2**63},
        {"seed": 0.5},
    ],
)
def test_settings_out_of_range_are_refused(model, portrait, settings):
    with pytest.raises(fl.FaceLiftError, match=r"(should|must) be"):
        model(portrait, **settings)


def test_more_steps_than_the_schedule_has_are_refused(model, portrait):
    # 1000 leading steps with an offset of 1 would need timestep 1000 of 0 to 999.
    with pytest.raises(fl.FaceLiftError, match="1000 steps"):
        model(portrait, steps=1000)


@pytest.mark.parametrize(
    "changes",
    [
        {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing", "steps_offset": 0},
        {"clip_sample": True, "prediction_type": "epsilon"},
        {"timestep_spacing": "linspace", "beta_schedule": "squaredcos_cap_v2"},
    ],
)
def test_other_ddim_schedules(model, portrait, changes, monkeypatch):
    """The latents of every step against the formulas of the DDIM paper in float64, with the UNet's actual outputs."""
    scheduler = DDIMScheduler.from_config(model.scheduler.config, **changes)
    inputs, outputs = [], []

    def evaluate(unet, sample, t, *rest):
        inputs.append((sample[6:, :4], int(t)))
        outputs.append(deep_cache.evaluate(unet, sample, t, *rest)[0])
        return outputs[-1], None

    monkeypatch.setattr(guidance, "evaluator", lambda *_: evaluate)
    views = dataclasses.replace(model, scheduler=scheduler)(portrait, steps=3, seed=3)
    assert views.isfinite().all()

    scheduler.set_timesteps(3)
    assert [t for _, t in inputs] == scheduler.timesteps.tolist()
    generator = torch.Generator().manual_seed(3)
    torch.randn(6, 24, generator=generator)
    latents = torch.randn(6, 4, 8, 8, generator=generator)
    for i, (_, t) in enumerate(inputs):
        torch.testing.assert_close(inputs[i][0], latents.float(), rtol=1e-4, atol=1e-4)
        out = outputs[i].double()
        out = out[:6] + 3 * (out[6:] - out[:6])
        before = t - 1000 // 3
        alpha = max(scheduler.alphas_cumprod[t].double(), torch.tensor(2.0**-24))
        alpha_before = (scheduler.alphas_cumprod[before] if before >= 0 else scheduler.final_alpha_cumprod).double()
        if scheduler.config.prediction_type == "epsilon":
            noise, clean = out, (latents - (1 - alpha).sqrt() * out) / alpha.sqrt()
        else:
            noise = alpha.sqrt() * out + (1 - alpha).sqrt() * latents
            clean = alpha.sqrt() * latents - (1 - alpha).sqrt() * out
        if scheduler.config.clip_sample:
            clean = clean.clamp(-1, 1)
        variance = (1 - alpha_before) / (1 - alpha) * (1 - alpha / alpha_before)
        latents = alpha_before.sqrt() * clean + (1 - alpha_before - variance).clamp(min=0).sqrt() * noise
        latents = latents + variance.sqrt() * torch.randn(6, 4, 8, 8, generator=generator)
    with torch.no_grad():
        decoded = model.vae.decode(latents.float() / model.vae.config.scaling_factor).sample
    torch.testing.assert_close(views, (decoded / 2 + 0.5).clamp(0, 1), rtol=0, atol=1e-4)


def test_progress_is_monotone_and_at_least_once_per_step(model, portrait):
    calls = []
    model(portrait, steps=5, progress=lambda *call: calls.append(call))
    fractions = [fraction for _, fraction, _ in calls]
    assert {stage for stage, _, _ in calls} == {"views"}
    assert fractions[0] == 0 and fractions[-1] == 1 and fractions == sorted(fractions)
    assert [message for _, _, message in calls if message.startswith("Step")] == [f"Step {n} of 5" for n in range(1, 6)]


@pytest.mark.parametrize("after", [0, 1, 3])
def test_cancelling_stops_within_one_step_and_frees_the_latents(model, portrait, after):
    evaluations, samples = [], []

    def remember(module, args):
        evaluations.append(1)
        samples.append(weakref.ref(args[0]))

    hook = model.unet.conv_in.register_forward_pre_hook(remember)
    with pytest.raises(fl.Cancelled) as caught:
        model(portrait, steps=6, cancelled=lambda: len(evaluations) >= after)
    hook.remove()
    assert len(evaluations) == after
    gc.collect()
    assert caught.value.__traceback__ is not None  # still held, and with it every frame
    assert all(sample() is None for sample in samples)


def test_cancelling_between_decoded_views(model, portrait):
    steps = []

    def cancelled():
        return "Step 1 of 1" in steps

    decoded = []
    hook = model.vae.decoder.register_forward_pre_hook(lambda *_: decoded.append(1))
    with pytest.raises(fl.Cancelled):
        model(portrait, steps=1, progress=lambda s, f, message: steps.append(message), cancelled=cancelled)
    hook.remove()
    assert not decoded


def test_weights_that_overflow_are_reported(model, portrait):
    broken = dataclasses.replace(model, prompt_embeds=torch.full_like(model.prompt_embeds, float("nan")))
    with pytest.raises(fl.FaceLiftError, match="NaN"):
        broken(portrait, steps=1)


# --- Loading ---


@pytest.mark.parametrize("part", ["", "mvdiffusion", "mvdiffusion/pipeckpts"])
def test_the_checkpoint_or_its_pipeline_can_be_named(weights_folder, part):
    assert MultiViewDiffusion.from_pretrained(weights_folder / part, device="cpu").image_size == 64


def test_image_size_is_at_most_512(model):
    model.unet.register_to_config(sample_size=96)
    assert model.image_size == 512
    model.unet.register_to_config(sample_size=8)
    assert model.image_size == 64


def test_images_are_preprocessed_by_pillow(model):
    assert isinstance(model.image_processor, CLIPImageProcessorPil)
    assert "torchvision" not in sys.modules


def test_the_text_encoder_is_gone_after_loading(own_weights_folder):
    MultiViewDiffusion.from_pretrained(own_weights_folder, device="cpu")
    gc.collect()
    assert not any(type(thing) is CLIPTextModel for thing in gc.get_objects())


@pytest.mark.parametrize("name", ["cd_attention_last", "cd_attention_mid", "addition_downsample"])
def test_models_of_another_kind_are_refused(own_weights_folder, name):
    edit_json(own_weights_folder / "mvdiffusion/pipeckpts/unet/config.json", **{name: True})
    with pytest.raises(fl.FaceLiftError, match=name):
        MultiViewDiffusion.from_pretrained(own_weights_folder, device="cpu")


@pytest.mark.parametrize(
    "part, changes, message",
    [
        ("unet/config.json", {"num_views": 4}, "number of views is 4, not 6"),
        ("unet/config.json", {"num_views": "six"}, "num_views must be"),
        ("unet/config.json", {"down_block_types": ["NoSuchBlock", "DownBlock2D"]}, "does not describe a UNet"),
        ("unet/config.json", {"block_out_channels": [16, 48]}, "but the model needs"),
        ("unet/config.json", {"layers_per_block": 2}, "lacks"),
        ("vae/config.json", {"block_out_channels": [16, 32, 32, 64]}, "vae/diff.* lacks 4 of 184"),
        ("vae/config.json", {"norm_num_groups": 5}, "does not describe an autoencoder"),
        ("scheduler/scheduler_config.json", {"_class_name": "PNDMScheduler"}, "DDIMScheduler is needed"),
        ("scheduler/scheduler_config.json", {"beta_schedule": "no such"}, "does not describe a DDIMScheduler"),
        ("image_encoder/config.json", {"hidden_size": 64}, "misfits"),
        ("image_encoder/config.json", {"num_hidden_layers": 3}, "lacks"),
        ("image_encoder/config.json", {"num_hidden_layers": 1}, "unknown weight"),
        ("image_encoder/config.json", {"num_attention_heads": 5}, "does not hold a CLIPVisionModelWithProjection"),
        ("feature_extractor/preprocessor_config.json", {"crop_size": {"height": 14, "width": 14}}, "do not fit"),
        ("text_encoder/config.json", {"hidden_size": 32}, "misfits"),
    ],
)
def test_configs_that_do_not_fit_get_one_sentence(own_weights_folder, part, changes, message):
    edit_json(own_weights_folder / "mvdiffusion/pipeckpts" / part, **changes)
    with pytest.raises(fl.FaceLiftError, match=message) as caught:
        MultiViewDiffusion.from_pretrained(own_weights_folder, device="cpu")
    assert "\n" not in str(caught.value)


def test_autoencoders_with_the_attention_names_of_old(own_weights_folder):
    folder = own_weights_folder / "mvdiffusion/pipeckpts/vae"
    path = folder / "diffusion_pytorch_model.safetensors"
    current = load_vae(folder)
    former = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    weights = load_file(path)
    renamed = {}
    for name, tensor in weights.items():
        for new, old in former.items():
            name = name.replace(f".{new}.", f".{old}.")
        renamed[name] = tensor.clone()
    assert sum(name not in weights for name in renamed) == 16
    save_file(renamed, path)
    for name, tensor in load_vae(folder).state_dict().items():
        assert torch.equal(tensor, current.state_dict()[name])


# --- Prompt embeddings ---


@pytest.fixture
def pipeline(own_weights_folder) -> Path:
    return own_weights_folder / "mvdiffusion/pipeckpts"


@pytest.fixture
def computed(monkeypatch) -> list[Path]:
    """Records when the embeddings are really computed."""
    calls, embed = [], prompts.embed_prompts
    monkeypatch.setattr(prompts, "embed_prompts", lambda folder: calls.append(folder) or embed(folder))
    return calls


def test_prompts_are_embedded_once(pipeline, computed, expected):
    for _ in range(3):
        embeds = prompts.load_prompt_embeds(pipeline)
        torch.testing.assert_close(embeds, expected["prompt_embeds"], rtol=0, atol=1e-5)
    assert len(computed) == 1


def test_a_checkpoint_with_embeddings_alone_needs_no_text_encoder(pipeline, computed, portrait):
    embeds = prompts.load_prompt_embeds(pipeline)[:, :20]
    save_file({"prompt_embeds": embeds.contiguous()}, pipeline / prompts.CACHE_FILE)
    shutil.rmtree(pipeline / "text_encoder")
    shutil.rmtree(pipeline / "tokenizer")
    model = MultiViewDiffusion.from_pretrained(pipeline, device="cpu")
    assert model.prompt_embeds.shape == (6, 20, 16) and len(computed) == 1
    assert model(portrait, steps=1).isfinite().all()


@pytest.mark.parametrize("damage", ["truncated", "empty", "other shape", "nan", "other text encoder", "other tensor"])
def test_a_bad_cache_is_replaced(pipeline, computed, expected, damage):
    good = prompts.load_prompt_embeds(pipeline)
    cache = pipeline / prompts.CACHE_FILE
    if damage == "truncated":
        cache.write_bytes(cache.read_bytes()[:-100])
    elif damage == "empty":
        cache.write_bytes(b"")
    elif damage == "other shape":
        save_file({"prompt_embeds": good[:4].contiguous()}, cache)
    elif damage == "nan":
        save_file({"prompt_embeds": torch.full_like(good, float("nan"))}, cache)
    elif damage == "other text encoder":
        save_file({"prompt_embeds": torch.zeros_like(good)}, cache, {"key": "0" * 32})
    else:
        save_file({"something": good.contiguous()}, cache)
    assert torch.equal(prompts.load_prompt_embeds(pipeline), good) and len(computed) == 2
    assert torch.equal(prompts.load_prompt_embeds(pipeline), good) and len(computed) == 2


@pytest.mark.parametrize("damage", ["truncated", "nan", "shape"])
def test_bad_embeddings_without_a_text_encoder_are_an_error(pipeline, damage):
    embeds = prompts.load_prompt_embeds(pipeline)
    shutil.rmtree(pipeline / "text_encoder")
    cache = pipeline / prompts.CACHE_FILE
    if damage == "truncated":
        cache.write_bytes(cache.read_bytes()[:-100])
    elif damage == "nan":
        save_file({"prompt_embeds": torch.full_like(embeds, float("nan"))}, cache)
    else:
        save_file({"prompt_embeds": embeds[..., :8].contiguous()}, cache)
    with pytest.raises(fl.FaceLiftError):
        MultiViewDiffusion.from_pretrained(pipeline, device="cpu")


def test_another_text_encoder_is_noticed(pipeline, computed):
    before = prompts.load_prompt_embeds(pipeline)
    path = pipeline / "text_encoder/model.safetensors"
    save_file({name: tensor * 1.01 for name, tensor in load_file(path).items()}, path)
    assert not torch.equal(prompts.load_prompt_embeds(pipeline), before) and len(computed) == 2


def test_a_read_only_checkpoint_is_cached_elsewhere(pipeline, computed, monkeypatch, tmp_path):
    save = prompts.save_safetensors

    def refuse_in_checkpoint(tensors, path, metadata):
        if pipeline in path.parents:
            raise fl.FaceLiftError("read-only")
        save(tensors, path, metadata)

    monkeypatch.setattr(prompts, "save_safetensors", refuse_in_checkpoint)
    first = prompts.load_prompt_embeds(pipeline)
    assert torch.equal(prompts.load_prompt_embeds(pipeline), first) and len(computed) == 1
    assert not (pipeline / prompts.CACHE_FILE).exists()
    monkeypatch.setattr(prompts, "save_safetensors", lambda *_: (_ for _ in ()).throw(fl.FaceLiftError("full")))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "empty"))
    assert torch.equal(prompts.load_prompt_embeds(pipeline), first) and len(computed) == 2


@pytest.mark.parametrize("name", ["vocab.json", "merges.txt", "tokenizer_config.json"])
def test_a_damaged_tokenizer_gets_one_sentence(pipeline, name):
    (pipeline / "tokenizer" / name).write_bytes(b"\x00\xff{")
    with pytest.raises(fl.FaceLiftError, match="tokenizer"):
        prompts.load_prompt_embeds(pipeline)


def test_portraits_are_not_changed(model, portrait):
    before = np.array(portrait)
    model(portrait, steps=1)
    assert (np.array(portrait) == before).all()

"""Compiled networks: traced once for all steps, presets and runs, and the same function."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch._dynamo.utils import counters

from facelift_core import user_dirs as cache
from facelift_core.compute import attention
from facelift_core.compute import onednn as products
from facelift_core.compute.device import LARGE
from facelift_core.multiview import MultiViewDiffusion, channels_last, compiling, graphs, guidance, sampling
from facelift_core.multiview.deep_cache import evaluate
from facelift_core.multiview.graphs import Recordings, worth_recording
from facelift_core.presets import PRESETS, Sampling

GOLDENS = Path(__file__).parent / "goldens"
KERNEL_FOLDERS = "TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR"


@pytest.fixture
def model(weights_folder, monkeypatch) -> MultiViewDiffusion:
    """By PyTorch's own products: which are faster on a processor is tried by the clock, which cannot be compiled."""
    for module in (products, attention):
        monkeypatch.setattr(module, "onednn_pays", lambda: False)
    torch._dynamo.reset()  # it knows code, not models
    counters.clear()
    return MultiViewDiffusion.from_pretrained(weights_folder, "cpu")


@pytest.fixture
def portrait() -> Image.Image:
    return Image.open(GOLDENS / "input.png").convert("RGB")


@pytest.mark.slow
def test_nothing_is_compiled_twice(model, portrait):
    """Each kind of evaluation is one graph without breaks; another step, photo, seed, or preset compiles nothing."""
    plain = [model(portrait, 3, 3.0, preset=preset) for preset in ("quality", "fast")]
    assert model.compile("quality", backend="eager") is None
    assert counters["stats"]["unique_graphs"] == 2  # the UNet and the decoder
    assert model.compile("fast", backend="eager") is None
    assert counters["stats"]["unique_graphs"] == 3 and not counters["graph_break"]
    assert compiling.compiled_variants(model.unet) == {(12, False), (12, True)}
    with torch._dynamo.config.patch(error_on_recompile=True):
        for seed in (5, 4):
            compiled = [model(portrait, 3, 3.0, seed, preset=preset) for preset in ("quality", "fast")]
        model(portrait.transpose(Image.Transpose.ROTATE_90), 2, 3.0)
    assert counters["stats"]["unique_graphs"] == 3
    for one, other in zip(plain, compiled, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-4)
    compiling.undo(model.unet, model.vae)
    assert torch.equal(model(portrait, 3, 3.0), plain[0])


@pytest.mark.slow
def test_what_is_not_compiled_runs_as_it_is(model, portrait):
    """Without guidance, the batch is another. Views of another size would be another graph, which the test above would
    notice."""
    before = model(portrait, 2, 1.0)
    assert model.compile("quality", backend="eager") is None
    traced = counters["stats"]["unique_graphs"]
    torch.testing.assert_close(model(portrait, 2, 1.0), before, rtol=0, atol=1e-4)
    assert counters["stats"]["unique_graphs"] == traced
    with torch._dynamo.config.patch(error_on_recompile=True), pytest.raises(torch._dynamo.exc.RecompileError):
        model(Image.new("RGB", (96, 96)), 1, 3.0)


@pytest.mark.parametrize("fit", [False, True])
@torch.no_grad()
def test_an_evaluation_is_that_of_diffusers(model, fit):
    """To the last bit; and what it is given of the deep blocks, it does not compute."""
    unet, generator = model.unet, torch.Generator().manual_seed(0)
    if fit:
        channels_last.fit(unet)
    labels = torch.randn(12, unet.config.projection_class_embeddings_input_dim, generator=generator)
    prompts, t = model.prompt_embeds.repeat(2, 1, 1), torch.tensor(321)
    for side in (8, 9):
        sample = torch.randn(12, unet.config.in_channels, side, side, generator=generator)
        out, deep = evaluate(unet, sample, t, prompts, labels)
        assert torch.equal(out, unet(sample, t, prompts, class_labels=labels).sample)
        again, same = evaluate(unet, sample, t, prompts, labels, deep)
        assert torch.equal(again, out) and same is deep
        other, _ = evaluate(unet, sample, t, prompts, labels, torch.zeros_like(deep))
        assert not torch.equal(other, out)


def test_where_the_compiler_fails_everything_is_as_before(model, portrait, monkeypatch):
    before = model(portrait, 2, 3.0)

    def broken(*_, **__):
        raise RuntimeError("no compiler here\nmore")

    monkeypatch.setattr(MultiViewDiffusion, "_try_once", broken)
    assert model.compile(backend="eager") == "no compiler here"
    assert not compiling.is_compiled(model.unet)
    assert torch.equal(model(portrait, 2, 3.0), before)


def test_kernels_are_kept_in_our_cache_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for name in KERNEL_FOLDERS:
        monkeypatch.delenv(name, raising=False)
    cache.keep_kernels()
    assert cache.kernels_folder() == tmp_path / "facelift" / "compiled"
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"].startswith(str(cache.kernels_folder()))
    assert os.environ["TRITON_CACHE_DIR"].startswith(str(cache.kernels_folder()))


COMPILED_TWICE = """
from facelift_core.diagnostics import quiet_libraries
quiet_libraries()  # as commands and the worker begin: before PyTorch chooses a folder
import torch
from torch._dynamo.utils import counters
from facelift_core.multiview import compiling
from facelift_core.user_dirs import kernels_folder
double = compiling._static(lambda x: x * 2, "inductor")
assert double(torch.ones(8)).tolist() == [2.0] * 8
kept = sum(path.stat().st_size for path in kernels_folder().rglob("*") if path.is_file())
print(counters["inductor"]["fxgraph_cache_miss"], counters["inductor"]["fxgraph_cache_hit"], kept > 0)
"""


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="on a CPU, PyTorch compiles with g++")
def test_another_process_finds_what_was_compiled(tmp_path):
    """In the cache folder, which the preferences measure and clear."""
    environment = {name: value for name, value in os.environ.items() if name not in KERNEL_FOLDERS}
    environment |= {"XDG_CACHE_HOME": str(tmp_path), "PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, "-c", COMPILED_TWICE]
    found = [subprocess.run(command, env=environment, capture_output=True, text=True) for _ in range(2)]
    assert [done.stdout.split() for done in found] == [["1", "0", "True"], ["0", "1", "True"]], found[-1].stderr


def recording(calls: list):
    """A recorder whose results tell that they were repeated."""

    def record(work, inputs):
        calls.append("record")
        return lambda *inputs: calls.append("repeat") or work(*inputs)

    return record


def test_a_work_is_recorded_at_its_second_call():
    calls = []
    recordings = Recordings(recording(calls))
    for _ in range(3):
        assert recordings("a", lambda x: (x + 1,), torch.ones(1))[0].item() == 2
    assert calls == ["record", "repeat", "repeat"]


def test_what_cannot_be_recorded_goes_on_unrecorded(monkeypatch, caplog):
    def record(work, inputs):
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(graphs, "_failures", [])
    recordings = Recordings(record)
    assert [recordings("a", lambda x: (x + 1,), torch.ones(1))[0].item() for _ in range(3)] == [2, 2, 2]
    assert recordings.record is None and "capturing" in graphs.problem()
    assert [record.levelname for record in caplog.records] == ["WARNING"]


def test_the_trial_passes_right_recordings_and_refuses_wrong_ones(monkeypatch):
    monkeypatch.setattr(graphs, "_failures", [])
    cpu = torch.device("cpu")

    def fails(work, inputs):
        raise torch.OutOfMemoryError

    assert graphs.trial(lambda work, inputs: work, cpu) is None
    assert "wrongly" in graphs.trial(lambda work, inputs: lambda x: work(*inputs), cpu)  # repeats the first result
    assert graphs.trial(fails, cpu) == "not enough memory"
    assert not graphs._failures


def test_recordings_end_with_the_steps_and_before_views_agree(weights_folder, monkeypatch):
    """Their memory is needed by what comes after."""
    model, events = MultiViewDiffusion.from_pretrained(weights_folder, "cpu"), []
    monkeypatch.setattr(MultiViewDiffusion, "records", lambda self, how: True)
    monkeypatch.setattr(guidance, "CudaGraphs", lambda: lambda work, inputs: events.append("record") or work)
    stop, decode = Recordings.stop, sampling.decode
    monkeypatch.setattr(Recordings, "stop", lambda self: (events.append("stop"), stop(self)))
    monkeypatch.setattr(sampling, "decode", lambda *a: (events.append("decode"), decode(*a))[1])
    portrait = Image.new("RGB", (model.image_size,) * 2, "white")
    model(portrait, preset=Sampling(3), guidance_scale=2.0)
    assert events == ["record", "stop", "decode"]
    events.clear()
    model(portrait, preset=Sampling(4, agreeing_steps=2), guidance_scale=2.0, agree=lambda views, monitor: views)
    assert events == ["record", "stop", "decode", "stop", "decode", "stop", "decode"]


def test_large_networks_are_recorded_where_enough_evaluations_are_alike():
    assert all(worth_recording(LARGE, PRESETS[name]) for name in ("quality", "balanced"))
    assert not worth_recording(LARGE, PRESETS["fast"])
    assert all(worth_recording(LARGE - 1, how) for how in PRESETS.values())

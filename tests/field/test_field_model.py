"""One loaded model used by several threads, arguments as callers give them, limited memory (tests/field/README.md)."""

import errno
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from PIL import Image, ImageOps

import facelift_core as fl
from facelift_core.compute.device import NotEnoughMemory, nothing_left_behind
from facelift_core.compute.memory import group_limits, memory
from facelift_core.compute.memory_plan import PLANS
from facelift_core.jobs import handlers
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


# Arguments


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"steps": "10"}, "number of diffusion steps.*'10'"),
        ({"steps": 2.5}, "number of diffusion steps"),
        ({"seed": None}, "seed.*None"),
        ({"seed": "4"}, "seed"),
        ({"seed": float("nan")}, "seed"),
        ({"guidance_scale": "3"}, "guidance scale"),
        ({"guidance_scale": float("inf")}, "guidance scale"),
        ({"preset": None}, "preset"),
        ({"preset": 3}, "preset"),
        ({"preset": "Fast"}, "preset"),
        ({"likeness": None}, "likeness"),
        ({"matting": None}, "matting"),
        ({"photo": None}, "photo must be"),
        ({"photo": b"bytes"}, "photo must be"),
    ],
)
def test_arguments_of_other_types_are_named(model, arguments, message):
    photo = arguments.pop("photo", Image.open(GOLDENS / "input.png"))
    with pytest.raises(fl.FaceLiftError, match=message):
        model.reconstruct(photo, **arguments)


@pytest.mark.parametrize("changes", [{"steps": "10"}, {"reuse": None}, {"max_gaussians": 0}])
def test_samplings_of_other_types_are_named(changes):
    with pytest.raises(fl.FaceLiftError, match=next(iter(changes)).split("_")[0]):
        Sampling(**changes)


def test_a_device_that_is_none(weights_folder):
    with pytest.raises(fl.FaceLiftError, match="device"):
        fl.FaceLift.from_pretrained(weights_folder, device=None)


# Memory


OUT_OF_MEMORY = [
    MemoryError(),
    OSError(errno.ENOMEM, "Cannot allocate memory"),
    RuntimeError("could not create a primitive"),
    RuntimeError("std::bad_alloc"),
    RuntimeError("can't start new thread"),
    ImportError("libtorch_cpu.so: failed to map segment from shared object"),
]


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=str)
def test_out_of_memory_is_one_sentence_whoever_runs_out(error, monkeypatch):
    with pytest.raises(NotEnoughMemory, match="Not enough memory; close"), nothing_left_behind():
        raise error

    def fail(*_):
        raise error

    monkeypatch.setitem(handlers.HANDLERS, "mesh", (handlers.HANDLERS["mesh"][0], set(), fail))
    monkeypatch.setattr(handlers, "read_request", lambda *_: None)
    event = handlers.run("mesh", {}, print, lambda: False, handlers.Models())
    assert event.message.startswith("Not enough memory; close")


def test_other_errors_stay_what_they_are():
    for error in (RuntimeError("shapes do not match"), OSError(errno.ENOENT, "No such file"), ImportError("no module")):
        with pytest.raises(type(error)), nothing_left_behind():
            raise error


@pytest.mark.parametrize("version", [1, 2])
def test_limits_of_control_groups_count(tmp_path, version):
    (tmp_path / "proc/self").mkdir(parents=True)
    groups = tmp_path / "sys/fs/cgroup" / ("memory" if version == 1 else "")
    (groups / "docker/abc").mkdir(parents=True)
    limit, used, cached = {
        1: ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        2: ("memory.max", "memory.current", "inactive_file"),
    }[version]
    line = "4:cpu,memory:/docker/abc\n" if version == 1 else "0::/docker/abc\n"
    (tmp_path / "proc/self/cgroup").write_text("1:name=systemd:/\n" + line)
    (groups / limit).write_text("9223372036854771712" if version == 1 else "max")
    (groups / used).write_text("123")
    assert group_limits(tmp_path) == []
    (groups / "docker" / limit).write_text("2147483648\n")
    (groups / "docker" / used).write_text("1000000\n")
    (groups / "docker/memory.stat").write_text(f"anon 5\n{cached} 400000\n")
    assert group_limits(tmp_path) == [(2**31, 600_000)]
    (groups / limit).write_text("1073741824")
    assert sorted(group_limits(tmp_path)) == [(2**30, 123), (2**31, 600_000)]


@pytest.mark.skipif(sys.platform != "linux", reason="ulimit -v limits nothing elsewhere")
def test_ulimit_counts():
    code = "import resource; resource.setrlimit(resource.RLIMIT_AS, (2**31, 2**31)); from facelift_core.compute.memory "
    code += "import memory; print(memory()['total'], memory()['available'])"
    done = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], capture_output=True, text=True)
    total, available = map(int, done.stdout.split())
    assert total == 2**31 and 2**29 < available < 2**31
    assert memory()["total"] > total

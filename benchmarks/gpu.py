"""Run all GPU benchmarks and checks within a time budget, under eight minutes.

    bash benchmarks/gpu.sh FOLDER [--budget 430] [--gsplat SITE] [--small] [--parts NAME …]

Each part runs in a separate process with its own time limit and appends its results to FOLDER/results.jsonl at once, so
a part that fails does not affect the others. Parts that are already in that file are not run again, and parts that no
longer fit the budget are skipped and listed. At the end, a table is printed and written to FOLDER/table.txt.

Weights are random, with the released sizes, in --work (by default a temporary folder), because they are large.
`--gsplat` is a folder that gsplat was installed into (`pip install --target`); its kernels are compiled while other
parts run, only for the numbers of channels used here. `--small` tests the script itself with tiny weights, on a CPU
too.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from facelift_core import FaceLift, Gaussians

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

RESULTS, TABLE, LOG = "results.jsonl", "table.txt", "log.txt"
GUIDANCE, SEED = 3.0, 4
PORTRAIT = ROOT / "tests" / "data" / "portrait.jpg"
CHANNELS = ("1", "3", "4")
"""Numbers of image channels to compile gsplat for; its full list of nineteen takes many minutes."""
ENOUGH_GAUSSIANS = 300_000
"""Number of Gaussians to keep from random weights, which the filters would remove; about as many as in a head."""


@dataclass(frozen=True)
class Part:
    """One part. `seconds`: expected duration on a GPU; it is stopped after somewhat more than twice as long."""

    name: str
    run: Callable[[Bench], None]
    seconds: float
    on_cpu: bool = True


@dataclass(frozen=True)
class Bench:
    """The inputs of a part; `record` appends to the results."""

    part: str
    folder: Path
    work: Path
    small: bool

    @property
    def weights(self) -> Path:
        return self.work / "weights"

    @property
    def steps(self) -> int:
        return 6 if self.small else 50

    def record(self, **found: object) -> None:
        _append(self.folder, {"part": self.part, **found})
        print(f"{self.part}: {_text(found)}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="for the results")
    parser.add_argument("--budget", type=float, default=430, help="total seconds (default %(default)s)")
    parser.add_argument("--gsplat", type=Path, help="folder that gsplat was installed into")
    parser.add_argument("--small", action="store_true", help="use tiny weights, to test the script")
    parser.add_argument("--parts", nargs="+", choices=[part.name for part in PARTS], help="only these")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "facelift_gpu", help="for weights")
    parser.add_argument("--part", help=argparse.SUPPRESS)
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    args.work.mkdir(parents=True, exist_ok=True)
    if args.part:
        part = next(part for part in (*PARTS, COMPILE_FIRST) if part.name == args.part)
        part.run(Bench(part.name, args.folder, args.work, args.small))
        return
    _run_all(args)
    table = "\n".join(_table(_rows(args.folder)))
    (args.folder / TABLE).write_text(table + "\n", encoding="utf-8")
    print(table, flush=True)


def _run_all(args: argparse.Namespace) -> None:
    end = time.monotonic() + args.budget
    done = {row["part"] for row in _rows(args.folder) if row.get("done")}
    wanted = args.parts or [part.name for part in PARTS]
    beside: dict[str, _Beside] = {}
    try:
        for part in PARTS:
            if part.name not in wanted or part.name in done:
                continue
            if args.gsplat and "gsplat" in wanted and "gsplat" not in beside and part.name != "weights":
                beside["gsplat"] = _compile_gsplat(args)
            if part.name in COMPILE_BESIDE and "compiled" in wanted and "compiled" not in beside:
                command = _command(COMPILE_FIRST, args)
                beside["compiled"] = _Beside("compile_first", args.folder, command, _environment(args))
            if reason := _left_out(part, args, beside.get(part.name), end):
                _append(args.folder, {"part": part.name, "left_out": reason})
            else:
                left = end - time.monotonic()
                _run(part, args, 300 if args.small else min(left - 3, 2 * part.seconds + 15))
    finally:
        for name, process in beside.items():
            still = not process.finished(0)
            process.stop()
            note = "still compiling" if still else round(process.seconds, 1)
            _append(args.folder, {"part": name, "compiled_beside_others": note})


def _left_out(part: Part, args: argparse.Namespace, beside: _Beside | None, end: float) -> str | None:
    """Return why `part` is skipped, or None."""
    if not part.on_cpu and not _has_card():
        return "needs a card"
    if part.name == "gsplat" and beside is None:
        return "no --gsplat"
    left = end - time.monotonic()
    if beside is not None and not beside.finished(300 if args.small else min(WAIT, left - part.seconds)):
        return "what it needs is not compiled yet"
    left = end - time.monotonic()
    return None if args.small or left >= part.seconds else f"{left:.0f} s left, takes {part.seconds:.0f}"


def _run(part: Part, args: argparse.Namespace, limit: float) -> None:
    environment = _environment(args) | (_gsplat_environment(args) if part.name == "gsplat" else {})
    start = time.monotonic()
    process = subprocess.Popen(
        _command(part, args), env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        start_new_session=True,
    )  # fmt: skip
    try:
        output, _ = process.communicate(timeout=max(limit, 1))
        failed = None if process.returncode == 0 else f"exit status {process.returncode}"
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        output, failed = process.communicate()[0], f"stopped after {limit:.0f} s"
    lines = output.strip().splitlines()
    with (args.folder / LOG).open("a", encoding="utf-8") as log:
        log.write(f"--- {part.name}\n{output}\n")
    end = {"part": part.name, "done": failed is None, "seconds": round(time.monotonic() - start, 1)}
    _append(args.folder, end if failed is None else end | {"failed": failed, "last": lines[-3:]})
    print(f"[{part.name}: {end['seconds']} s{'' if failed is None else ', ' + failed}]", flush=True)
    if failed:
        print("\n".join(lines[-12:]), flush=True)


def _command(part: Part, args: argparse.Namespace) -> list[str]:
    command = [sys.executable, __file__, args.folder, "--part", part.name, "--work", args.work]
    return [*map(str, command), *(["--small"] if args.small else [])]


def _environment(args: argparse.Namespace) -> dict[str, str]:
    own = {"PYTHONWARNINGS": "ignore", "XDG_CACHE_HOME": str(args.work / "cache"), "TORCHINDUCTOR_COMPILE_THREADS": "4"}
    return os.environ | own


def _append(folder: Path, row: dict) -> None:
    with (folder / RESULTS).open("a", encoding="utf-8") as file:
        file.write(json.dumps(row, default=str) + "\n")


def _rows(folder: Path) -> list[dict]:
    path = folder / RESULTS
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def _has_card() -> bool:
    return shutil.which("nvidia-smi") is not None


# Parts


def write_weights(bench: Bench) -> None:
    import torch
    from random_checkpoint import SIZES, write_checkpoint
    from timing import device_name

    device, dtype = _device()
    sizes = SIZES["tiny" if bench.small else "full"]
    start = time.perf_counter()
    try:
        write_checkpoint(bench.weights, sizes, dtype=dtype, device=device.type)
    except RuntimeError as error:  # a random distribution that the card does not have
        bench.record(drawn_on_processor=str(error)[:200])
        write_checkpoint(bench.weights, sizes, dtype=dtype)
    bench.record(write=time.perf_counter() - start, device=device_name(device), torch=torch.__version__)


def transcription(bench: Bench) -> None:
    import torch
    from timing import peak_mib, start_peak, timed
    from transcription import Transcription

    device, dtype = _device()
    load, model = timed(lambda: Transcription.load(bench.weights, device, dtype), device)
    bench.record(load=load)
    portrait = _portrait(model.unet.config.sample_size * 2 ** (len(model.vae.config.block_out_channels) - 1))
    model.views(portrait, 2, GUIDANCE, SEED)
    start_peak(device)
    tries = [timed(lambda: model.views(portrait, bench.steps, GUIDANCE, SEED), device) for _ in range(2)]
    bench.record(views=min(seconds for seconds, _ in tries), views_peak=peak_mib(device))
    views = _input_views(portrait.width)
    model.gaussians(views)
    start_peak(device)
    lifts = [timed(lambda: model.gaussians(views), device) for _ in range(3)]
    bench.record(gslrm=min(seconds for seconds, _ in lifts), gslrm_peak=peak_mib(device))
    torch.save((tries[0][1].float().cpu(), lifts[0][1].positions.cpu()), bench.work / "expected.pt")


def ours(bench: Bench) -> None:
    """FaceLift as installed, with Triton kernels if they work."""
    from facelift_core import FaceLift
    from facelift_core.compute import fused

    device, _ = _device()
    bench.record(kernels=fused.problem() or "Triton")
    from timing import timed

    load, model = timed(lambda: FaceLift.from_pretrained(bench.weights, device), device)
    bench.record(load=load, plan=model.offload.plan.name)
    made = _measure(bench, model, repeats=2)
    _compare(bench, *made)
    _measure_whole(bench, model)


def plain(bench: Bench) -> None:
    """FaceLift without Triton."""
    from facelift_core import FaceLift
    from facelift_core.multiview import channels_last

    device, _ = _device()
    model = FaceLift.from_pretrained(bench.weights, device)
    for network in (model.multiview.unet, model.multiview.vae):
        channels_last.unfit(network)
    _measure(bench, model, repeats=1)


def compile_first(bench: Bench) -> None:
    """Compile the networks while other parts run, because this uses only the CPU; the kernels are cached on disk."""
    from facelift_core import FaceLift

    device, _ = _device()
    _compile(bench, FaceLift.from_pretrained(bench.weights, device))


def compiled(bench: Bench) -> None:
    import torch

    from facelift_core import FaceLift

    device, _ = _device()
    model = FaceLift.from_pretrained(bench.weights, device)
    problem = _compile(bench, model)
    if problem is None:
        graphs = torch._dynamo.utils.counters["stats"]["unique_graphs"]
        _compare(bench, *_measure(bench, model, repeats=2))
        _measure_whole(bench, model)
        bench.record(graphs_more=torch._dynamo.utils.counters["stats"]["unique_graphs"] - graphs)


def mini(bench: Bench) -> None:
    from timing import peak_mib, timed

    from facelift_core import FaceLift
    from facelift_core.multiview import diffusion

    device, _ = _device()
    load, model = timed(lambda: FaceLift.from_pretrained("mini", device), device)
    bench.record(load=load)
    portrait = _portrait(model.multiview.image_size)
    drawn = {}
    for name, record in (("recorded", True), ("launched", False)):
        if not record:
            diffusion.MultiViewDiffusion.records = lambda self, how: False
        for preset in ("quality", "fast"):
            steps, tries = (4, 1) if bench.small else (None, 3)
            draw = partial(model.multiview, portrait, steps, None, SEED, preset=preset)
            draw()
            seconds, drawn[name, preset] = min((timed(draw, device) for _ in range(tries)), key=lambda found: found[0])
            bench.record(**{f"{preset}_{name}": seconds})
    for preset in ("quality", "fast"):
        difference = (drawn["recorded", preset] - drawn["launched", preset]).abs().max().item()
        bench.record(**{f"{preset}_difference": difference})
    bench.record(peak=peak_mib(device))


def likeness(bench: Bench) -> None:
    """Time each stage with mini and a photo."""
    from timing import timed

    from facelift_core import FaceLift
    from facelift_core.align import align_portrait

    device, _ = _device()
    model = FaceLift.from_pretrained("mini", device)
    align_portrait(PORTRAIT)
    seconds, aligned = timed(lambda: align_portrait(PORTRAIT), device)
    bench.record(align=seconds)
    cases = ("fast", "photo"), ("quality", "photo"), ("quality", "refined")
    for preset, kind in cases[:1] if bench.small else cases:
        run = lambda preset=preset, kind=kind: model.reconstruct(aligned, preset=preset, likeness=kind)  # noqa: E731
        for attempt in ("first", "again") if kind == "photo" else ("first",):
            seconds, result = timed(run, device)
            stages = {stage: round(spent, 3) for stage, spent in result.timings.items()}
            bench.record(**{f"{preset}_{kind}_{attempt}": seconds}, stages=stages, gaussians=len(result.gaussians))


def gsplat(bench: Bench) -> None:
    import torch
    from timing import timed

    from facelift_core import FaceLift
    from facelift_core.rendering import gsplat_backend, render_rgba, tiles
    from facelift_core.rendering.cameras import intrinsics, six_views

    device, _ = _device()
    seconds, function = timed(gsplat_backend.rasterization, device)
    bench.record(import_or_compile=seconds, works=function is not None)
    if function is None:
        return
    model = FaceLift.from_pretrained("mini", device)
    head = model.reconstruct(PORTRAIT, preset="fast").gaussians.to(device)
    camera, poses = intrinsics(512).expand(6, 4), six_views()
    render_rgba(head, poses, camera, 512, 512)
    fast, by_gsplat = timed(lambda: render_rgba(head, poses, camera, 512, 512), device)
    works = gsplat_backend.rasterization
    gsplat_backend.rasterization = lambda: None
    render_rgba(head, poses, camera, 512, 512)
    slow, by_tiles = timed(lambda: render_rgba(head, poses, camera, 512, 512), device)
    difference = (by_gsplat - by_tiles).abs()
    bench.record(
        six_by_gsplat=fast, six_by_tiles=slow, difference=difference.max().item(), mean=difference.mean().item(),
        gaussians=len(head), tile=tiles.TILE,
    )  # fmt: skip
    gsplat_backend.rasterization = works
    seconds, result = timed(lambda: model.reconstruct(PORTRAIT, likeness="refined"), device)
    bench.record(refined=seconds, stages={stage: round(spent, 3) for stage, spent in result.timings.items()})
    torch.cuda.synchronize()


def loading(bench: Bench) -> None:
    """Load the weights, which are in the file cache, in pinned pieces and by PyTorch."""
    from timing import timed

    from facelift_core import FaceLift
    from facelift_core.compute import offload

    device, _ = _device()
    load = partial(FaceLift.from_pretrained, bench.weights, device)
    load()
    in_pieces = offload.staging_for
    for name, staging in (("in_pieces", in_pieces), ("by_pytorch", lambda device: None)) * 2:
        offload.staging_for = staging
        seconds, _ = timed(load, device)
        bench.record(**{name: seconds})


def batch(bench: Bench) -> None:
    """Views of heads per minute at full size, one by one and two at once. That they are equal is among the tests."""
    from timing import peak_mib, start_peak, timed

    from facelift_core import FaceLift, drawing
    from facelift_core.align import align_portrait

    device, _ = _device()
    model = FaceLift.from_pretrained(bench.weights, device)
    pair = [align_portrait(PORTRAIT)] * 2
    bench.record(heads_at_once=drawing.heads_at_once(model))
    for preset in ("fast",) if bench.small else ("fast", "quality"):
        draw = partial(drawing.draw_together, model, preset=preset, guidance_scale=GUIDANCE, likeness="off")
        draw(pair), draw(pair[:1])
        alone, _ = timed(lambda draw=draw: draw(pair[:1]), device)
        start_peak(device)
        together, _ = timed(lambda draw=draw: draw(pair), device)
        found = {f"{preset}_alone_per_minute": 60 / alone, f"{preset}_together_per_minute": 120 / together}
        bench.record(**found, **{f"{preset}_together_peak": peak_mib(device)})


def command_line(bench: Bench) -> None:
    """One photo, and four photos, with mini, in a separate process."""
    with tempfile.TemporaryDirectory() as temporary:
        photos = []
        for number in range(4):
            photos.append(Path(temporary) / f"photo{number}.jpg")
            photos[-1].write_bytes(PORTRAIT.read_bytes())
        for count in (1,) if bench.small else (1, 4):
            command = ["-m", "facelift_core", "reconstruct", *map(str, photos[:count]), "-o", f"{temporary}/{count}/"]
            start = time.perf_counter()
            done = subprocess.run([sys.executable, *command], capture_output=True, text=True, check=False)
            bench.record(**{f"photos_{count}": time.perf_counter() - start}, last=done.stdout.strip().splitlines()[-1:])
            done.check_returncode()


def tests(bench: Bench) -> None:
    """Run the tests that use a GPU."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-rs"]
    command += ["tests/test_cuda.py", "tests/test_upload.py", "tests/test_rasterizer.py::test_cuda_equals_cpu"]
    command += [] if bench.small else ["tests/test_fused.py"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    print(done.stdout, done.stderr)
    bench.record(result=done.stdout.strip().splitlines()[-1:], status=done.returncode)


def kernels(bench: Bench) -> None:
    """Time group normalization and attention separately, and profile a step."""
    import torch
    import torch.nn.functional as F
    from torch.nn.attention import SDPBackend, sdpa_kernel

    from facelift_core.compute import fused

    with torch.no_grad():
        for shape in ((12, 320, 64, 64), (12, 640, 32, 32), (12, 1280, 16, 16), (12, 2560, 8, 8), (1, 128, 512, 512)):
            x = fused.channels_last(torch.randn(shape, device="cuda", dtype=torch.float16))
            weight, bias = (torch.randn(shape[1], device="cuda", dtype=torch.float16) for _ in range(2))
            arguments = x, 32, weight, bias, 1e-5, True
            bench.record(
                shape=shape, fused=_event_ms(lambda a=arguments: fused.group_norm(*a)),
                torch=_event_ms(lambda a=arguments: fused.group_norm_by_torch(*a)),
                copy=_event_ms(x.clone),
            )  # fmt: skip
        for name, queries, keys, batch in (("gslrm", 24578, 24578, 16), ("unet", 4096, 8192, 50)):
            q, k, v = (torch.randn(1, batch, n, 64, device="cuda", dtype=torch.float16) for n in (queries, keys, keys))
            usual = partial(F.scaled_dot_product_attention, q, k, v)
            found = {}
            for backend in (SDPBackend.FLASH_ATTENTION, SDPBackend.CUDNN_ATTENTION):
                start = time.perf_counter()
                with sdpa_kernel(backend):
                    try:
                        F.scaled_dot_product_attention(q, k, v)
                        torch.cuda.synchronize()
                        found[f"{backend.name}_first"] = time.perf_counter() - start
                        found[backend.name] = _event_ms(usual, 5)
                    except RuntimeError as error:
                        found[backend.name] = str(error)[:80]
            found["chosen_by_pytorch"] = _event_ms(usual, 5)
            bench.record(attention=name, **found)
        from facelift_core.compute.attention import cudnn_works

        bench.record(cudnn_works=cudnn_works())


def profiled(bench: Bench) -> None:
    from torch.profiler import ProfilerActivity, profile

    from facelift_core import FaceLift
    from facelift_core.pipeline import lift

    device, _ = _device()
    model = FaceLift.from_pretrained(bench.weights, device)
    portrait, views = _portrait(model.multiview.image_size), _input_views(model.multiview.image_size)
    works = {
        "views": lambda: model.multiview(portrait, 4, GUIDANCE, SEED),
        "fast": lambda: model.multiview(portrait, None, GUIDANCE, SEED, preset="fast"),
        "gslrm": lambda: lift(model.gslrm, views, _silent()),
    }
    activities = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if device.type == "cuda" else [])
    column = "self_device_time_total" if device.type == "cuda" else "self_cpu_time_total"
    text = ""
    for name, work in works.items():
        work()
        with profile(activities=activities) as found:
            work()
            _synchronize()
        averages = found.key_averages()
        text += f"\n{name}\n{averages.table(sort_by=column, row_limit=30, max_name_column_width=80)}\n"
        waits = {e.key: e.count for e in averages if re.search("Synchronize|local_scalar|cudaMemcpy", e.key)}
        bench.record(profile=name, waits=waits)
    (bench.folder / "profile.txt").write_text(text, encoding="utf-8")


# What they share


def _device():
    import torch

    cuda = torch.cuda.is_available()
    return torch.device("cuda" if cuda else "cpu"), torch.float16 if cuda else torch.float32


def _portrait(side: int):
    import numpy as np
    from PIL import Image

    side = min(side, 512)
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8))


def _input_views(side: int):
    import torch

    return torch.rand(6, 3, side, side, generator=torch.Generator().manual_seed(0))


def _backend(bench: Bench) -> str:
    """Return the compiler backend; on a CPU, inductor would generate code for minutes."""
    return "eager" if bench.small else "inductor"


def _compile(bench: Bench, model: FaceLift) -> str | None:
    """Compile the evaluations of all presets; return what is wrong, or None."""
    from timing import timed

    for preset in ("quality", "fast"):
        compile_it = partial(model.multiview.compile, preset, GUIDANCE, _backend(bench))
        seconds, problem = timed(compile_it, model.device)
        bench.record(**{f"compile_{preset}": seconds}, problem=problem or "none")
        if problem:
            return problem
    return None


def _silent():
    from facelift_core.progress import Monitor

    return Monitor("gaussians", None, None)


def _synchronize() -> None:
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _event_ms(run: Callable[[], object], repeats: int = 20) -> float:
    import torch

    for _ in range(3):
        run()
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    begin.record()
    for _ in range(repeats):
        run()
    end.record()
    end.synchronize()
    return begin.elapsed_time(end) / repeats


def _measure(bench: Bench, model: FaceLift, repeats: int) -> tuple[Tensor, Gaussians]:
    """Measure the views by preset, GS-LRM, and their peaks; return the output of *quality*.

    Steps and guidance are those of the transcription.
    """
    from timing import peak_mib, start_peak, timed

    from facelift_core.pipeline import lift

    device, multiview = model.device, model.multiview
    portrait, views = _portrait(multiview.image_size), _input_views(multiview.image_size)
    first, _ = timed(lambda: multiview(portrait, 2, GUIDANCE, SEED), device)
    bench.record(first=first)

    def best(run: Callable, repeats: int) -> tuple[float, object]:
        return min((timed(run, device) for _ in range(repeats)), key=lambda found: found[0])

    start_peak(device)
    seconds, drawn = best(lambda: multiview(portrait, bench.steps, GUIDANCE, SEED), repeats)
    bench.record(views=seconds, views_peak=peak_mib(device))
    for preset in ("balanced", "fast"):
        draw = lambda preset=preset: multiview(portrait, None, GUIDANCE, SEED, preset=preset)  # noqa: E731
        draw()
        bench.record(**{preset: best(draw, 1 + repeats)[0]})
    monitor = _silent()
    lift(model.gslrm, views, monitor)
    start_peak(device)
    seconds, on_card = best(lambda: lift(model.gslrm, views, monitor), 3)
    copy, lifted = timed(lambda: on_card.to("cpu"), device)
    bench.record(gslrm=seconds, gslrm_copy=copy, gslrm_peak=peak_mib(device))
    return drawn, lifted


def _measure_whole(bench: Bench, model) -> None:
    """Measure the whole pipeline from an aligned portrait, as on the command line, without likeness."""
    from timing import timed

    from facelift_core import pipeline

    pipeline.filter_gaussians = lambda gaussians: gaussians[:ENOUGH_GAUSSIANS]
    portrait = _portrait(model.multiview.image_size)
    for preset in ("fast", "balanced", "quality"):
        run = lambda preset=preset: model.reconstruct(  # noqa: E731
            portrait, crop=False, matting="none", preset=preset, guidance_scale=GUIDANCE, likeness="off", keep_raw=False
        )
        tries = [timed(run, model.device) for _ in range(3 if preset == "fast" else 1)]
        seconds, result = min(tries, key=lambda found: found[0])
        stages = {stage: round(spent, 4) for stage, spent in result.timings.items()}
        bench.record(**{f"whole_{preset}": seconds}, stages=stages)


def _compare(bench: Bench, drawn: Tensor, lifted: Gaussians) -> None:
    """Compare the output with that of the transcription."""
    import torch

    path = bench.work / "expected.pt"
    if path.exists():
        views, positions = torch.load(path)
        error, away = (drawn - views).square().mean().clamp(min=1e-20), (lifted.positions - positions).abs()
        psnr = -10 * torch.log10(error).item()
        bench.record(views_psnr=psnr, positions_mean=away.mean().item(), positions_max=away.max().item())


# gsplat, which compiles for minutes


class _Beside:
    """A low-priority process that compiles while parts run."""

    def __init__(self, name: str, folder: Path, command: list, environment: dict[str, str]):
        self.start, self.seconds = time.monotonic(), None
        with (folder / f"{name}.log").open("w", encoding="utf-8") as log:
            self.process = subprocess.Popen(
                ["nice", "-n", "15", *map(str, command)], env=environment, stdout=log, stderr=subprocess.STDOUT,
                start_new_session=True,
            )  # fmt: skip

    def finished(self, limit: float) -> bool:
        """Return whether it finishes within `limit` seconds."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(max(limit, 0))
        if self.process.poll() is not None and self.seconds is None:
            self.seconds = time.monotonic() - self.start
        return self.process.poll() is not None

    def stop(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def _compile_gsplat(args: argparse.Namespace) -> _Beside:
    for source in (args.gsplat / "gsplat" / "cuda" / "csrc").glob("*.c*"):
        text = source.read_text(encoding="utf-8")
        kept = re.sub(rf"^\s*__(INS|LAUNCH_KERNEL)__\((?!(?:{'|'.join(CHANNELS)})\))\d+\)\s*$\n", "", text, flags=re.M)
        if kept != text:
            source.write_text(kept, encoding="utf-8")
    command = [sys.executable, "-c", "from gsplat.cuda._backend import _C; print(_C)"]
    return _Beside("gsplat_compile", args.folder, command, os.environ | _gsplat_environment(args))


def _gsplat_environment(args: argparse.Namespace) -> dict[str, str]:
    path = os.pathsep.join([os.environ.get("PYTHONPATH", ""), str(args.gsplat)])
    return {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
        "PYTHONPATH": path.strip(os.pathsep), "MAX_JOBS": "4", "TORCH_CUDA_ARCH_LIST": "9.0",
        "TORCH_EXTENSIONS_DIR": str(args.work / "extensions"),
    }  # fmt: skip


# The table


def _table(rows: list[dict]) -> Iterator[str]:
    """Yield one line per figure, with the transcription's figure and the ratio if there is one."""
    found: dict[str, dict[str, object]] = {}
    for row in rows:
        found.setdefault(row["part"], {}).update(
            {key: value for key, value in row.items() if key not in ("part", "stages") and not _is_list_row(row)}
        )
    base = found.get("transcription", {})
    device = found.get("weights", {}).get("device", "?")
    yield f"{device}; PyTorch {found.get('weights', {}).get('torch', '?')}; seconds, MiB"
    sides = [side for side in ("ours", "plain", "compiled") if "views" in found.get(side, {})]
    yield f"{'':22}{'transcription':>15}" + "".join(f"{side:>12}{'ratio':>8}" for side in sides)
    pairs = [("views, quality", "views", "views"), ("views, balanced", "balanced", "views")]
    pairs += [("views, fast", "fast", "views"), ("GS-LRM", "gslrm", "gslrm")]
    pairs += [("peak of views", "views_peak", "views_peak"), ("peak of GS-LRM", "gslrm_peak", "gslrm_peak")]
    for name, key, against in pairs:
        yield _line(name, base.get(against), [found[side].get(key) for side in sides])
    both = [_sum(found[side], "views", "gslrm", "gslrm_copy") for side in sides]
    yield _line("both", _sum(base, "views", "gslrm"), both)
    whole = [found[side].get("whole_fast") for side in sides]
    yield _line("whole, fast", _sum(base, "views", "gslrm"), whole)
    yield from _goals(base, found)
    for part, values in found.items():
        shown = {k: v for k, v in values.items() if k not in ("done", "last")}
        yield f"{part}: {_text(shown)}"
    for row in rows:
        if _is_list_row(row) or "stages" in row:
            yield f"  {_text(row)}"


def _goals(base: dict, found: dict[str, dict]) -> Iterator[str]:
    """Yield what was asked for, and what came of it."""
    yield f"{'asked':34}{'':>8}{'found':>8}"
    goals = [("quality, without the compiler", "ours", "views", 1.5), ("quality, compiled", "compiled", "views", 1.9)]
    goals += [(f"{name}, the better of both", side, name, least) for side in ("ours", "compiled")
              for name, least in (("balanced", 7.0), ("fast", 10.0))]  # fmt: skip
    best: dict[str, tuple[float, float]] = {}
    for name, side, key, least in goals:
        seconds, views = found.get(side, {}).get(key), base.get("views")
        if isinstance(seconds, float) and isinstance(views, float):
            best[name] = max(best.get(name, (0.0, least)), (views / seconds, least))
    for name, (ratio, least) in best.items():
        yield f"{name:34}{least:7.1f}×{ratio:7.2f}×  {'yes' if ratio >= least else 'NO'}"
    whole = [found[side]["whole_fast"] for side in ("ours", "compiled") if "whole_fast" in found.get(side, {})]
    if whole:
        yield f"{'whole, fast, at most':34}{0.45:7.2f}s{min(whole):7.2f}s  {'yes' if min(whole) <= 0.45 else 'NO'}"


def _is_list_row(row: dict) -> bool:
    """Return whether `row` is one of several rows of the same name, all of which are shown."""
    return any(key in row for key in ("shape", "attention", "profile"))


def _line(name: str, base: object, values: list) -> str:
    cells = (
        f"{value:12.3f}{base / value:8.2f}" if isinstance(value, float) and isinstance(base, float) else f"{'':20}"
        for value in values
    )
    return f"{name:22}{base:15.3f}{''.join(cells)}" if isinstance(base, float) else f"{name:22}{'':15}{''.join(cells)}"


def _sum(found: dict, *keys: str) -> float | None:
    values = [found[key] for key in keys if key in found]
    return sum(values) if len(values) == len(keys) else None


def _text(found: dict) -> str:
    return ", ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in found.items())


PARTS = (
    Part("weights", write_weights, 20),
    Part("transcription", transcription, 35),
    Part("ours", ours, 45),
    Part("mini", mini, 20),
    Part("likeness", likeness, 35),
    Part("tests", tests, 25),
    Part("command_line", command_line, 30),
    Part("kernels", kernels, 15, on_cpu=False),
    Part("profiled", profiled, 20),
    Part("gsplat", gsplat, 20, on_cpu=False),
    Part("compiled", compiled, 40),
    Part("batch", batch, 25),
    Part("loading", loading, 30),
    Part("plain", plain, 20),
)
"""Most important first. :func:`compile_first` runs beside the tests and the command line, which need no exact times."""
COMPILE_FIRST = Part("compile_first", compile_first, 100)
WAIT = 30
"""Maximum seconds that a part waits for compilation."""
COMPILE_BESIDE = "tests", "command_line", "compiled"
"""Compilation starts before the first of these parts."""


if __name__ == "__main__":
    main()

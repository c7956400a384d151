"""Compare time and peak memory with a transcription of the published algorithm, for each stage or both.

    python benchmarks/stages.py [--weights FOLDER] [--stage views|gaussians|whole] [--steps 50] [--repeats 3]
                                [--device cpu|cuda] [--json FILE]

Both run on the same weights, alternately, each time in a separate process with a warm-up; the table shows medians.
Without --weights, random weights of the size "small" are used (see random_checkpoint.py). Their Gaussians are larger
than those of faces, so the renders of the input views in the published forward pass ("renders") take more time than
usual.

On a CPU, the transcription and "ours" run in float32; "ours, bfloat16" is used for large weights on CPUs with fast
bfloat16 products. Time is processor time over all threads. On CUDA, everything runs in float16, as published, and time
is wall time. The outputs are compared with those of the transcription.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

STAGES = ("load", "views", "gaussians", "renders", "whole")
GUIDANCE, SEED = 3.0, 4
YARDSTICK = "transcription"
SIDES = {"cpu": (YARDSTICK, "ours", "ours, bfloat16"), "cuda": (YARDSTICK, "ours", "ours, compiled")}
COSTLY_PIXELS = 512
"""From this size, renders on a CPU are skipped: they would take hours."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, help="checkpoint with a text encoder")
    parser.add_argument("--stage", choices=("views", "gaussians", "whole"), default="whole", help="measure only this")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--steps", type=int, default=50, help="diffusion steps (default %(default)s)")
    parser.add_argument("--repeats", type=int, default=3, help="processes per implementation (default %(default)s)")
    parser.add_argument("--no-renders", action="store_true", help="skip the transcription's renders")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--side", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.side:
        print(json.dumps(_measure(args)))
        return
    sides = SIDES[args.device]
    with tempfile.TemporaryDirectory() as temporary:
        if args.weights is None:
            from random_checkpoint import SIZES, write_checkpoint

            args.weights = Path(temporary) / "weights"
            write_checkpoint(args.weights, SIZES["small"])
        runs = {side: [] for side in sides}
        for _ in range(args.repeats):
            for side in sides:
                runs[side].append(_in_own_process(side, args))
    _report(runs, args)


def _in_own_process(side: str, args: argparse.Namespace) -> dict:
    command = [sys.executable, __file__, "--side", side, "--weights", args.weights, "--steps", args.steps]
    command += ["--stage", args.stage, "--device", args.device, *(["--no-renders"] if args.no_renders else [])]
    done = subprocess.run(
        list(map(str, command)),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        env=os.environ | {"PYTHONWARNINGS": "ignore"},
    )
    return json.loads(done.stdout.splitlines()[-1])


def _measure(args: argparse.Namespace) -> dict:
    """Return seconds per stage, peak memory in MiB, and some outputs to compare."""
    import numpy as np
    import torch
    from PIL import Image
    from timing import device_name, peak_mib, start_peak, timed

    device = torch.device(args.device)
    seconds: dict[str, float] = {}

    def measure(stage: str, run: Callable):
        seconds[stage], result = timed(run, device)
        return result

    def ours():
        dtype = torch.bfloat16 if args.side == "ours, bfloat16" else torch.float32 if device.type == "cpu" else None
        model = FaceLift.from_pretrained(args.weights, device, dtype)
        if args.side == "ours, compiled":
            model.multiview.compile()
        return model

    if args.side == YARDSTICK:
        from transcription import Transcription

        dtype = torch.float32 if device.type == "cpu" else torch.float16
        model = measure("load", lambda: Transcription.load(args.weights, device, dtype))
        size = min(512, model.unet.config.sample_size * 2 ** (len(model.vae.config.block_out_channels) - 1))
        draw, reconstruct = model.views, model.gaussians
    else:
        from facelift_core import FaceLift
        from facelift_core.pipeline import lift
        from facelift_core.progress import Monitor

        model = measure("load", ours)
        size = model.multiview.image_size
        monitor = Monitor("gaussians", None, None)
        draw, reconstruct = model.multiview, lambda views: lift(model.gslrm, views, monitor).to("cpu")
    portrait = Image.fromarray(np.random.default_rng(0).integers(0, 256, (size, size, 3), np.uint8))
    views, gaussians, peaks = None, None, {}
    if args.stage != "gaussians":
        draw(portrait, 1, GUIDANCE, SEED)  # warm-up
        start_peak(device)
        views = measure("views", lambda: draw(portrait, args.steps, GUIDANCE, SEED))
        peaks["views"] = peak_mib(device)
    if args.stage != "views":
        inputs = torch.rand(6, 3, size, size, generator=torch.Generator().manual_seed(0)) if views is None else views
        start_peak(device)
        if device.type != "cpu":
            reconstruct(inputs)  # warm-up
        gaussians = measure("gaussians", lambda: reconstruct(inputs))
        peaks["gaussians"] = peak_mib(device)
    seconds["renders"] = 0.0
    if args.side == YARDSTICK and gaussians is not None and not args.no_renders:
        if device.type != "cpu" or size < COSTLY_PIXELS:
            measure("renders", lambda: model.render_inputs(gaussians, size))
    seconds["whole"] = sum(value for stage, value in seconds.items() if stage != "load")
    return {
        "device": device_name(device),
        "seconds": seconds,
        "peak_mib": max(peaks.values()),
        "views": [] if views is None else views.float().cpu().flatten().tolist()[:: max(1, views.numel() // 20000)],
        "positions": [] if gaussians is None else gaussians.positions.flatten()[::997].tolist(),
    }


def _report(runs: dict[str, list[dict]], args: argparse.Namespace) -> None:
    stages = [stage for stage in STAGES if stage in runs[YARDSTICK][0]["seconds"]]
    seconds = {
        side: {stage: statistics.median(run["seconds"][stage] for run in own) for stage in stages}
        for side, own in runs.items()
    }
    peak = {side: statistics.median(run["peak_mib"] for run in own) for side, own in runs.items()}
    others = [side for side in runs if side != YARDSTICK]
    print(f"{runs[YARDSTICK][0]['device']}; {args.steps} steps, median of {args.repeats}")
    print(f"{'':14}{YARDSTICK:>16}" + "".join(f"{side:>18}{'ratio':>8}" for side in others))
    for stage in stages:
        theirs = seconds[YARDSTICK][stage]
        cells = "".join(f"{seconds[s][stage]:16.2f} s{_ratio(theirs, seconds[s][stage]):>8}" for s in others)
        print(f"{stage:14}{theirs:14.2f} s{cells}")
    if {"views", "gaussians"} <= set(stages):
        both = {side: seconds[side]["views"] + seconds[side]["gaussians"] for side in runs}
        cells = "".join(f"{both[s]:16.2f} s{_ratio(both[YARDSTICK], both[s]):>8}" for s in others)
        print(f"{'both stages':14}{both[YARDSTICK]:14.2f} s{cells}")
    cells = "".join(f"{peak[s]:14.0f} MiB{_ratio(peak[YARDSTICK], peak[s]):>8}" for s in others)
    print(f"{'peak memory':14}{peak[YARDSTICK]:12.0f} MiB{cells}")
    differences = {side: _differences(runs[YARDSTICK][0], runs[side][0]) for side in others}
    for side, found in differences.items():
        print(f"{side}: {found}")
    if args.json:
        record = {
            "device": runs[YARDSTICK][0]["device"], "weights": str(args.weights.name), "steps": args.steps,
            "seconds": seconds, "peak_mib": peak, "differences": differences,
        }  # fmt: skip
        args.json.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def _ratio(theirs: float, ours: float) -> str:
    return f"{theirs / ours:.2f}" if ours else ""


def _differences(theirs: dict, ours: dict) -> dict[str, float]:
    """Return the largest difference of each output, and the PSNR of the views."""
    found = {}
    if theirs["views"]:
        errors = [abs(a - b) for a, b in zip(theirs["views"], ours["views"], strict=True)]
        mean_square = sum(e * e for e in errors) / len(errors)
        found |= {"views": max(errors), "views_psnr": 10 * math.log10(1 / max(mean_square, 1e-20))}
    if theirs["positions"]:
        errors = [abs(a - b) for a, b in zip(theirs["positions"], ours["positions"], strict=True)]
        found |= {"positions": max(errors), "positions_mean": sum(errors) / len(errors)}
    return {name: float(f"{value:.3g}") for name, value in found.items()}


if __name__ == "__main__":
    main()

"""Time and peak memory of both stages and of the whole, ours against a transcription of the published algorithm.

    python benchmarks/stages.py [--weights FOLDER] [--steps 10] [--repeats 3] [--json FILE]

Both sides run on the same weights in one call, each in a process of its own, so that peak memory is its own; the sides
take turns and the median counts. Outputs are compared. Without --weights, random ones of a small size are made; these
give larger Gaussians than faces do, so the published forward pass's renders of its inputs ("renders") count more than
usual.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

SIDES = ("ours", "transcription")
STAGES = ("load", "views", "gaussians", "renders", "whole")
GUIDANCE, SEED = 3.0, 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, help="a checkpoint with its text encoder")
    parser.add_argument("--steps", type=int, default=10, help="of the diffusion (default %(default)s)")
    parser.add_argument("--repeats", type=int, default=3, help="processes per side (default %(default)s)")
    parser.add_argument("--json", type=Path, help="also write the figures there")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.side:
        print(json.dumps(_measure(args.side, args.weights, args.steps)))
        return
    with tempfile.TemporaryDirectory() as temporary:
        if args.weights is None:
            from random_checkpoint import SIZES, write_checkpoint

            args.weights = Path(temporary) / "weights"
            write_checkpoint(args.weights, SIZES["small"])
        runs = {side: [] for side in SIDES}
        for _ in range(args.repeats):
            for side in SIDES:
                runs[side].append(_in_own_process(side, args.weights, args.steps))
    _report(runs, args)


def _in_own_process(side: str, weights: Path, steps: int) -> dict:
    command = [sys.executable, __file__, "--side", side, "--weights", str(weights), "--steps", str(steps)]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, text=True, check=True, env=os.environ | {"PYTHONWARNINGS": "ignore"}
    )
    return json.loads(done.stdout.splitlines()[-1])


def _measure(side: str, weights: Path, steps: int) -> dict:
    """Seconds per stage, peak resident memory in MiB, and a few numbers of the output to compare."""
    import numpy as np
    import torch
    from PIL import Image

    seconds: dict[str, float] = {}

    def timed(stage: str, run: Callable):
        start = time.perf_counter()
        result = run()
        seconds[stage] = time.perf_counter() - start
        return result

    if side == "ours":
        from facelift_core import FaceLift
        from facelift_core.pipeline import lift
        from facelift_core.progress import Monitor

        model = timed("load", lambda: FaceLift.from_pretrained(weights, device="cpu"))
        size = model.multiview.image_size
        draw, reconstruct = model.multiview, lambda views: lift(model.gslrm, views, Monitor("gaussians", None, None))
    else:
        from transcription import Transcription

        model = timed("load", lambda: Transcription.load(weights))
        size = min(512, model.unet.config.sample_size * 2 ** (len(model.vae.config.block_out_channels) - 1))
        draw, reconstruct = model.views, model.gaussians
    pixels = np.random.default_rng(0).integers(0, 256, (size, size, 3), np.uint8)
    portrait = Image.fromarray(pixels)
    views = timed("views", lambda: draw(portrait, steps, GUIDANCE, SEED))
    gaussians = timed("gaussians", lambda: reconstruct(views))
    if side == "ours":
        seconds["renders"] = 0.0
    else:
        timed("renders", lambda: model.render_inputs(gaussians, size))
    seconds["whole"] = sum(seconds.values())
    sample = torch.cat([views.flatten()[:: max(1, views.numel() // 2000)], gaussians.positions.flatten()[::997]])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"seconds": seconds, "peak_mib": peak, "sample": sample.tolist()}


def _report(runs: dict[str, list[dict]], args: argparse.Namespace) -> None:
    median = {s: {k: statistics.median(r["seconds"][k] for r in runs[s]) for k in STAGES} for s in SIDES}
    peak = {s: statistics.median(r["peak_mib"] for r in runs[s]) for s in SIDES}
    samples = zip(*(runs[s][0]["sample"] for s in SIDES), strict=True)
    difference = max(abs(a - b) for a, b in samples)
    print(f"{platform.machine()}, {os.cpu_count()} cores, {args.steps} steps, median of {args.repeats}")
    print(f"{'':12}{'transcription':>16}{'ours':>10}{'ratio':>8}")
    for stage in STAGES:
        theirs, ours = median["transcription"][stage], median["ours"][stage]
        print(f"{stage:12}{theirs:14.2f} s{ours:8.2f} s{f'{theirs / ours:8.2f}' if ours else ''}")
    theirs, ours = peak["transcription"], peak["ours"]
    print(f"{'peak memory':12}{theirs:12.0f} MiB{ours:6.0f} MiB{theirs / ours:8.2f}")
    print(f"largest difference between the outputs: {difference:.1e}")
    if args.json:
        record = {
            "steps": args.steps,
            "seconds": median,
            "peak_mib": peak,
            "difference": difference,
            "machine": platform.platform(),
        }
        args.json.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

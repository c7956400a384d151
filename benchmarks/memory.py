"""Measure peak memory and time of each memory plan, also on simulated GPUs with less memory.

    python benchmarks/memory.py --weights FOLDER [--steps 2] [--dtype float32|bfloat16] [--json FILE]
    python benchmarks/memory.py --weights FOLDER --device cuda [--cards 24 12 8 6 4] [--json FILE]

Each row is a separate process. On a CPU, each plan is forced, and the peak is the process's resident memory minus that
after the imports. On CUDA, the allocator is limited to each GPU's size minus the memory of CUDA itself, the plan is
chosen automatically, and the row says whether the run had to step down. “planned” is the estimate of the plan.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

CONTEXT_GIB = 0.8
"""GPU memory used by CUDA itself and a desktop."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), help="dtype on a CPU; by default FaceLift chooses")
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--cards", type=float, nargs="+", default=[24, 12, 8, 6, 4], help="GiB")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plan", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--card", type=float, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.plan is not None or args.card is not None:
        print(json.dumps(_measure(args)))
        return
    from facelift_core.compute.memory_plan import PLANS

    cases = [("--card", card) for card in args.cards] if args.device == "cuda" else [
        ("--plan", number) for number in range(len(PLANS))
    ]  # fmt: skip
    rows = []
    for option, value in cases:
        own = ["--weights", args.weights, "--device", args.device, "--steps", args.steps, option, value]
        own += ["--dtype", args.dtype] if args.dtype else []
        done = subprocess.run([sys.executable, __file__, *map(str, own)], stdout=subprocess.PIPE, text=True, check=True)
        rows.append(json.loads(done.stdout.splitlines()[-1]))
        row = rows[-1]
        print(f"{row['case']:>40}  planned {row['planned_mib']:6.0f} MiB  peak {row['peak_mib']:6.0f} MiB  "
              f"{row['seconds']:8.1f} s  {row['plan']}", flush=True)  # fmt: skip
    print(f"{rows[0]['device']}; {rows[0]['dtype']}, {args.steps} steps")
    if args.json:
        args.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


def _measure(args: argparse.Namespace) -> dict:
    import numpy as np
    import torch
    from PIL import Image
    from timing import device_name, peak_mib, start_peak, timed

    from facelift_core import FaceLift, Gaussians, pipeline
    from facelift_core.compute.memory_plan import PLANS
    from facelift_core.gaussians.filters import filter_gaussians

    device = torch.device(args.device)
    before = peak_mib(device) if device.type == "cpu" else 0.0
    dtype = getattr(torch, args.dtype) if args.dtype else None
    plan = None if args.plan is None else PLANS[args.plan]
    if args.card is not None:
        limit = int((args.card - CONTEXT_GIB) * 2**30)
        torch.cuda.set_per_process_memory_fraction(limit / torch.cuda.get_device_properties(device).total_memory)
        pipeline.free_memory = lambda device: limit
        start_peak(device)
    model = FaceLift.from_pretrained(args.weights, device, dtype, plan)
    planned = model.offload.needs.peak(model.offload.plan) / 2**20

    def filtered(gaussians: Gaussians) -> Gaussians:
        kept = filter_gaussians(gaussians)
        return kept if len(kept) else gaussians[:1]  # the filters remove all Gaussians of random weights

    pipeline.filter_gaussians = filtered
    portrait = Image.fromarray(np.random.default_rng(0).integers(0, 256, (512, 512, 3), np.uint8))
    seconds, _ = timed(lambda: model.reconstruct(portrait, steps=args.steps, crop=False, matting="none"), device)
    return {
        "case": f"card of {args.card:g} GiB" if args.card else plan.name,
        "plan": model.offload.plan.name,
        "planned_mib": planned,
        "peak_mib": peak_mib(device) - before,
        "seconds": seconds,
        "dtype": str(model.multiview.dtype),
        "device": device_name(device),
    }


if __name__ == "__main__":
    main()

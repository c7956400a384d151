"""Measure the effect of agreeing steps on quality and time, on held-out synthetic heads.

    OMP_NUM_THREADS=1 python benchmarks/agreement.py [--heads 6] [--presets quality balanced fast] [--json FILE]

For each preset and number of agreeing steps, the table has the PSNR to the ground truth of the generated views (front
and others), of the head from eight sides (with SSIM), and of the head's front. "agree" is the PSNR between the views
and renders of the head from the same cameras, without the front; where it is low, heads look like wax. Seconds are for
the views, on a CPU processor time. "portrait" means that the portrait replaces the generated front view.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from timing import device_name, timed

from facelift_core import FaceLift, drawing
from facelift_core.images import to_pictures
from facelift_core.multiview.agreement import Agreement
from facelift_core.presets import PRESETS, Sampling
from facelift_core.rendering.cameras import six_views, turntable
from facelift_core.rendering.metrics import psnr, ssim
from facelift_core.training.batches import WHITE, HeadTensors, composite
from facelift_core.training.evaluate import TURNTABLE, render_views
from facelift_core.training.heads.render import render
from facelift_core.training.heads.scene import make_head

VIEWS, FIRST_SEED = 6, 1_000_000
STEPS = (0, 1, 2, 3)
FIGURES = ("front", "others", "head", "SSIM", "head's front", "agree", "seconds")


def rows(preset: str) -> dict[str, tuple[Sampling, bool]]:
    """Return, by name, the sampling settings and whether the portrait replaces the front view."""
    how = PRESETS[preset]
    found = {f"{n}": (replace(how, agreeing_steps=n), n > 0) for n in STEPS}
    return found | {"0, portrait": (found["0"][0], True), "2, front as drawn": (found["2"][0], False)}


@torch.no_grad()
def measure(model: FaceLift, seed: int, how: Sampling, portrait: bool) -> list[float]:
    c2w = torch.cat([six_views(), turntable(TURNTABLE)]).float().numpy()
    truth = composite(HeadTensors.of(render(make_head(seed), c2w, model.multiview.image_size)).rgba, WHITE)
    photo = to_pictures(truth[:1])[0]
    agreement = drawing.agreement(model, photo)
    agree = agreement if portrait else Agreement(agreement.lift)
    seconds, views = timed(
        lambda: model.multiview(photo, preset=how, agree=agree if how.agreeing_steps else None), model.device
    )
    drawn = psnr(views, truth[:VIEWS])
    views = agree.with_portrait(views)
    head = model.reconstruct_from_views(views).raw_gaussians
    renders = render_views(head, torch.from_numpy(c2w), truth.shape[-1])
    own, around, wanted = renders[:VIEWS], renders[VIEWS:], truth[VIEWS:]
    return [
        float(drawn[0]),
        float(drawn[1:].mean()),
        float(psnr(around, wanted).mean()),
        float(ssim(around, wanted, with_border=True).mean()),
        float(psnr(around[0], wanted[0])),
        float(psnr(own[1:], views[1:]).mean()),
        seconds,
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", default="mini")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--heads", type=int, default=6, help="default %(default)s")
    parser.add_argument("--presets", nargs="+", choices=list(PRESETS), default=list(PRESETS))
    parser.add_argument("--json", type=Path, help="also write the figures of each head to this file")
    args = parser.parse_args()
    model = FaceLift.from_pretrained(args.weights, args.device)
    figures: dict[str, dict[str, list[list[float]]]] = {preset: {} for preset in args.presets}
    for seed in range(FIRST_SEED, FIRST_SEED + args.heads):
        for preset in args.presets:
            for name, (how, portrait) in rows(preset).items():
                figures[preset].setdefault(name, []).append(measure(model, seed, how, portrait))
                if args.json:
                    args.json.write_text(json.dumps(figures) + "\n", encoding="utf-8")
    print(f"{device_name(model.device)}; {args.weights}; {args.heads} heads\n")
    print(table(figures))


def table(figures: dict[str, dict[str, list[list[float]]]]) -> str:
    """Format the means over the heads as a table."""
    lines = ["| | agreeing steps | " + " | ".join(FIGURES) + " |", "|---" * (2 + len(FIGURES)) + "|"]
    for preset, by_name in figures.items():
        for name, values in by_name.items():
            digits = [3 if figure == "SSIM" else 1 if figure == "seconds" else 2 for figure in FIGURES]
            cells = [f"{value:.{n}f}" for value, n in zip(np.mean(values, 0), digits, strict=True)]
            lines.append(f"| {preset} | {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()

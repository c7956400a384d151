"""Measure how steps, solvers, guidance and feature reuse affect quality and time.

    python benchmarks/presets.py --heads FOLDER -o FOLDER [--count 8] [--seeds 2]
    python benchmarks/presets.py --portraits FOLDER -o FOLDER --weights FOLDER --device cuda

Writes presets.md, presets.json, presets_curve.png, presets_limit.png and presets_views.png.

With --heads (shards of held-out synthetic heads, see `facelift-train heads`), views and renders of the head are
compared with the ground truth; renders at the shards' views beyond the six. With --portraits (aligned portraits as
.png), there is none, and views are compared only with those of the quality preset and the same seed. The row "quality,
other seed" shows how much two equally good results differ. "to limit" is the PSNR to the same solver with 50 steps, the
error of the solver alone. “Edges” is the distance of image gradients at three scales, part of the training loss. ± is
the standard error of the paired difference from *quality* over heads and seeds.

“Samples” are UNet evaluations, counted per view; with reused deep blocks, they are weighted by the arithmetic of the
released UNet. Time is for the six views: median over portraits and seeds after a warm-up, on a CPU processor time (best
with OMP_NUM_THREADS=1).
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import UNet2DConditionModel
from PIL import Image
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode
from tqdm import tqdm

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from curve import Point, draw_curve
from random_checkpoint import SIZES, unet_config
from timing import device_name, timed

from facelift_core import FaceLift
from facelift_core.multiview.unet import set_attention
from facelift_core.presets import PRESETS, Sampling
from facelift_core.rendering import cameras, render
from facelift_core.rendering.metrics import edge_distance, psnr, ssim
from facelift_core.training.batches import WHITE, HeadTensors, composite, picture_grid
from facelift_core.training.evaluate import RENDER_SCALE
from facelift_core.training.heads.dataset import HeadDataset

VIEWS, OTHER_SEED, PICTURED = 6, 1000, 2
QUALITY, OTHER, LIMIT = "quality", "quality, other seed", "dpm 50"
LABELS = {
    "to_quality": "to quality", "to_limit": "to limit", "detail": "detail", "front": "front", "views": "others",
    "ssim": "SSIM", "edges": "edges", "renders": "renders", "renders_ssim": "SSIM", "renders_edges": "edges",
}  # fmt: skip
PUBLISHED = {name: replace(how, agreeing_steps=0) for name, how in PRESETS.items()}
"""The presets without agreeing steps, which benchmarks/agreement.py measures."""
COMPARED = ("front", "renders")
"""Figures shown with the standard error of their difference from QUALITY."""


def candidates() -> dict[str, Sampling]:
    """Return the presets and the settings that they were chosen from."""
    found = {QUALITY: PUBLISHED[QUALITY], OTHER: PUBLISHED[QUALITY]}
    found |= {LIMIT: Sampling(50, "dpm"), "ddim 25": Sampling(25)}
    found |= {f"dpm {n}": Sampling(n, "dpm") for n in (20, 15, 12, 10, 7, 5)}
    found |= {"dpm-sde 10": Sampling(10, "dpm-sde")}
    found |= {f"unipc {n}": Sampling(n, "unipc") for n in (10, 5)}
    found |= {
        "dpm 20, guided to .5": Sampling(20, "dpm", guided_until=0.5),
        "quality, reuse 2": Sampling(reuse=2),
        "quality, reuse 4": Sampling(reuse=4),
        "dpm 20, reuse 2": Sampling(20, "dpm", reuse=2),
        "dpm 12, reuse 2": Sampling(12, "dpm", reuse=2),
        "dpm 10, reuse 2": Sampling(10, "dpm", reuse=2),
        "dpm 10, reuse 3": Sampling(10, "dpm", reuse=3),
        "dpm 9, reuse 3": Sampling(9, "dpm", reuse=3),
        "dpm 8, reuse 2": Sampling(8, "dpm", reuse=2),
    }
    return found | {name: how for name, how in PUBLISHED.items() if how not in found.values()}


def released_deep_share() -> float:
    """Return the fraction of the released UNet's arithmetic in reusable blocks, counted without running it."""
    sizes = SIZES["full"]
    with torch.device("meta"), torch.no_grad():
        unet = UNet2DConditionModel(**unet_config(sizes))
        set_attention(unet, VIEWS, "sparse")
        inputs = torch.zeros(VIEWS, 8, sizes.latent, sizes.latent), torch.tensor(0)
        prompts, labels = torch.zeros(VIEWS, 77, sizes.text[0]), torch.zeros(VIEWS, 2 * sizes.embedding)
        with FlopCounterMode(display=False) as counter:
            unet(*inputs, prompts, class_labels=labels)
    counts = {name.split(".", 1)[-1]: sum(by_kind.values()) for name, by_kind in counter.get_flop_counts().items()}
    outer = counts["down_blocks.0"] + counts[f"up_blocks.{len(sizes.unet) - 1}"]
    return 1 - outer / counts["Global"]


def work(how: Sampling, deep_share: float) -> float:
    """Return the number of UNet evaluations per view, weighted by their arithmetic if features are reused."""
    return sum(
        VIEWS * (2 if how.guides(step) else 1) * (1 if step % how.reuse == 0 else 1 - deep_share)
        for step in range(how.steps)
    )


@dataclass(frozen=True)
class Head:
    """A portrait; with ground truth, also six views (6, 3, H, W), others (V, 3, H, W) and their cameras (V, 4, 4)."""

    portrait: Image.Image
    views: Tensor | None = None
    others: Tensor | None = None
    c2w: Tensor | None = None


def read_heads(folder: Path, count: int) -> Iterator[Head]:
    heads = HeadDataset(folder)
    for index in np.linspace(0, len(heads) - 1, count).astype(int):
        head = HeadTensors.of(heads[int(index)])
        truth = composite(head.rgba, WHITE)
        front = Image.fromarray((truth[0].permute(1, 2, 0).numpy() * 255 + 0.5).astype(np.uint8))
        yield Head(front, truth[:VIEWS], truth[VIEWS:], head.c2w[VIEWS:])


def detail(image: Tensor) -> Tensor:
    """Return the detail at the scale of a pixel: the RMS of the image minus its 3 × 3 mean."""
    return (image - F.avg_pool2d(image, 3, 1, 1)).square().mean().sqrt()


@torch.no_grad()
def measure(model: FaceLift, head: Head, views: Tensor, drawn: dict[str, Tensor]) -> dict[str, float]:
    """Compare `views` of `head` with those of QUALITY and LIMIT in `drawn`, and with the ground truth if known."""
    quality = drawn[QUALITY]
    figures = {name: psnr(views, drawn[of]).mean() for name, of in (("to_quality", QUALITY), ("to_limit", LIMIT))}
    figures["detail"] = detail(views) / detail(quality)
    if head.views is not None:
        size = views.shape[-1]
        gaussians = model.reconstruct_from_views(views).raw_gaussians
        large = RENDER_SCALE * size
        intrinsics = cameras.intrinsics(large).float().expand(len(head.c2w), 4)
        renders = render(gaussians, head.c2w, intrinsics, large, large)
        renders = F.avg_pool2d(renders.permute(0, 3, 1, 2), RENDER_SCALE).clamp(0, 1)
        figures |= {
            "front": psnr(views[0], head.views[0]),
            "views": psnr(views[1:], head.views[1:]).mean(),
            "ssim": ssim(views[1:], head.views[1:]).mean(),
            "edges": edge_distance(views[1:], head.views[1:]),
            "renders": psnr(renders, head.others).mean(),
            "renders_ssim": ssim(renders, head.others).mean(),
            "renders_edges": edge_distance(renders, head.others),
            "detail": detail(views) / detail(head.views),
        }
    return {name: float(value) for name, value in figures.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--heads", type=Path, help="folder of shards with views beyond the six")
    source.add_argument("--portraits", type=Path, help="folder of aligned portraits, .png")
    parser.add_argument("--weights", default="mini")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--count", type=int, default=8, help="heads (default %(default)s)")
    parser.add_argument("--seeds", type=int, default=2, help="seeds per head (default %(default)s)")
    parser.add_argument("--only", nargs="+", help="candidates to measure besides the references")
    parser.add_argument("-o", "--out", type=Path, required=True, help="folder for tables and images")
    args = parser.parse_args()

    args.out.mkdir(parents=True, exist_ok=True)
    model = FaceLift.from_pretrained(args.weights, args.device)
    if args.heads:
        heads = list(read_heads(args.heads, args.count))
    else:
        files = sorted(args.portraits.glob("*.png"))[: args.count]
        heads = [Head(Image.open(file).convert("RGB").resize((model.multiview.image_size,) * 2)) for file in files]
    chosen = {n: how for n, how in candidates().items() if not args.only or n in (QUALITY, OTHER, LIMIT, *args.only)}
    figures = {name: [] for name in chosen}
    seconds = {name: [] for name in chosen}
    rows = []
    deep_share = released_deep_share()
    model.multiview(heads[0].portrait, 2)  # warm-up
    for number, head in enumerate(tqdm(heads, unit="head", disable=None)):
        for seed in range(args.seeds):
            drawn = {}
            for name, how in chosen.items():
                own_seed = seed + OTHER_SEED * (name == OTHER)
                spent, views = timed(
                    lambda h=head, s=own_seed, how=how: model.multiview(h.portrait, None, None, s, preset=how),
                    model.device,
                )
                drawn[name] = views
                seconds[name].append(spent)
            for name in chosen:
                figures[name].append(measure(model, head, drawn[name], drawn))
                if seed == 0 and number < PICTURED and chosen[name] in PUBLISHED.values() and name != OTHER:
                    rows.append((number, name, drawn[name]))
            # Report after every round, because all rounds can take hours.
            table = summary(chosen, figures, seconds, deep_share)
            record = {"device": device_name(model.device), "weights": str(args.weights), "portraits": number + 1,
                      "seeds": args.seeds, "candidates": table}  # fmt: skip
            (args.out / "presets.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    report(table, args, f"{device_name(model.device)}, guidance {model.multiview.guidance_scale:g}")
    curves = {"presets_limit.png": "to_limit"} | ({"presets_curve.png": "front"} if args.heads else {})
    for file, key in curves.items():
        points = [
            Point(row["samples"], row[key], row["sampling"]["solver"], name)
            for name, row in table.items()
            if key != "to_limit" or (name != LIMIT and row["sampling"]["solver"] in ("dpm", "unipc"))
        ]
        draw_curve(points, "single-view evaluations of the UNet", f"{LABELS[key]}, PSNR in dB", args.out / file)
    grid = []
    for number, head in enumerate(heads[:PICTURED]):
        grid += [head.views] if head.views is not None else []
        grid += [views for n, _, views in rows if n == number]
    picture_grid(grid).save(args.out / "presets_views.png")


def summary(
    chosen: dict[str, Sampling], figures: dict[str, list], seconds: dict[str, list], deep_share: float
) -> dict[str, dict]:
    """Return the mean figures and the median time of each candidate."""
    return {
        name: {
            "sampling": asdict(how),
            "samples": work(how, deep_share),
            "seconds": statistics.median(seconds[name]),
            **{key: statistics.fmean(f[key] for f in figures[name]) for key in figures[name][0]},
            "errors": {key: paired_error(figures[name], figures[QUALITY], key) for key in COMPARED},
        }
        for name, how in chosen.items()
    }


def paired_error(own: list[dict], quality: list[dict], key: str) -> float:
    """Return the standard error of the mean paired difference from QUALITY; 0 if it is undefined."""
    if len(own) < 2 or key not in own[0]:
        return 0.0
    differences = [a[key] - b[key] for a, b in zip(own, quality, strict=True)]
    return statistics.stdev(differences) / len(differences) ** 0.5


def report(table: dict[str, dict], args: argparse.Namespace, where: str) -> None:
    """Print the table and write it to presets.md."""
    quality = table[QUALITY]
    keys = [key for key in LABELS if key in quality]
    lines = [f"{where}; {args.weights}; {args.count} portraits, {args.seeds} seeds", ""]
    lines.append("| | samples | counted | measured | " + " | ".join(LABELS[key] for key in keys) + " |")
    lines.append("|---" * (4 + len(keys)) + "|")
    for name, row in table.items():
        counted, measured = quality["samples"] / row["samples"], quality["seconds"] / row["seconds"]
        cells = [name, f"{row['samples']:.0f}", f"{counted:.1f}", f"{measured:.1f}"]
        for key in keys:
            error = f" ± {row['errors'][key]:.2f}" if key in COMPARED and name != QUALITY else ""
            digits = 3 if key in ("ssim", "renders_ssim", "edges", "renders_edges", "detail") else 1 + (key in COMPARED)
            # Do not compare an image with itself.
            itself = (key, name) in (("to_quality", QUALITY), ("to_limit", LIMIT))
            cells.append("" if itself else f"{row[key]:.{digits}f}{error}")
        lines.append("| " + " | ".join(cells) + " |")
    print("\n".join(lines))
    (args.out / "presets.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

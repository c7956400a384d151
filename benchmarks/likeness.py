"""Measure how much a head resembles the person in the photo, for each likeness.

    pip install "facelift-blender[likeness-benchmark]"
    OMP_NUM_THREADS=1 python benchmarks/likeness.py FOLDER [--likeness off photo refined] [--sheets DIR] [--json FILE]
    OMP_NUM_THREADS=1 python benchmarks/likeness.py --heads 50 [--json FILE]

FOLDER contains photos, or the packages fetched by `benchmarks/portraits.py FOLDER`. Identity is the distance between
descriptors of the aligned portrait and of a render at 512² pixels, from dlib's face recognition network; below .6,
two images count as the same person. Renders in which dlib's detector finds no face are counted and excluded from the
means.

With `--heads`, uses held-out synthetic heads, whose other sides are known: PSNR and SSIM of the front, of unseen views
nearer than 60°, and of the others. Pixels that the filters (docs/model.md, 6) remove from the ground truth, and their
surroundings, are excluded.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from portraits import listing
from timing import device_name, peak_mib

from facelift_core import FaceLift, FaceLiftError, Gaussians, render
from facelift_core.align import AlignedPortrait, align_portrait, open_photo
from facelift_core.gaussians.filters import keep_indices
from facelift_core.images import write_picture
from facelift_core.likeness import LIKENESS
from facelift_core.rendering.cameras import intrinsics, orbit
from facelift_core.rendering.metrics import psnr, ssim

SIZE = 512
TURNS = (0, 15, -15, 30, -30, 45, -45, 60, -60)
"""Degrees from the front at which identity is measured."""
FIRST_SEED = 1_000_000
NEAR = (15, -15, 30, -30, 45, -45)
FAR = (75, -75, 90, -90, 135, -135, 180)
MARGIN = 16
"""Excluded pixels around the cut of the filters, whose position depends on the depth."""


class Identity:
    """dlib's face detector, landmarks and recognition network, from the package face-recognition-models."""

    def __init__(self) -> None:
        try:
            import dlib
        except ImportError as error:
            raise FaceLiftError(
                "Identity is measured with dlib; install the packages dlib-bin and face-recognition-models."
            ) from error
        package = importlib.util.find_spec("face_recognition_models")
        if package is None:
            raise FaceLiftError("Identity is measured with dlib; install the package face-recognition-models.")
        # Importing the package would fail: it needs pkg_resources, which setuptools no longer has.
        models = Path(package.origin).parent / "models"
        self.detector = dlib.get_frontal_face_detector()
        self.points = dlib.shape_predictor(str(models / "shape_predictor_68_face_landmarks.dat"))
        self.network = dlib.face_recognition_model_v1(str(models / "dlib_face_recognition_resnet_model_v1.dat"))

    def __call__(self, picture: np.ndarray) -> np.ndarray | None:
        """Return the descriptor (128,) of the largest face in a (H, W, 3) uint8 RGB image, or None."""
        picture = np.ascontiguousarray(picture)
        boxes = self.detector(picture, 1)
        if not boxes:
            return None
        box = max(boxes, key=lambda box: box.area())
        return np.array(self.network.compute_face_descriptor(picture, self.points(picture, box), 4))


@dataclass(frozen=True)
class Row:
    """Result for one portrait and likeness: distances at :data:`TURNS` (NaN without a face), processor seconds."""

    name: str
    likeness: str
    distances: list[float]
    gaussians: int
    seconds: float
    peak: float


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", help="folder of photos, or of packages fetched by portraits.py")
    parser.add_argument("--heads", type=int, default=0, help="use this number of held-out synthetic heads")
    parser.add_argument("--first-seed", type=int, default=FIRST_SEED, help="seed of the first synthetic head")
    parser.add_argument("--likeness", nargs="+", choices=LIKENESS, default=list(LIKENESS))
    parser.add_argument("--weights", default="mini")
    parser.add_argument("--preset", default="quality")
    parser.add_argument("--only", nargs="+", help="names of portraits")
    parser.add_argument("--sheets", type=Path, help="write an image of each head to this folder")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    if not args.folder and not args.heads:
        parser.error("pass a folder of photos, or --heads")
    try:
        model = FaceLift.from_pretrained(args.weights)
        print(f"{device_name(model.device)}, {args.weights}, {args.preset}", flush=True)
        figures = {}
        if args.folder:
            figures["portraits"] = [row.__dict__ for row in _portraits(model, args)]
        if args.heads:
            figures["heads"] = _heads(model, args)
    except FaceLiftError as error:
        print(error, file=sys.stderr)
        return 1
    if args.json:
        args.json.write_text(json.dumps(figures, indent=1), encoding="utf-8")
    return 0


def _photos(folder: Path, only: Sequence[str] | None) -> Iterator[tuple[str, AlignedPortrait]]:
    """Yield names and portraits; report and skip photos that cannot be used."""
    if not folder.is_dir():
        raise FaceLiftError(f"There is no folder {folder}.")
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in Image.registered_extensions())
    sources = [(path.stem, lambda path=path: open_photo(path)) for path in files] or [
        (portrait.name, lambda portrait=portrait: portrait.open(folder)) for portrait in listing()
    ]
    for name, source in sources:
        if only and name not in only:
            continue
        try:
            yield name, align_portrait(source())
        except FaceLiftError as error:
            print(f"{name}: {error}", flush=True)


def _portraits(model: FaceLift, args: argparse.Namespace) -> list[Row]:
    identity, rows = Identity(), []
    for name, portrait in _photos(args.folder, args.only):
        reference = identity(np.asarray(portrait.image))
        if reference is None:
            print(f"{name}: dlib finds no face in the portrait", flush=True)
            continue
        pictures = [np.asarray(portrait.image)]
        for likeness in args.likeness:
            start = time.process_time()
            result = model.reconstruct(portrait, preset=args.preset, likeness=likeness)
            seconds = time.process_time() - start
            shown = _pictures(result.gaussians, TURNS)
            found = [identity(picture) for picture in shown]
            distances = [float("nan") if x is None else float(np.linalg.norm(x - reference)) for x in found]
            rows.append(Row(name, likeness, distances, len(result.gaussians), seconds, peak_mib(model.device)))
            print(f"{name:14} {likeness:8} " + " ".join(f"{d:5.2f}" for d in distances), flush=True)
            pictures += [*shown, *_pictures(result.gaussians, (90, -90, 180))]
        if args.sheets:
            args.sheets.mkdir(parents=True, exist_ok=True)
            write_picture(Image.fromarray(_sheet(pictures, len(args.likeness))), args.sheets / f"{name}.png")
    if not rows:
        raise FaceLiftError(f"No photo in {args.folder} could be measured.")
    _table(rows, args.likeness)
    return rows


def _table(rows: Sequence[Row], likenesses: Sequence[str]) -> None:
    angles = sorted({abs(turn) for turn in TURNS})
    print("\n| mean distance | " + " | ".join(f"±{a}°" if a else "front" for a in angles) + " | Gaussians | s |")
    print("|---" * (len(angles) + 3) + "|")
    for likeness in likenesses:
        chosen = [row for row in rows if row.likeness == likeness]
        cells = []
        for angle in angles:
            values = np.array(
                [d for row in chosen for t, d in zip(TURNS, row.distances, strict=True) if abs(t) == angle]
            )
            lost = int(np.isnan(values).sum())
            mean = np.nanmean(values) if lost < len(values) else float("nan")
            cells.append(f"{mean:.3f}" + (f" ({lost} of {len(values)} without a face)" if lost else ""))
        gaussians, seconds = (np.mean([getattr(row, name) for row in chosen]) for name in ("gaussians", "seconds"))
        print(f"| {likeness} | " + " | ".join(cells) + f" | {gaussians:,.0f} | {seconds:.1f} |")


def _heads(model: FaceLift, args: argparse.Namespace) -> dict[str, list[list[float]]]:
    """Return, by likeness and head, PSNR and SSIM of the front, of near views, and of far views."""
    from facelift_core.training.heads.render import on_white
    from facelift_core.training.heads.render import render as render_head
    from facelift_core.training.heads.scene import make_head

    turns = (0, *NEAR, *FAR)
    c2w = orbit(torch.tensor([270.0 + turn for turn in turns]))
    figures: dict[str, list[list[float]]] = {likeness: [] for likeness in args.likeness}
    for seed in range(args.first_seed, args.first_seed + args.heads):
        head = render_head(make_head(seed), c2w.numpy(), SIZE)
        truth = torch.from_numpy(head.rgba).float() / 255
        cut = _cut(torch.from_numpy(head.depth.astype(np.float32)), c2w)
        truth = (truth[..., :3] * truth[..., 3:] + 1 - truth[..., 3:]).permute(0, 3, 1, 2).masked_fill(cut, 1)
        for likeness in args.likeness:
            result = model.reconstruct(on_white(head.rgba[0]), crop=False, preset=args.preset, likeness=likeness)
            shown = torch.from_numpy(_pictures(result.gaussians, turns)).float().permute(0, 3, 1, 2) / 255
            shown = shown.masked_fill(cut, 1)
            parts = slice(0, 1), slice(1, 1 + len(NEAR)), slice(1 + len(NEAR), None)
            row = [f(shown[part], truth[part]).mean().item() for part in parts for f in (psnr, ssim)]
            figures[likeness].append(row)
            print(f"{seed} {likeness:8} " + " ".join(f"{x:6.3f}" for x in row), flush=True)
    print(f"\n| {args.heads} heads | front | SSIM | nearer than 60° | SSIM | farther | SSIM |")
    print("|---" * 7 + "|")
    for likeness, rows in figures.items():
        means = np.mean(rows, axis=0)
        print(
            f"| {likeness} | " + " | ".join(f"{x:.3f}" if i % 2 else f"{x:.2f} dB" for i, x in enumerate(means)) + " |"
        )
    return figures


def _cut(depth: Tensor, c2w: Tensor) -> Tensor:
    """Return a mask (V, 1, S, S) of what the filters remove from a head with this depth (V, S, S), with a margin."""
    focal = intrinsics(SIZE)[0].float()
    along = (torch.arange(SIZE) + 0.5 - SIZE / 2) / focal
    y, x = torch.meshgrid(along, along, indexing="ij")
    points = torch.stack([x, y, torch.ones_like(x)], dim=-1) * depth[..., None]
    c2w = c2w.float()
    world = torch.einsum("vij,vhwj->vhwi", c2w[:, :3, :3], points) + c2w[:, None, None, :3, 3]
    count = depth.numel()
    flat = torch.full((count, 3), -9.0)
    solid = Gaussians(world.reshape(-1, 3), flat[:, None], flat, flat.new_zeros(count, 4), flat.new_ones(count))
    outside = torch.ones(count)
    outside[keep_indices(solid)] = 0
    outside = outside.view(depth.shape) * (depth > 0)
    return F.max_pool2d(outside[:, None], 2 * MARGIN + 1, 1, MARGIN) > 0


def _pictures(gaussians: Gaussians, turns: Sequence[int]) -> np.ndarray:
    """Render on white at these angles from the front, (V, 512, 512, 3) uint8."""
    cameras = orbit(torch.tensor([270.0 + turn for turn in turns]))
    shown = [render(gaussians, c2w, intrinsics(SIZE), SIZE, SIZE)[0] for c2w in cameras]
    return (torch.stack(shown).clamp(0, 1) * 255).round().byte().cpu().numpy()


def _sheet(pictures: list[np.ndarray], rows: int) -> np.ndarray:
    """Show the portrait and a row of renders per likeness."""
    count = (len(pictures) - 1) // rows
    renders = [np.concatenate(pictures[1 + i * count : 1 + (i + 1) * count], axis=1) for i in range(rows)]
    portrait = np.full((SIZE * rows, SIZE, 3), 255, np.uint8)
    portrait[:SIZE] = pictures[0]
    return np.concatenate([portrait, np.concatenate(renders)], axis=1)


if __name__ == "__main__":
    sys.exit(main())

"""Measure how true the expressions of animated heads are, on held-out synthetic people whose expressions are known.

    OMP_NUM_THREADS=1 .venv/bin/python benchmarks/animation.py [--heads 20] [--keep FOLDER] [--sheet FILE.png]

Each person's neutral front view is reconstructed (mini, likeness photo) and rigged; ten expressions of the head are
compared with renders of the person who makes them, on the face, from the front and ±30°. Beside it stands what the head
reaches that does not move, and what the true geometry reaches: Gaussians on the true surface, with the true face mesh.
One photo cannot tell a small head from a larger one farther away. Before the comparison, the head is scaled around the
camera of the photo, which leaves the front view as it is, so that its face is as far away as the true one; "unplaced"
is the head that does not move without that. `--keep` stores the reconstructed heads for the next run.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image

from facelift_core import FaceLift, load, render
from facelift_core.animation import SHAPES, FaceMesh, Rig, deform, deformed_vertices
from facelift_core.animation.fit import fit_face
from facelift_core.animation.rigging import rig_with
from facelift_core.animation.template import joints_of, load_template
from facelift_core.gaussians.tensors import Gaussians
from facelift_core.progress import Monitor
from facelift_core.rendering.cameras import intrinsics, orbit
from facelift_core.training.face_template import anatomy_vertices
from facelift_core.training.heads.anatomy import load_anatomy, load_base_mesh
from facelift_core.training.heads.gaussians import surface_gaussians
from facelift_core.training.heads.people import sample_person
from facelift_core.training.heads.render import on_white
from facelift_core.training.heads.render import render as render_head
from facelift_core.training.heads.scene import Head, make_head

FIRST_SEED = 1_000_100
SIZE = 512
TURNS = (0, -30, 30)
BOTH = "Left", "Right"


def both(**strengths: float) -> dict[str, float]:
    return {name + side: strength for name, strength in strengths.items() for side in BOTH}


EXPRESSIONS: dict[str, dict[str, float]] = {
    "smile": both(mouthSmile=0.8, cheekSquint=0.4),
    "open mouth": {"jawOpen": 0.6},
    "blink": both(eyeBlink=1.0),
    "wink": {"eyeBlinkLeft": 1.0, "mouthSmileLeft": 0.5, "cheekSquintLeft": 0.6},
    "brows up": {"browInnerUp": 0.9, **both(browOuterUp=0.9, eyeWide=0.5)},
    "brows down": both(browDown=1.0, noseSneer=0.6, eyeSquint=0.5),
    "pucker": {"mouthPucker": 0.9},
    "oh": {"jawOpen": 0.35, "mouthFunnel": 0.8},
    "ee": {"jawOpen": 0.1, **both(mouthStretch=0.7, mouthUpperUp=0.4, mouthLowerDown=0.6)},
    "frown": both(mouthFrown=0.9, mouthPress=0.3),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--heads", type=int, default=20, help="number of people")
    parser.add_argument("--first-seed", type=int, default=FIRST_SEED, help="seed of the first person")
    parser.add_argument("--oracles", type=int, default=20, help="number of people whose true geometry moves, too")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="store reconstructed heads here, and use them")
    parser.add_argument("--sheet", type=Path, metavar="FILE.png", help="write pictures of the last person")
    args = parser.parse_args()
    model: FaceLift | None = None
    place = anatomy_vertices(load_base_mesh())
    outline = place[load_template().parts["face"]]
    figures: dict[str, list[np.ndarray]] = {"unplaced": [], "still": [], "fitted": [], "true geometry": []}
    for seed in range(args.first_seed, args.first_seed + args.heads):
        c2w = orbit(torch.tensor([270.0 + turn for turn in TURNS]))
        neutral = make_head(seed, {})
        kept = args.keep / f"{seed}.ply" if args.keep else None
        if kept and kept.is_file():
            gaussians = load(kept)
        else:
            model = model or FaceLift.from_pretrained("mini")
            front = on_white(render_head(neutral, c2w[:1].numpy(), SIZE).rgba[0])
            gaussians = model.reconstruct(front, crop=False).gaussians
            if kept:
                kept.parent.mkdir(parents=True, exist_ok=True)
                gaussians.save(kept)
        true = true_face_mesh(seed, neutral, neutral, place)
        begun = time.process_time()
        mesh = fit_face(gaussians)
        rigs = {"fitted": rig_with(gaussians, mesh, Monitor("rig"))}
        seconds = time.process_time() - begun
        if seed < args.first_seed + args.oracles:
            rigs["true geometry"] = rig_with(surface_gaussians(neutral, seed=seed), true, Monitor("rig"))
        unplaced = _pictures(gaussians, c2w)
        rest = _psnr(_pictures(rigs["fitted"].gaussians.to_gaussians(), c2w), unplaced, None)
        size = _size(mesh, true, c2w[0].numpy())
        sizes = {"fitted": size, "true geometry": 1.0}
        still = _pictures(_scaled(gaussians, size, c2w[0]), c2w)
        rows: dict[str, list[list[float]]] = {name: [] for name in figures}
        sheets = []
        for actions in EXPRESSIONS.values():
            moved = make_head(seed, actions)
            seen = render_head(moved, c2w.numpy(), SIZE)
            truth = np.stack([np.asarray(on_white(picture), np.float32) / 255 for picture in seen.rgba])
            face = np.stack([_face_mask(moved.vertices[outline], camera) for camera in c2w.numpy()])
            face &= seen.rgba[..., 3] > 128
            shown = {"unplaced": unplaced, "still": still}
            for name, rig in rigs.items():
                shown[name] = _pictures(_scaled(_posed(rig, actions), sizes[name], c2w[0]), c2w)
            for name, pictures in shown.items():
                rows[name].append(_psnr(pictures, truth, face))
            sheets.append([truth, still, *(shown[name] for name in rigs)])
        for name in shown:
            figures[name].append(np.array(rows[name]))
        means = "  ".join(f"{name} " + " ".join(f"{x:.2f}" for x in np.mean(rows[name], 0)) for name in shown)
        at_rest = " ".join(f"{x:.1f}" for x in rest)
        print(f"{seed}  {means}  at rest {at_rest} dB  {seconds:.1f} s of processor for the rig", flush=True)
        if args.sheet:
            _write_sheet(sheets, args.sheet)
    figures = {name: values for name, values in figures.items() if values}
    print(f"\n| {args.heads} people | front | −30° | 30° |\n|---|---|---|---|")
    for name, values in figures.items():
        print(f"| {name} | " + " | ".join(f"{x:.2f} dB" for x in np.mean(values, (0, 1))) + " |")
    print("\n| expression | " + " | ".join(figures) + " |\n|" + "---|" * (1 + len(figures)))
    for index, expression in enumerate(EXPRESSIONS):
        cells = (f"{np.mean(values, 0)[index].mean():.2f} dB" for values in figures.values())
        print(f"| {expression} | " + " | ".join(cells) + " |")
    return 0


def true_face_mesh(seed: int, neutral: Head, head: Head, place: np.ndarray) -> FaceMesh:
    """The face mesh with the true vertices of `head`, and the shapes of the person who is `neutral` without expression.

    Args:
        place: (V,) the vertex of the head that each vertex of the template is, −1 for the tongue.
    """
    template, anatomy = load_template(), load_anatomy()
    known, face, teeth = place >= 0, place[template.parts["face"]], template.parts["teeth"]
    vertices = np.zeros((len(place), 3))
    vertices[known] = head.vertices[place[known]]
    linear, shift = _similarity(template.base[teeth], vertices[teeth])
    vertices[~known] = template.base[~known] @ linear + shift
    unposed = sample_person(anatomy, np.random.default_rng([seed, 0]), neutral=True).vertices
    linear, _ = _similarity(unposed[face], neutral.vertices[face])
    vertices = vertices.astype(np.float32)
    return FaceMesh(
        vertices,
        template.quads,
        template.uvs,
        (template.shapes @ linear).astype(np.float32),
        np.zeros_like(vertices),
        np.zeros(len(SHAPES), np.float32),
        joints_of(template, vertices),
        template.bone_weights,
        template.parts,
    )


def _similarity(points: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(3, 3) and (3,) that bring points @ linear + shift closest to `targets`, turned and scaled but not mirrored."""
    middle, aim = points.mean(0), targets.mean(0)
    u, size, vt = np.linalg.svd((points - middle).T @ (targets - aim))
    signs = np.array([1, 1, np.linalg.det(u @ vt)])
    linear = (u * signs) @ vt * (size @ signs) / ((points - middle) ** 2).sum()
    return linear, aim - middle @ linear


def _size(mesh: FaceMesh, true: FaceMesh, c2w: np.ndarray) -> float:
    """By how much the neutral face has to grow around the camera to come closest to the true one."""
    face = mesh.parts["face"]
    found, aim = ((vertices[face] - c2w[:3, 3]).ravel() for vertices in (mesh.vertices + mesh.neutral, true.vertices))
    return float(found @ aim / (found @ found))


def _scaled(gaussians: Gaussians, size: float, c2w: torch.Tensor) -> Gaussians:
    """The Gaussians, scaled around a camera."""
    middle = c2w[:3, 3]
    return replace(
        gaussians,
        positions=middle + size * (gaussians.positions - middle),
        log_scales=gaussians.log_scales + float(np.log(size)),
    )


def _posed(rig: Rig, actions: dict[str, float]) -> Gaussians:
    weights = np.array([actions.get(name, 0.0) for name in SHAPES], np.float32)
    return deform(rig, deformed_vertices(rig.mesh, weights, neutral=1.0)).to_gaussians()


def _pictures(gaussians: Gaussians, c2w: torch.Tensor) -> np.ndarray:
    """(V, 512, 512, 3) float32 renders on white."""
    with torch.no_grad():
        return render(gaussians, c2w, intrinsics(SIZE).expand(len(c2w), 4), SIZE, SIZE).clamp(0, 1).numpy()


def _face_mask(face: np.ndarray, c2w: np.ndarray) -> np.ndarray:
    """(512, 512) bool: the outline of the (n, 3) vertices of the face."""
    camera = (face - c2w[:3, 3]) @ c2w[:3, :3]
    focal = float(intrinsics(SIZE)[0])
    pixels = (focal * camera[:, :2] / camera[:, 2:] + SIZE / 2).astype(np.int32)
    mask = np.zeros((SIZE, SIZE), np.uint8)
    cv2.fillConvexPoly(mask, cv2.convexHull(pixels), 1)
    return mask > 0


def _psnr(pictures: np.ndarray, truth: np.ndarray, mask: np.ndarray | None) -> list[float]:
    error = (pictures - truth) ** 2
    masks = [...] * len(error) if mask is None else mask
    return [float(-10 * np.log10(max(each[own].mean(), 1e-10))) for each, own in zip(error, masks, strict=True)]


def _write_sheet(sheets: list[list[np.ndarray]], path: Path) -> None:
    """A column per expression; rows: truth, still, fitted, true geometry from the front, then the same from 30°."""
    rows = [
        np.concatenate([pictures[kind][view] for pictures in sheets], axis=1)
        for view in (0, 2)
        for kind in range(len(sheets[0]))
    ]
    sheet = (255 * np.concatenate(rows)).round().astype(np.uint8)
    Image.fromarray(sheet).save(path)


if __name__ == "__main__":
    sys.exit(main())

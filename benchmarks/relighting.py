"""Measure relit heads against synthetic heads, whose albedo, normals, and lights are known.

    OMP_WAIT_POLICY=PASSIVE python benchmarks/relighting.py FOLDER --heads 20 [--json FILE]

The whole pipeline makes each head from its true portrait (likeness *Photo*); FOLDER keeps these heads. Their
reflectance is estimated, they are relit under five other random lights, and rendered from the front and from 30° to
both sides. PSNR is that of the pixels that truly show the face. The exposure of a photo is unknown: one gain per head,
fitted in the portrait under its own light, is applied to the albedo; nothing is fitted under the other lights.

`baked` is the head as it is. `oracle`, of the first heads, is relit with true normals and albedo, and shows what
shadows and the model of light cost. Angles are between estimated and true normals, of Gaussians whose
true surface faces the front; the error of the albedo is that of its natural logarithm on the face, without the gain.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from scipy import ndimage
from scipy.spatial import cKDTree

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT)]

from facelift_core import FaceLift, Gaussians
from facelift_core.align import align_cutout
from facelift_core.gaussians.files import load
from facelift_core.relighting import Reflectance, estimate
from facelift_core.relighting.environment import Environment, Sun
from facelift_core.relighting.harmonics import projected
from facelift_core.relighting.shading import Relightable
from facelift_core.rendering import cameras, render
from facelift_core.training.heads.anatomy import load_anatomy
from facelift_core.training.heads.lighting import Lighting, sample_lighting
from facelift_core.training.heads.render import render as render_head
from facelift_core.training.heads.scene import Head, face_vertices, make_head

FIRST_SEED, LIGHTS, LIGHT_STREAM = 1_000_000, 5, 77
TURNS = (0.0, 30.0, -30.0)
SIZE = 256
EDGE = 2
"""Pixels at the edge of the face that do not count."""
FACE_DEPTH, DEPTH_COUNTS, NEAR = 2.3, 0.3, 0.06
"""Distance of the face from the camera; how much a difference of depth counts when the true surface is looked up; and
the largest distance of a Gaussian from it, in world units."""


def environment(lighting: Lighting) -> Environment:
    """The lights of a synthetic head."""
    suns = zip(lighting.directions[: lighting.lamps], lighting.radiance[: lighting.lamps], strict=True)
    rest = slice(lighting.lamps, None)
    around = projected(lighting.directions[rest], lighting.radiance[rest] * np.pi)
    return Environment(tuple(Sun(tuple(toward), tuple(color)) for toward, color in suns), around)


def made(model: FaceLift | None, seed: int, folder: Path) -> Gaussians:
    """The head of the pipeline for the true portrait of this seed; from `folder` if it is there."""
    path = folder / f"{seed}.ply"
    if not path.exists():
        portrait = render_head(make_head(seed), cameras.six_views().numpy()[:1], 512).rgba[0]
        model.reconstruct(align_cutout(Image.fromarray(portrait, "RGBA"))).gaussians.save(path)
    return load(path)


def true_views(head: Head, c2w: torch.Tensor) -> np.ndarray:
    """(V, S, S, 3) float32 sRGB on white."""
    rgba = render_head(head, c2w.numpy(), SIZE).rgba.astype(np.float32) / 255
    return rgba[..., :3] * rgba[..., 3:] + 1 - rgba[..., 3:]


def views(gaussians: Gaussians, c2w: torch.Tensor) -> np.ndarray:
    """(V, S, S, 3) float32 sRGB on white."""
    return render(gaussians, c2w, cameras.intrinsics(SIZE), SIZE, SIZE).clamp(0, 1).numpy()


def face_mask(head: Head, c2w: torch.Tensor) -> np.ndarray:
    """(V, S, S) bool: the pixels that show the face, without its edge."""
    paint = np.zeros_like(head.vertices)
    anatomy = load_anatomy()
    own = [face_vertices(anatomy), *(anatomy.vertices[part] for part in ("eyes", "teeth"))]
    paint[np.concatenate(own)] = 0.7
    shown = render_head(replace(head, colors=paint, gloss=np.zeros_like(head.gloss)), c2w.numpy(), SIZE).rgba
    face = (shown[..., 3] > 250) & (shown[..., 0] > 200)
    return np.stack([ndimage.binary_erosion(each, iterations=EDGE) for each in face])


def psnr(found: np.ndarray, truth: np.ndarray, mask: np.ndarray) -> float:
    """Mean over the views."""
    return float(
        np.mean([-10 * np.log10(((a - b)[m] ** 2).mean()) for a, b, m in zip(found, truth, mask, strict=True)])
    )


def linear(srgb: np.ndarray) -> np.ndarray:
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def with_gain(gaussians: Gaussians, reflectance: Reflectance, head: Head, mask: np.ndarray) -> Relightable:
    """The head with the gain of the albedo that shows the portrait's face at its brightness under its own light."""
    front = cameras.orbit(torch.tensor([270.0]))
    truth = linear(true_views(head, front)[0][mask[0]]).mean(axis=1)
    lightable = Relightable(gaussians, reflectance)
    for _ in range(2):  # the tone curve is not linear
        shown = linear(views(lightable.under(environment(head.lighting)), front)[0][mask[0]]).mean(axis=1)
        gain = np.exp(np.median(np.log(truth.clip(1e-3)) - np.log(shown.clip(1e-3))))
        albedo = (lightable.reflectance.albedo * np.float32(gain)).clip(0, 1)
        lightable.reflectance = replace(reflectance, albedo=albedo)
    return lightable


def seen_at(head: Head, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(N,) the true vertex seen from the front where each of (N, 3) positions is, and (N,) bool, whether there is one.

    The depth of a head is estimated; compared by the nearest vertex in space, features would be shifted.
    """

    def place(points: np.ndarray) -> np.ndarray:
        depth = cameras.RADIUS + points[:, 1:2]
        return np.concatenate([points[:, [0, 2]] / depth * FACE_DEPTH, DEPTH_COUNTS * points[:, 1:2]], axis=1)

    facing = np.flatnonzero(head.normals[:, 1] < 0.1)
    distance, nearest = cKDTree(place(head.vertices[facing])).query(place(positions))
    return facing[nearest], distance < NEAR


def measured(gaussians: Gaussians, seed: int, picture: Path | None, oracle: bool) -> dict[str, float]:
    head = make_head(seed)
    c2w = cameras.orbit(270.0 + torch.tensor(TURNS))
    mask = face_mask(head, c2w)
    spent = time.process_time()
    reflectance = estimate(gaussians)
    spent = time.process_time() - spent

    positions, opacity = gaussians.positions.numpy(), gaussians.opacities.numpy()
    nearest, there = seen_at(head, positions)
    true = Reflectance(head.normals[nearest], head.albedo[nearest], reflectance.light)
    front = (true.normals[:, 1] < -0.5) & there & (opacity > 0.3)
    cosine = (true.normals * reflectance.normals).sum(1)[front]
    face = np.isin(nearest, face_vertices(load_anatomy())) & front
    error = np.log(reflectance.albedo[face].clip(0.01)) - np.log(true.albedo[face].clip(0.01))
    heads = {"relit": with_gain(gaussians, reflectance, head, mask)}
    if oracle:
        heads["oracle"] = with_gain(gaussians, true, head, mask)
    scores: dict[str, list[float]] = {name: [] for name in ("baked", *heads)}
    baked, rows = views(gaussians, c2w), []
    for number in range(LIGHTS):
        lit = make_head(seed, lighting=sample_lighting(np.random.default_rng([seed, LIGHT_STREAM, number])))
        truth, around = true_views(lit, c2w), environment(lit.lighting)
        shown = {"baked": baked, **{name: views(each.under(around), c2w) for name, each in heads.items()}}
        for name, found in shown.items():
            scores[name].append(psnr(found, truth, mask))
        rows.append([picture[turn] for turn in (0, 1) for picture in (truth, *shown.values())])
    if picture:
        sheet = np.concatenate([np.concatenate(row, axis=1) for row in rows])
        Image.fromarray((255 * sheet + 0.5).astype(np.uint8)).save(picture / f"{seed}.png")
    return {
        **{name: float(np.mean(values)) for name, values in scores.items()},
        "angle": float(np.degrees(np.arccos(cosine.clip(-1, 1))).mean()),
        "albedo": float(np.abs(error - np.median(error)).mean()),
        "seconds": spent,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="heads that are kept, made if they are missing")
    parser.add_argument("--heads", type=int, default=20)
    parser.add_argument(
        "--first-seed", type=int, default=FIRST_SEED, help="seed of the first head (default %(default)s)"
    )
    parser.add_argument("--weights", default="mini")
    parser.add_argument("--oracle", type=int, default=5, metavar="N", help="heads with an oracle (default %(default)s)")
    parser.add_argument("--pictures", type=Path, metavar="FOLDER", help="also write what was compared")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    seeds = range(options.first_seed, options.first_seed + options.heads)
    missing = any(not (options.folder / f"{seed}.ply").exists() for seed in seeds)
    model = FaceLift.from_pretrained(options.weights, "cpu") if missing else None
    rows = []
    for number, seed in enumerate(seeds):
        gaussians = made(model, seed, options.folder)
        rows.append(measured(gaussians, seed, options.pictures, number < options.oracle))
        print(seed, {name: round(value, 2) for name, value in rows[-1].items()}, flush=True)
    mean = {name: float(np.mean([row[name] for row in rows if name in row])) for name in rows[0]}
    print("mean", {name: round(value, 2) for name, value in mean.items()})
    if options.json:
        options.json.write_text(json.dumps({"mean": mean, "heads": rows}, indent=2))


if __name__ == "__main__":
    main()

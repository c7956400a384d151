"""How near Blender's pictures of splats come to the renderer of facelift_core: one table.

    python benchmarks/blender_fidelity.py --bpy PATH/TO/PYTHON [--bpy …] [--blender PATH/TO/BLENDER …]

Each --bpy is a Python with the bpy module and renders with Cycles; each --blender is a full Blender that can open a
window and renders with EEVEE, too. Both pictures are transparent, with one sample in the centre of each pixel, and
compared with their colours multiplied by alpha.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from facelift_blender.splats.transforms import transform
from facelift_core.cameras import orbit
from facelift_core.formats import SplatArrays, read, write
from facelift_core.rasterizer import render_rgba

HERE = Path(__file__).parent
CAMERAS = {"front": (270.0, 0.0), "side": (340.0, 20.0), "back": (100.0, -10.0)}
TARGETS = {("CYCLES", "Camera Facing"): 60, ("CYCLES", "Any View"): 33, ("EEVEE", "Camera Facing"): 50,
           ("EEVEE", "Any View"): 48}  # fmt: skip


def synthetic_head(count: int, sh_degree: int, seed: int = 0) -> SplatArrays:
    """Flat splats over an ellipsoid with eyes, mouth and hair, and a haze of large faint ones."""
    draw = np.random.default_rng(seed)
    around = draw.normal(size=(count, 3))
    around /= np.linalg.norm(around, axis=1, keepdims=True)
    radii = np.array([0.42, 0.5, 0.62])
    normal = around / radii
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    color = np.tile([0.82, 0.62, 0.52], (count, 1))
    color[(around[:, 2] > 0.5) | ((around[:, 1] > 0.3) & (around[:, 2] > -0.3))] = (0.2, 0.13, 0.08)
    for side in (-1, 1):
        distance = np.linalg.norm(around - [0.32 * side, -0.93, 0.15], axis=1)
        color[distance < 0.13] = 0.95
        color[distance < 0.06] = (0.1, 0.2, 0.35)
    mouth = (np.abs(around[:, 0]) < 0.3) & (np.abs(around[:, 2] + 0.45) < 0.06) & (around[:, 1] < 0)
    color[mouth] = (0.7, 0.2, 0.2)
    color += draw.normal(size=(count, 3)) * 0.04

    tangent = np.cross(normal, draw.normal(size=(count, 3)))
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    half = np.stack([np.ones(count), np.zeros(count), np.zeros(count), np.zeros(count)], axis=1)
    half[:, 1:] = np.cross([0.0, 0.0, 1.0], normal)  # turns Z into the normal
    half[:, 0] = 1.0 + normal[:, 2]
    spacing = math.sqrt(4.0 * math.pi * 0.5**2 / count)
    scales = spacing * np.exp(draw.normal(size=(count, 1)) * 0.3) * np.array([1.2, 0.7, 0.15])
    opacity = draw.uniform(0.3, 0.99, count)
    haze = draw.random(count) < 0.01
    scales[haze] *= 8.0
    opacity[haze] = 0.05
    sh = np.zeros((count, (sh_degree + 1) ** 2, 3))
    sh[:, 0] = (color - 0.5) / 0.28209479177387814
    sh[:, 1:] = draw.normal(size=sh[:, 1:].shape) * 0.08
    fields = (around * radii, sh, np.log(scales), half, np.log(opacity / (1.0 - opacity)))
    return SplatArrays(*(np.ascontiguousarray(values, np.float32) for values in fields))


def uneven() -> np.ndarray:
    """An object matrix with a move, a rotation and an uneven scale."""
    a, b = 0.5, 0.3
    turn_z = np.array([[math.cos(a), -math.sin(a), 0], [math.sin(a), math.cos(a), 0], [0, 0, 1]])
    turn_x = np.array([[1, 0, 0], [0, math.cos(b), -math.sin(b)], [0, math.sin(b), math.cos(b)]])
    matrix = np.eye(4)
    matrix[:3, :3] = turn_z @ turn_x @ np.diag([1.1, 0.7, 0.9])
    matrix[:3, 3] = (0.12, -0.1, 0.05)
    return matrix


def reference(splats: SplatArrays, matrix: np.ndarray, camera: dict, linear: bool) -> np.ndarray:
    """(H, W, 4) premultiplied."""
    moved = transform(splats, matrix)
    if linear:  # blend linear values instead of displayed ones
        colors = np.maximum(moved.colors, 0.0)
        colors = np.where(colors <= 0.04045, colors / 12.92, ((colors + 0.055) / 1.055) ** 2.4)
        moved = SplatArrays(
            moved.positions, ((colors - 0.5) / 0.28209479177387814)[:, None].astype(np.float32), moved.log_scales,
            moved.rotations, moved.opacity_logits,
        )  # fmt: skip
    c2w, focal, (width, height) = torch.tensor(camera["c2w"]), camera["focal"], camera["size"]
    intrinsics = torch.tensor([focal, focal, width / 2, height / 2])
    with torch.no_grad():
        return render_rgba(moved.to_gaussians(), c2w, intrinsics, width, height)[0].numpy()


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(-10.0 * np.log10(max(np.mean((a.astype(np.float64) - b) ** 2), 1e-12)))


def run_blender(program: str, full: bool, jobs: list[dict], folder: Path, name: str) -> list[dict]:
    """The results that blender_render.py prints, one per job."""
    script = str(HERE / "blender_render.py")
    (folder / f"{name}.json").write_text(json.dumps(jobs))
    arguments = ["--factory-startup", "--python", script, "--"] if full else [script]
    done = subprocess.run(
        [program, *arguments, str(folder / f"{name}.json")], capture_output=True, text=True, check=False
    )
    results = [json.loads(line[7:]) for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    if len(results) != len(jobs):
        sys.exit(f"{program} failed:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bpy", action="append", default=[], metavar="PYTHON")
    parser.add_argument("--blender", action="append", default=[], metavar="PROGRAM")
    parser.add_argument("--count", type=int, default=50_000, help="Gaussians of the synthetic head")
    parser.add_argument("--sh-degree", type=int, default=0)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--ply", type=Path, help="use this head instead")
    parser.add_argument("--camera", action="append", choices=list(CAMERAS))
    parser.add_argument("--mode", action="append", choices=["Camera Facing", "Any View"])
    parser.add_argument("--keep", type=Path, help="folder for the pictures")
    options = parser.parse_args()
    splats = read(options.ply) if options.ply else synthetic_head(options.count, options.sh_degree)

    with tempfile.TemporaryDirectory() as temporary:
        folder = options.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        write(splats, folder / "head.ply")
        focal = 0.5 * options.size / math.tan(math.radians(25.0))
        jobs, references = [], {}
        for view in options.camera or CAMERAS:
            azimuth, elevation = CAMERAS[view]
            c2w = orbit(torch.tensor([azimuth]), elevation)[0].tolist()
            camera = {"c2w": c2w, "focal": focal, "size": [options.size, options.size]}
            for moved, matrix in (("still", np.eye(4)), ("moved", uneven())):
                for colors in ("sRGB", "linear"):
                    key = f"{view}_{moved}_{colors}"
                    if colors == "linear" and splats.sh_degree:
                        continue  # the reference blends displayed colours only
                    references[key] = reference(splats, matrix, camera, colors == "linear")
                    for mode in options.mode or ["Camera Facing", "Any View"]:
                        jobs.append(
                            {"ply": str(folder / "head.ply"), "matrix": matrix.tolist(), "mode": mode, "key": key,
                             "match_viewers": colors == "sRGB", "view": view, "moved": moved, "colors": colors,
                             **camera}
                        )  # fmt: skip
        print(f"{len(splats)} Gaussians, SH degree {splats.sh_degree}, {options.size}²; PSNR in dB, seconds to render")
        worst: dict[tuple, float] = {}
        for program, full in [(p, False) for p in options.bpy] + [(p, True) for p in options.blender]:
            engines = ("CYCLES", "EEVEE") if full else ("CYCLES",)
            todo = []
            for engine in engines:
                for number, job in enumerate(jobs):
                    out = folder / f"{engine}_{job['mode'].split()[0]}_{job['key']}_{number}.npy"
                    todo.append({**job, "engine": engine, "out": str(out)})
            start = time.time()
            for job, result in zip(todo, run_blender(program, full, todo, folder, "jobs"), strict=True):
                ratio = psnr(np.load(job["out"]), references[job["key"]])
                group = (job["engine"], job["mode"])
                worst[group] = min(worst.get(group, 999.0), ratio)
                print(f"{result['version']:12} {job['engine']:7} {job['mode']:14} {job['view']:6} {job['moved']:6} "
                      f"{job['colors']:7} {ratio:6.1f} dB {result['seconds']:6.1f} s", flush=True)  # fmt: skip
            print(f"{program}: {time.time() - start:.0f} s in all")
        if options.keep:
            for key, picture in references.items():
                np.save(folder / f"reference_{key}.npy", picture)
    for group, ratio in worst.items():
        verdict = "reached" if ratio >= TARGETS[group] else "MISSED"
        print(f"worst {group[0]} {group[1]}: {ratio:.1f} dB, target {TARGETS[group]} dB {verdict}")
    sys.exit(any(ratio < TARGETS[group] for group, ratio in worst.items()))


if __name__ == "__main__":
    main()

"""Measure meshes of heads against the true surface of synthetic heads, and the time that they take.

    OMP_WAIT_POLICY=PASSIVE python benchmarks/mesh.py --heads 20 [--json FILE]
    OMP_WAIT_POLICY=PASSIVE python benchmarks/mesh.py --of HEAD.ply

Heads are lifted from their six true views and get their front from the true portrait, so the figures are those of
Gaussians and mesh, without the diffusion. The true surface is what 16 level cameras see of it, above the cut at the
bottom of the mesh. Distances are in per cent of a head's height, chin to crown; precision and recall are the shares of
the mesh and of the true surface that are nearer to the other than 2 %.

With `--of`, the time that the mesh of one head takes, and how its outline, which casts the head's shadow, agrees with
the outline of the Gaussians (opacity above .5) from 12 directions around and above: shared area by area of both.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np
import torch
import trimesh
from PIL import Image
from scipy.spatial import cKDTree

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT)]

from facelift_core import FaceLift, Gaussians
from facelift_core.align import align_cutout
from facelift_core.gaussians.files import load
from facelift_core.mesh.head_mesh import HeadMesh, make_mesh
from facelift_core.rendering import cameras, render_rgba
from facelift_core.training.heads.lighting import Lighting
from facelift_core.training.heads.render import on_white, render
from facelift_core.training.heads.scene import Head, make_head

FIRST_SEED = 1_000_000
HEAD_HEIGHT = 1.32
"""From chin to crown in world units."""
NEAR = 0.02
CAMERAS, SIZE, VISIBLE = 16, 384, 0.01
SAMPLES = 100_000


def lifted(model: FaceLift, head: Head) -> Gaussians:
    """The head's Gaussians from its six true views, with the front of its true portrait."""
    c2w = cameras.six_views().numpy()
    views = [np.asarray(on_white(rgba)) for rgba in render(head, c2w, model.multiview.image_size).rgba]
    portrait = align_cutout(Image.fromarray(render(head, c2w[:1], 512).rgba[0], "RGBA"))
    pictures = torch.from_numpy(np.stack(views)).permute(0, 3, 1, 2).float() / 255
    return model.reconstruct_from_views(pictures, portrait=portrait).gaussians


def visible(head: Head) -> np.ndarray:
    """(V,) bool: the vertices of the head that a level camera sees."""
    c2w = cameras.orbit(torch.arange(CAMERAS) * 360.0 / CAMERAS).numpy()
    depths = render(head, c2w, SIZE, supersampling=1).depth.astype(np.float32)
    focal = cameras.intrinsics(SIZE)[0].item()
    seen = np.zeros(len(head.vertices), bool)
    for camera, depth in zip(c2w, depths, strict=True):
        local = (head.vertices - camera[:3, 3]) @ camera[:3, :3]
        column, row = (local[:, :2] / local[:, 2:] * focal + SIZE / 2).astype(int).clip(0, SIZE - 1).T
        seen |= np.abs(local[:, 2] - depth[row, column]) < VISIBLE
    return seen


def errors(head: Head, mesh: HeadMesh) -> dict[str, float]:
    """Distances in per cent, the F-score, and the mean angle between normals in degrees."""
    bottom = mesh.vertices[:, 2].min() + 0.03
    seen = visible(head) & (head.vertices[:, 2] > bottom)
    truth, normals = head.vertices[seen], head.normals[seen]
    solid = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)
    points, faces = trimesh.sample.sample_surface(solid, SAMPLES, seed=0)
    above = points[:, 2] > bottom
    points, facing = points[above], solid.face_normals[faces[above]]
    corners = mesh.faces[faces[above]]
    smooth = mesh.normals[corners].mean(axis=1)
    # Crown and underside are in no view; there is no true surface to compare with.
    level = np.abs(facing[:, 2]) < 0.8
    to_truth = cKDTree(truth).query(points[level])[0]
    to_mesh, nearest = cKDTree(points).query(truth)
    cosine = (normals * smooth[nearest]).sum(1) / np.linalg.norm(smooth[nearest], axis=1)
    front = normals[:, 1] < -0.5
    angle = np.degrees(np.arccos(cosine.clip(-1, 1)))
    precision, recall = ((d < NEAR * HEAD_HEIGHT).mean() for d in (to_truth, to_mesh))
    return {
        "mesh to truth": 100 * to_truth.mean() / HEAD_HEIGHT,
        "truth to mesh": 100 * to_mesh.mean() / HEAD_HEIGHT,
        "precision": 100 * precision,
        "recall": 100 * recall,
        "F-score": 100 * 2 * precision * recall / (precision + recall),
        "angle": float(angle.mean()),
        "angle in front": float(angle[front].mean()),
    }


def outline(gaussians: Gaussians, mesh: HeadMesh) -> float:
    """Mean ratio of shared area and area of both, of the outlines of mesh and Gaussians above the mesh's bottom."""
    c2w = cameras.orbit(torch.arange(12) * 30.0, torch.tensor([0.0, 20.0, 40.0]).repeat(4))
    kept = gaussians[gaussians.positions[:, 2] > float(mesh.vertices[:, 2].min())]
    alpha = render_rgba(kept, c2w, cameras.intrinsics(SIZE), SIZE, SIZE)[..., 3].numpy() > 0.5
    nothing, lights = np.zeros(len(mesh.vertices), np.float32), np.zeros((1, 3), np.float32)
    solid = Head(
        mesh.vertices, mesh.normals, np.zeros_like(mesh.vertices), nothing, mesh.faces, Lighting(lights, lights, 1),
        nothing[None], np.zeros_like(mesh.vertices),
    )  # fmt: skip
    covered = render(solid, c2w.numpy(), SIZE, supersampling=1).rgba[..., 3] > 127
    return float(np.mean([(a & b).sum() / (a | b).sum() for a, b in zip(alpha, covered, strict=True)]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--heads", type=int, default=20)
    parser.add_argument("--weights", default="mini")
    parser.add_argument("--of", type=Path, metavar="HEAD.ply", help="only time and outline of this head's mesh")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    if options.of is not None:
        gaussians = load(options.of)
        wall, processor = time.perf_counter(), time.process_time()
        mesh = make_mesh(gaussians)
        wall, processor = time.perf_counter() - wall, time.process_time() - processor
        print(f"{len(gaussians):,} Gaussians, {len(mesh.faces):,} faces: {wall:.1f} s, {processor:.1f} s of processor")
        print(f"outlines agree to {100 * outline(gaussians, mesh):.1f} %")
        return
    model = FaceLift.from_pretrained(options.weights, "cpu")
    rows = []
    for seed in range(FIRST_SEED, FIRST_SEED + options.heads):
        head = make_head(seed)
        mesh = make_mesh(lifted(model, head), texture=512)
        solid = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)
        rows.append({**errors(head, mesh), "faces": len(mesh.faces), "closed": solid.is_watertight})
        print(seed, {name: round(float(value), 2) for name, value in rows[-1].items()}, flush=True)
    mean = {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
    print("mean", {name: round(value, 2) for name, value in mean.items()})
    if options.json:
        options.json.write_text(json.dumps({"mean": mean, "heads": rows}, indent=2))


if __name__ == "__main__":
    main()

"""Measure how well the face mesh fits heads whose true shape is known.

    OMP_NUM_THREADS=1 python benchmarks/face_fit.py [--heads 20] [--cache FOLDER] [--json FILE]

Uses held-out synthetic heads, whose true vertices have the topology of the face mesh. For each one, the photo is its
front view, from which the built-in weights reconstruct the head (likeness "photo"; half a minute each, kept in FOLDER).
The mesh is fitted to that head, and to perfect Gaussians on the true surface. All distances are means over the visible
vertices of a region in millimeters, for a head of 230 mm from the chin to the top:

    face, lips, eyelids, ears   between fitted and true vertices
    placed                      the same for the face, moved, turned and scaled to the true one, because the alignment
                                of the photo moves and scales the head
    surface                     between fitted vertices of the face and the true surface
    gaussians                   the median between the head's depth and the true face, along the view: the error of the
                                reconstruction itself
    expression                  mean difference of the strengths of the 52 shapes
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT)]

from facelift_core import FaceLift, Gaussians
from facelift_core.align import align_cutout
from facelift_core.animation.fit import fit_face
from facelift_core.animation.rig import BONES, FaceMesh
from facelift_core.animation.template import Template, load_template
from facelift_core.animation.views import look
from facelift_core.gaussians.files import load
from facelift_core.rendering import cameras
from facelift_core.training.face_template import anatomy_vertices
from facelift_core.training.heads.anatomy import load_anatomy, load_base_mesh
from facelift_core.training.heads.gaussians import surface_gaussians
from facelift_core.training.heads.people import sample_person
from facelift_core.training.heads.render import render
from facelift_core.training.heads.scene import make_head

FIRST_SEED = 1_000_000
HEIGHT = 230.0
"""From the chin to the top of the head, in millimeters."""
SAMPLES = 4
"""Points per edge of a quad on the true surface."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--heads", type=int, default=20, help="number of heads (default %(default)s)")
    parser.add_argument("--cache", type=Path, default=Path("face-fit-heads"), metavar="FOLDER")
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args()
    template, place = load_template(), anatomy_vertices(load_base_mesh())
    results: dict[str, list[dict[str, float]]] = {"reconstructed": [], "perfect": []}
    for seed in range(FIRST_SEED, FIRST_SEED + args.heads):
        head = make_head(seed)
        true = head.vertices[place].astype(np.float64)
        expression = sample_person(load_anatomy(), np.random.default_rng([seed, 0])).expression
        for kind, gaussians in (
            ("reconstructed", reconstructed(seed, args.cache)),
            ("perfect", surface_gaussians(head, seed=seed)),
        ):
            begin = time.process_time()
            mesh = fit_face(gaussians)
            seconds = time.process_time() - begin
            result = distances(template, mesh, true, gaussians)
            result |= {"expression": float(np.abs(mesh.expression - expression).mean()), "seconds": seconds}
            results[kind].append(result)
            print(seed, f"{kind:13}", _line(result), flush=True)
    for kind, rows in results.items():
        print("mean   ", f"{kind:13}", _line({name: float(np.mean([row[name] for row in rows])) for name in rows[0]}))
    if args.json:
        args.json.write_text(json.dumps(results, indent=1), encoding="utf-8")


def reconstructed(seed: int, cache: Path) -> Gaussians:
    """The head that the built-in weights make of the front view of the head with this seed."""
    path = cache / f"{seed}.ply"
    if not path.exists():
        cache.mkdir(parents=True, exist_ok=True)
        front = render(make_head(seed), cameras.six_views()[:1].numpy().astype(np.float32), 512).rgba[0]
        model = FaceLift.from_pretrained("mini", "cpu")
        model.reconstruct(align_cutout(Image.fromarray(front, "RGBA"))).gaussians.save(path)
    return load(path)


def distances(template: Template, mesh: FaceMesh, true: np.ndarray, gaussians: Gaussians) -> dict[str, float]:
    """Distances between the fitted mesh and the (V, 3) true vertices, in millimeters; see this module."""
    chin = template.joint_vertices[2 * BONES.index("jaw") + 1][0]
    top = template.joint_vertices[2 * BONES.index("head") + 1][0]
    unit = HEIGHT / np.linalg.norm(true[top] - true[chin])
    found, face = mesh.vertices.astype(np.float64), template.parts["face"]
    result = {
        name: float(np.linalg.norm((found - true)[template.parts[name]], axis=1).mean() * unit)
        for name in ("face", "lips", "eyelids", "ears")
    }
    middle, aim = found[face].mean(0), true[face].mean(0)
    turn, _ = Rotation.align_vectors(true[face] - aim, found[face] - middle)
    turned = turn.apply(found[face] - middle)
    turned *= (turned * (true[face] - aim)).sum() / (turned**2).sum()
    result["placed"] = float(np.linalg.norm(turned - (true[face] - aim), axis=1).mean() * unit)
    around = cKDTree(_surface(true, template.quads[np.isin(template.quads, template.parts["skin"]).all(1)]))
    result["surface"] = float(around.query(found[face])[0].mean() * unit)
    view = look(gaussians, 0.0, 512)
    places, _, exists = view.surface_at(true[face])
    result["gaussians"] = float(np.median(np.abs(places[:, 1] - true[face, 1])[exists]) * unit)
    return result


def _surface(vertices: np.ndarray, quads: np.ndarray) -> np.ndarray:
    """Points all over the quads."""
    across = (np.arange(SAMPLES) + 0.5) / SAMPLES
    u, v = (grid.ravel() for grid in np.meshgrid(across, across))
    shares = np.stack([(1 - u) * (1 - v), u * (1 - v), u * v, (1 - u) * v], -1)
    return np.einsum("pk,qkc->qpc", shares, vertices[quads]).reshape(-1, 3)


def _line(result: dict[str, float]) -> str:
    return "  ".join(f"{name} {value:.2f}" for name, value in result.items())


if __name__ == "__main__":
    main()

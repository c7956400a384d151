"""Gaussians that follow a face mesh.

Every quad of the mesh has a linear map from its rest shape to its present one, by its two diagonals and its unit
normal; a vertex has the mean of the maps of its quads, weighted by their areas at rest, so that slivers in folds count
for little. A Gaussian has the weighted mean F of the maps of its vertices, and moves with the weighted mean of their
displacements. Its axes turn with F by the rotation R, and stretch with F up to a limit; x' = s' + R (x − s), where s is
the mean of its vertices. The geometry nodes of the extension compute the same.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..gaussians.arrays import SplatArrays
from ..gaussians.transforms import quaternions, rotation_matrices
from .rig import Binding, FaceMesh, Rig

SMALLEST = 1e-12
STRETCH_MAX = 3.0
"""Where lids unfold, skin stretches more than this; Gaussians that did so too would be blots."""


def deformed_vertices(mesh: FaceMesh, weights: np.ndarray, neutral: float = 0.0) -> np.ndarray:
    """Vertices of the mesh with an expression.

    Args:
        weights: (52,) strengths of the shapes, added to the expression of the photo.
        neutral: from 0 (keep the expression of the photo) to 1 (start from a neutral face).

    Returns:
        (V, 3) float32.
    """
    moved = mesh.vertices + np.float32(neutral) * mesh.neutral
    used = np.flatnonzero(weights)
    return moved + np.tensordot(np.asarray(weights, np.float32)[used], mesh.shapes[used], 1)


def deform(rig: Rig, vertices: np.ndarray) -> SplatArrays:
    """The Gaussians of `rig` when its mesh has other vertices.

    Args:
        vertices: (V, 3) float32.
    """
    maps = vertex_maps(rig.mesh.vertices, vertices, rig.mesh.quads)
    return follow(rig.gaussians, rig.binding, rig.mesh.vertices, vertices, maps)


def vertex_maps(rest: np.ndarray, moved: np.ndarray, quads: np.ndarray) -> np.ndarray:
    """(V, 3, 3) float32 linear maps from the surroundings of each vertex at rest to those where it has moved."""
    first, second, normal, area = _frames(rest, quads)
    # The inverse of the frame at rest, times its determinant, which is the area.
    rows = np.stack([np.cross(second, normal), np.cross(normal, first), area[:, None] * normal], axis=-2)
    of_quads = np.stack(_frames(moved, quads)[:3], axis=-1) @ rows
    total, weight = np.zeros((len(rest), 3, 3)), np.zeros(len(rest))
    for corner in range(4):
        np.add.at(total, quads[:, corner], of_quads)
        np.add.at(weight, quads[:, corner], area)
    total[weight <= SMALLEST], weight[weight <= SMALLEST] = np.eye(3), 1
    return (total / weight[:, None, None]).astype(np.float32)


def follow(
    gaussians: SplatArrays, binding: Binding, rest: np.ndarray, moved: np.ndarray, maps: np.ndarray
) -> SplatArrays:
    """The Gaussians after their vertices moved from `rest` to `moved`, (V, 3), with the linear maps `maps`."""
    corners, shares = binding.corners, binding.shares.astype(np.float32)
    foot = np.einsum("nk,nkc->nc", shares, rest[corners])
    moved_foot = np.einsum("nk,nkc->nc", shares, moved[corners])
    linear = np.einsum("nk,nkij->nij", shares, maps[corners])
    before = rotation_matrices(gaussians.rotations)
    axes = linear @ before
    stretch = np.maximum(np.linalg.norm(axes, axis=1), SMALLEST)
    after = _orthogonal(axes / stretch[:, None])
    # What is beside the mesh turns with it but keeps its distance: stretched, it would be flung far.
    offset = np.einsum("nij,nkj,nk->ni", after, before, gaussians.positions - foot)
    return replace(
        gaussians,
        positions=(moved_foot + offset).astype(np.float32),
        log_scales=gaussians.log_scales + np.log(np.minimum(stretch, STRETCH_MAX), dtype=np.float32),
        rotations=quaternions(after).astype(np.float32),
    )


def _frames(vertices: np.ndarray, quads: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(F, 3) the two diagonals and the unit normal of each quad, and (F,) twice its area."""
    a, b, c, d = (vertices[quads[:, corner]].astype(np.float64) for corner in range(4))
    first, second = c - a, d - b
    normal = np.cross(first, second)
    area = np.linalg.norm(normal, axis=1)
    return first, second, normal / np.maximum(area, SMALLEST)[:, None], area


def _orthogonal(axes: np.ndarray) -> np.ndarray:
    """(N, 3, 3) rotations from columns of length 1: keeps the first, and the plane of the first two."""
    x = axes[:, :, 0]
    z = np.cross(x, axes[:, :, 1])
    z /= np.maximum(np.linalg.norm(z, axis=1, keepdims=True), SMALLEST)
    return np.stack([x, np.cross(z, x), z], axis=-1)

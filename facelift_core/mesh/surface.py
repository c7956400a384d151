"""The surface of an occupancy volume as one watertight triangle mesh of limited size."""

from __future__ import annotations

import numpy as np

from .occupancy import LEVEL, MARGIN, Volume

COARSEST, FINEST = 0.25, 4.0
"""Tolerances of the simplification that are tried, in voxels."""
TRIES = 8


def extract(volume: Volume, most_faces: int) -> tuple[np.ndarray, np.ndarray]:
    """The surface at :data:`LEVEL` with at most `most_faces` triangles, without islands.

    Returns:
        vertices: (V, 3) float32, world units.
        faces: (F, 3) int32, counterclockwise seen from outside.
    """
    from skimage.measure import marching_cubes

    vertices, faces, _, _ = marching_cubes(volume.values, LEVEL, gradient_direction="ascent")
    return _simplified(vertices * volume.step + volume.origin, faces, volume.step, most_faces)


def _simplified(vertices: np.ndarray, faces: np.ndarray, step: float, most: int) -> tuple[np.ndarray, np.ndarray]:
    """The finest simplification with at most `most` faces. It stays a closed manifold."""
    from manifold3d import Manifold, Mesh

    solid = Manifold(Mesh(vertices.astype(np.float32), faces.astype(np.uint32)))
    low, high = COARSEST * step, FINEST * step
    best = solid if solid.num_tri() <= most else None
    for _ in range(TRIES if best is None else 0):
        tolerance = (low * high) ** 0.5
        tried = solid.simplify(tolerance)
        if tried.num_tri() > most:
            low = tolerance
            continue
        high, best = tolerance, tried
        if tried.num_tri() > 0.9 * most:
            break
    if best is None:
        best = solid.simplify(high)
        while best.num_tri() > most:
            high *= 2
            best = solid.simplify(high)
    parts = best.decompose()
    mesh = max(parts, key=lambda part: part.volume()).to_mesh()
    return np.array(mesh.vert_properties, np.float32)[:, :3], np.array(mesh.tri_verts, np.int32)


def vertex_normals(volume: Volume, vertices: np.ndarray) -> np.ndarray:
    """(V, 3) float32 unit normals towards the outside, from the volume, which is smoother than the faces."""
    normals = -volume.gradient(vertices)
    return (normals / np.linalg.norm(normals, axis=1, keepdims=True).clip(1e-12)).astype(np.float32)


def is_cut(volume: Volume, vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """(F,) bool: the faces of the flat cut at the bottom."""
    floor = volume.origin[2] + (MARGIN + 0.5) * volume.step
    return (vertices[faces][..., 2] < floor).all(axis=1)

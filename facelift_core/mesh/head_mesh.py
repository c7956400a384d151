"""A head's Gaussians as one closed mesh with a texture."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import FaceLiftError
from ..gaussians.arrays import SplatArrays
from ..gaussians.tensors import Gaussians
from ..gaussians.transforms import transform
from ..progress import Cancel, Monitor, ProgressCallback
from .occupancy import STRAYS, occupancy

SIZE = 1.8
"""Largest extent of a head in the world of docs/model.md, 5. Gaussians of other sizes are scaled to it."""
STEP, FACES = 0.012, 50_000
"""Distance of grid points in that world for so many faces; for far fewer, fewer points do."""
MIN_FACES, MAX_FACES = 1_000, 500_000
TEXTURE_SIZES = (512, 1024, 2048, 4096)


@dataclass(frozen=True)
class HeadMesh:
    """A triangle mesh with a texture, in the world of the Gaussians (Z up, head facing −Y).

    Attributes:
        vertices: (V, 3) float32, world units.
        normals: (V, 3) float32, unit vectors.
        faces: (F, 3) int32, counterclockwise seen from outside.
        uvs: (W, 2) float32 in [0, 1], v up; vertices on seams have several.
        uv_faces: (F, 3) int32, the texture coordinates of each face's corners.
        texture: (S, S, 3) uint8 sRGB, top row first.
    """

    vertices: np.ndarray
    normals: np.ndarray
    faces: np.ndarray
    uvs: np.ndarray
    uv_faces: np.ndarray
    texture: np.ndarray

    @property
    def vertex_of_uv(self) -> np.ndarray:
        """(W,) the vertex that each of `uvs` belongs to."""
        of = np.zeros(len(self.uvs), np.int32)
        of[self.uv_faces] = self.faces
        return of

    def save(self, path: str | Path) -> None:
        """Write to `path` in the format of its suffix; see :func:`.files.write`."""
        from .files import write

        write(self, path)


def make_mesh(
    gaussians: Gaussians,
    faces: int = FACES,
    texture: int = 2048,
    bottom: str = "flat",
    progress: ProgressCallback | None = None,
    cancelled: Cancel | None = None,
) -> HeadMesh:
    """Make one closed mesh of a head, with a texture.

    Args:
        gaussians: a head with Z up, facing −Y, of any size and at any place.
        faces: the most triangles.
        texture: width and height of the texture in pixels.
        bottom: "flat" closes the cut at the bottom, "open" leaves it open.
        progress: called with stage ("surface", "texture"), fraction of the whole run, and message.
        cancelled: polled; returns true to stop.

    Raises:
        FaceLiftError: an argument is out of range, a package is missing, or the Gaussians do not enclose anything.
        Cancelled: `cancelled` returned true.
    """
    _check(faces, texture, bottom)
    surface_monitor = Monitor("surface", progress, cancelled, 0.0, 0.3)
    texture_monitor = Monitor("texture", progress, cancelled, 0.3, 1.0)
    try:
        from . import surface, unwrap
        from .texture import bake

        splats, middle, scale = placed(SplatArrays.from_gaussians(gaussians))
        volume = occupancy(
            splats,
            STEP * max(1.0, 0.5 * (FACES / faces) ** 0.5),
            lambda share: surface_monitor(0.5 * share, "Finding the surface"),
        )
        surface_monitor(0.5, "Finding the surface")
        vertices, triangles = surface.extract(volume, faces)
        surface_monitor(0.7, "Unwrapping")
        _, uv_faces, uvs = unwrap.unwrap(vertices, triangles, texture)
    except ImportError as error:
        raise FaceLiftError(f"Meshes need the package {error.name}; update the runtime to get it.") from None
    normals = surface.vertex_normals(volume, vertices)
    cut = surface.is_cut(volume, vertices, triangles)
    normals[np.unique(triangles[cut])] = (0, 0, -1)
    texture_monitor(0.0, "Baking the texture")
    picture = bake(
        splats.to_gaussians(),
        vertices,
        normals,
        triangles,
        uvs[uv_faces],
        texture,
        lambda share: texture_monitor(share, "Baking the texture"),
    )
    vertices = (vertices / scale + middle).astype(np.float32)
    mesh = HeadMesh(vertices, normals, triangles, uvs, uv_faces, picture)
    return _without_faces(mesh, cut) if bottom == "open" else mesh


def placed(splats: SplatArrays) -> tuple[SplatArrays, np.ndarray, float]:
    """The Gaussians around the origin, :data:`SIZE` large; the middle and the scale with which they were placed."""
    if not len(splats):
        raise FaceLiftError("There are no Gaussians to make a mesh of.")
    low, high = np.quantile(splats.positions, [STRAYS, 1 - STRAYS], axis=0)
    middle, scale = 0.5 * (low + high), SIZE / max(float((high - low).max()), 1e-6)
    matrix = np.diag([scale, scale, scale, 1.0])
    matrix[:3, 3] = -scale * middle
    return transform(splats, matrix), middle, scale


def _check(faces: int, texture: int, bottom: str) -> None:
    if not MIN_FACES <= faces <= MAX_FACES:
        raise FaceLiftError(f"A mesh can have from {MIN_FACES:,} to {MAX_FACES:,} faces, not {faces:,}.")
    if texture not in TEXTURE_SIZES:
        raise FaceLiftError(f"A texture is {', '.join(map(str, TEXTURE_SIZES))} pixels wide, not {texture}.")
    if bottom not in ("flat", "open"):
        raise FaceLiftError(f"The bottom is “flat” or “open”, not “{bottom}”.")


def _without_faces(mesh: HeadMesh, removed: np.ndarray) -> HeadMesh:
    """The mesh without some faces and the vertices that only they have."""
    used, faces = np.unique(mesh.faces[~removed], return_inverse=True)
    used_uvs, uv_faces = np.unique(mesh.uv_faces[~removed], return_inverse=True)
    return HeadMesh(
        mesh.vertices[used],
        mesh.normals[used],
        faces.reshape(-1, 3).astype(np.int32),
        mesh.uvs[used_uvs],
        uv_faces.reshape(-1, 3).astype(np.int32),
        mesh.texture,
    )

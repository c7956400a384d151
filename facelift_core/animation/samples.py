"""Points spread over the quads of a face mesh, and which part of the mesh the front camera sees at each pixel."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import cv2
import numpy as np

from ..rendering import cameras
from .rig import FaceMesh

HIDDEN = -1
MOST_ROWS = 32


@dataclass(frozen=True)
class Samples:
    """N points on the mesh.

    Attributes:
        points: (N, 3) float32.
        normals: (N, 3) float32 unit vectors, outward.
        along: (N, 3) float32 unit vectors in the surface, along the rows of the grid on each quad.
        size: (N, 2) float32, distance to the next point along the rows and across them.
        quads: (N,) int, the quad that each point is on.
        corners: (N, 4) int32 vertices of that quad.
        shares: (N, 4) float32 bilinear weights of these vertices.
    """

    points: np.ndarray
    normals: np.ndarray
    along: np.ndarray
    size: np.ndarray
    quads: np.ndarray
    corners: np.ndarray
    shares: np.ndarray

    def __len__(self) -> int:
        return len(self.points)

    def __getitem__(self, index) -> Samples:
        return Samples(**{name: array[index] for name, array in vars(self).items()})


def sample_quads(mesh: FaceMesh, quads: np.ndarray, spacing: float) -> Samples:
    """Points on the quads with the numbers `quads`, on grids whose rows are about `spacing` apart, in world units."""
    corners = mesh.vertices[mesh.quads[quads]]
    longest = np.linalg.norm(corners - np.roll(corners, 1, axis=1), axis=2).max(1)
    counts = np.clip(np.ceil(longest / spacing), 1, MOST_ROWS).astype(int)
    grids = [_grid(mesh, quads[counts == count], count) for count in np.unique(counts)]
    return Samples(**{field.name: np.concatenate([getattr(grid, field.name) for grid in grids])
                      for field in fields(Samples)})  # fmt: skip


def _grid(mesh: FaceMesh, quads: np.ndarray, count: int) -> Samples:
    """`count`² points on each quad."""
    places = (np.arange(count) + 0.5) / count
    v, u = (grid.ravel() for grid in np.meshgrid(places, places, indexing="ij"))
    shares = np.stack([(1 - u) * (1 - v), u * (1 - v), u * v, (1 - u) * v], -1)
    corners = mesh.quads[quads]
    a, b, c, d = mesh.vertices[corners].transpose(1, 0, 2).astype(np.float64)[:, :, None]
    across_u = (b - a) * (1 - v)[:, None] + (c - d) * v[:, None]
    across_v = (d - a) * (1 - u)[:, None] + (c - b) * u[:, None]
    length = np.linalg.norm(across_u, axis=-1)
    normals = np.cross(across_u, across_v)
    area = np.linalg.norm(normals, axis=-1)
    size = np.stack([length, area / np.maximum(length, 1e-12)], -1) / count
    points = np.einsum("sk,qkc->qsc", shares, mesh.vertices[corners])
    repeat = len(shares)
    return Samples(
        points.reshape(-1, 3).astype(np.float32),
        (normals / np.maximum(area, 1e-12)[..., None]).reshape(-1, 3).astype(np.float32),
        (across_u / np.maximum(length, 1e-12)[..., None]).reshape(-1, 3).astype(np.float32),
        size.reshape(-1, 2).astype(np.float32),
        np.repeat(quads, repeat),
        np.repeat(corners, repeat, axis=0),
        np.tile(shares, (len(quads), 1)).astype(np.float32),
    )


def quads_of(mesh: FaceMesh, *parts: str) -> np.ndarray:
    """Numbers of the quads that have all of their vertices in one of the parts with these names."""
    chosen = np.zeros(len(mesh.quads), bool)
    for part in parts:
        inside = np.zeros(len(mesh.vertices), bool)
        inside[mesh.parts[part]] = True
        chosen |= inside[mesh.quads].all(1)
    return np.flatnonzero(chosen)


def front_pixels(points: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray]:
    """(N, 2) pixels (x right, y down) and (N,) depths of points in the front view of `side`² pixels."""
    focal, _, cx, cy = cameras.intrinsics(side).tolist()
    depth = cameras.RADIUS + points[:, 1]
    safe = np.maximum(depth, 1e-3)
    return np.stack([cx + focal * points[:, 0] / safe, cy - focal * points[:, 2] / safe], -1), depth


def front_depth(mesh: FaceMesh, quads: np.ndarray, side: int) -> np.ndarray:
    """(side, side) float32: depth of the quads with the numbers `quads` in the front view, infinite where none is."""
    part = replace(mesh, quads=mesh.quads[quads])
    _, depth = front_pixels(mesh.vertices, side)
    farthest = depth[part.quads].max(1)
    seen = front_quads(part, side)
    return np.where(seen == HIDDEN, np.inf, farthest[seen]).astype(np.float32)


def front_quads(mesh: FaceMesh, side: int) -> np.ndarray:
    """(side, side) int32: the quad that the front camera sees at each pixel, or :data:`HIDDEN` where there is none."""
    pixels, depth = front_pixels(mesh.vertices, side)
    corners = pixels[mesh.quads]
    diagonal, other = corners[:, 2] - corners[:, 0], corners[:, 3] - corners[:, 1]
    facing = diagonal[:, 0] * other[:, 1] - diagonal[:, 1] * other[:, 0] < 0  # y is down
    order = np.argsort(-depth[mesh.quads].mean(1))
    seen = np.full((side, side), HIDDEN, np.int32)
    fixed = np.round((corners - 0.5) * 16).astype(np.int32)
    for quad in order[facing[order]]:
        cv2.fillConvexPoly(seen, fixed[quad], int(quad), lineType=cv2.LINE_8, shift=4)
    return seen

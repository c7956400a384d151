"""Separate meshes worn on the head: hair, hats, glasses."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Piece:
    """A mesh separate from the body, in the person's template coordinates (meters, Z up, facing −Y).

    Attributes:
        vertices: (N, 3) float32.
        heights: (N,) float32 heights on the template, used to bend the mesh with the neck.
        albedo: (N, 3) float32 linear RGB.
        gloss, scatter: (N,) float32, as in :class:`appearance.Look`.
        triangles: (T, 3) int32 into `vertices`.
    """

    vertices: np.ndarray
    heights: np.ndarray
    albedo: np.ndarray
    gloss: np.ndarray
    scatter: np.ndarray
    triangles: np.ndarray


def piece(
    vertices: np.ndarray, heights: np.ndarray, albedo: np.ndarray, triangles: np.ndarray, gloss: float, scatter: float
) -> Piece:
    """Create a piece of a single material; `albedo` is (3,) or (N, 3)."""
    count = len(vertices)
    return Piece(
        np.ascontiguousarray(vertices, np.float32),
        np.ascontiguousarray(heights, np.float32),
        np.ascontiguousarray(np.broadcast_to(albedo, (count, 3)), np.float32),
        np.full(count, gloss, np.float32),
        np.full(count, scatter, np.float32),
        np.ascontiguousarray(triangles, np.int32),
    )


def tube(path: np.ndarray, radius: np.ndarray, sides: int, closed: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """A tube around a path: (P·sides, 3) vertices, row by row, and (T, 3) triangles facing outward.

    Args:
        path: (P, 3) points.
        radius: (P,) radii.
        sides: number of vertices around the path.
        closed: connect the end of the path to its start.
    """
    after, before = np.roll(path, -1, 0), np.roll(path, 1, 0)
    if not closed:
        after[-1], before[0] = path[-1], path[0]
    along = after - before
    along /= np.linalg.norm(along, axis=1, keepdims=True) + 1e-12
    # A single reference direction for the whole tube, perpendicular to its main direction, prevents twisting.
    spread = np.linalg.svd(path - path.mean(0))[2]
    reference = spread[2]
    across = reference - along * (along @ reference)[:, None]
    across /= np.linalg.norm(across, axis=1, keepdims=True) + 1e-12
    other = np.cross(along, across)
    angle = 2 * np.pi * np.arange(sides) / sides
    ring = np.cos(angle)[None, :, None] * across[:, None] + np.sin(angle)[None, :, None] * other[:, None]
    vertices = (path[:, None] + radius[:, None, None] * ring).reshape(-1, 3)
    rows = len(path) if closed else len(path) - 1
    here = np.arange(rows)[:, None] * sides
    there = (np.arange(rows)[:, None] + 1) % len(path) * sides
    side, next_side = np.arange(sides)[None], (np.arange(sides)[None] + 1) % sides
    a, b, c, d = here + side, here + next_side, there + next_side, there + side
    triangles = np.stack([np.stack([a, b, c], -1), np.stack([a, c, d], -1)], -2).reshape(-1, 3)
    return vertices, triangles


def strip(rings: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """A surface through R rows of N points: (R·N, 3) vertices and (T, 3) triangles.

    It faces outward if the rows run counterclockwise, seen from above, and are ordered from bottom to top.
    """
    vertices, count = np.concatenate(rings), len(rings[0])
    index = np.arange(len(vertices)).reshape(len(rings), count)
    a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]
    return vertices, np.concatenate([np.stack([a, b, c], -1).reshape(-1, 3), np.stack([a, c, d], -1).reshape(-1, 3)])

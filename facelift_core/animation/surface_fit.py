"""Pull a placed face mesh smoothly onto the surface and the landmarks of a head."""

from __future__ import annotations

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import splu

from .head_model import Sight
from .template import Template, landmarks_of
from .views import View

STIFFNESS, BENDING = 0.5, 300.0
"""Weights of the differences between displacements of neighbors, and of the Laplacian of displacements."""
LANDMARK_NOISE = 1.5
DEPTH_NOISE, REACH, HAIR_REACH, FARTHEST = 12.0, 8.0, 4.0, 12.0
"""Deviations in mm; distances from which the surface of a head is something else (beard, glasses; on scalp and ears,
hair); and the longest distance that a vertex is pulled at once."""
FACING = 0.35
ROUNDS = 4
AROUND_MOUTH = 0.035
"""Radius of the skin that teeth and tongue move with, in meters."""


def pull(template: Template, vertices: np.ndarray, scale: float, front: Sight, around: list[View]) -> np.ndarray:
    """(V, 3) vertices moved onto the head; teeth, tongue and eyeballs go with the skin around them.

    Args:
        vertices: (V, 3) the fitted model in the world.
        scale: world units per meter.
        front: the view with landmarks. Those of other views are less true, because no photo shows them.
        around: more views, of the surface only.
    """
    unit = scale / 1000
    covered = template.scalp.copy()
    covered[template.parts["ears"]] = 1
    smooth = _smoothness(template)
    moved = vertices.copy()
    skin = np.zeros(len(vertices), bool)
    skin[template.parts["outside"]] = True
    for _ in range(ROUNDS):
        normals = vertex_normals(moved, template.quads)
        system = [sparse.kron(smooth, sparse.eye(3))]
        vector = -system[0] @ ((moved - vertices) / unit).ravel()
        for view in [front.view, *around]:
            matrix, right = _surface_rows(covered, moved, normals, view, unit, skin)
            system.append(matrix), np.add(vector, right, out=vector)
        matrix, right = _landmark_rows(template, moved, front, unit)
        system.append(matrix), np.add(vector, right, out=vector)
        step = splu(sum(system).tocsc()).solve(vector)
        moved = moved + unit * step.reshape(-1, 3)
    return _with_inside(template, vertices, moved)


def vertex_normals(vertices: np.ndarray, quads: np.ndarray) -> np.ndarray:
    """(V, 3) unit normals."""
    a, b, c, d = (vertices[quads[:, corner]] for corner in range(4))
    normal = np.cross(c - a, d - b)
    total = np.stack(
        [np.bincount(quads.ravel(), np.repeat(normal[:, axis], 4), len(vertices)) for axis in range(3)], -1
    )
    return total / np.linalg.norm(total, axis=1, keepdims=True).clip(1e-12)


def _smoothness(template: Template) -> sparse.csr_matrix:
    """(V, V) quadratic form of the displacements."""
    quads, count = template.quads, len(template.vertices)
    edges = np.stack([quads, np.roll(quads, -1, 1)], -1).reshape(-1, 2)
    first, second = np.concatenate([edges, edges[:, ::-1]]).T
    near = sparse.csr_matrix((np.ones(len(first)), (first, second)), (count, count)).minimum(1)
    near.data[:] = 1
    degree = np.asarray(near.sum(1)).ravel()
    difference = sparse.diags(degree) - near
    laplacian = sparse.diags(1 / degree.clip(1)) @ difference
    return (STIFFNESS * difference + BENDING * laplacian.T @ laplacian + 1e-4 * sparse.eye(count)).tocsr()


def _surface_rows(covered, vertices, normals, view: View, unit: float, skin: np.ndarray):
    places, directions, exists = view.surface_at(vertices)
    seen = skin & exists & ((normals * view.towards(vertices)).sum(1) > FACING)
    error = ((places - vertices) * directions).sum(1) / unit
    reach = REACH + (HAIR_REACH - REACH) * covered
    weight = 1 / (1 + (error / reach) ** 2) ** 2
    weight[(error < 0) & (covered > 0.5)] = 1  # skin under hair is never outside it
    error = error.clip(-FARTHEST, FARTHEST)
    weight *= seen / DEPTH_NOISE**2
    used = np.flatnonzero(weight)
    count = len(vertices)
    rows = sparse.csr_matrix(
        (directions[used].ravel(), (np.repeat(np.arange(len(used)), 3), (3 * used[:, None] + np.arange(3)).ravel())),
        (len(used), 3 * count),
    )
    weighted = rows.T.multiply(weight[used]).tocsr()
    return weighted @ rows, weighted @ error[used]


def _landmark_rows(template: Template, vertices: np.ndarray, sight: Sight, unit: float):
    view, points = sight.view, landmarks_of(template, vertices)
    seen, depth = view.project(points)
    error = (sight.pixels - seen) / view.focal * depth[:, None] / unit
    slope = (seen - len(view.solid) / 2) / view.focal
    axes = view.c2w[:3, :2].T[None] - slope[:, :, None] * view.c2w[:3, 2]
    spread = template.landmark_spread / np.median(template.landmark_spread)
    weight = np.minimum(1, 6 / np.linalg.norm(error, axis=1).clip(1e-9)) / (LANDMARK_NOISE * spread) ** 2
    values = template.landmark_shares[:, None, :, None] * axes[:, :, None, :]
    columns = np.broadcast_to((3 * template.landmark_corners[..., None] + np.arange(3))[:, None], values.shape)
    number = np.broadcast_to(np.arange(2 * len(points)).reshape(-1, 2)[..., None, None], values.shape)
    rows = sparse.csr_matrix((values.ravel(), (number.ravel(), columns.ravel())), (2 * len(points), 3 * len(vertices)))
    weighted = rows.T.multiply(np.repeat(weight, 2)).tocsr()
    return weighted @ rows, weighted @ error.ravel()


def _with_inside(template: Template, before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Move teeth and tongue with the skin around the mouth, and each eyeball with its lids."""
    after = after.copy()
    rest, moved = template.vertices, after - before
    inside = np.concatenate([template.parts["teeth"], template.parts["tongue"]])
    face = template.parts["face"]
    mouth = rest[template.parts["teeth"]].mean(0)
    around = face[np.linalg.norm((rest[face] - mouth)[:, [0, 2]], axis=1) < AROUND_MOUTH]
    after[inside] = before[inside] + moved[around].mean(0)
    for side in (1, -1):
        eye, lids = (part[rest[part, 0] * side > 0] for part in (template.parts["eyes"], template.parts["eyelids"]))
        growth = np.linalg.norm(np.ptp(after[lids], axis=0)) / np.linalg.norm(np.ptp(before[lids], axis=0))
        middle = before[lids].mean(0)
        after[eye] = after[lids].mean(0) + growth * (before[eye] - middle)
    return after

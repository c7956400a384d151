"""Texture coordinates: charts seen along an axis, packed into a square. The face is one chart, seen from the front."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from .texels import texels_of

AXES = np.array([[0, -1, 0], [1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, -1]], np.float32)
"""Directions that charts are seen from, the face's first."""
RIGHT = np.array([[1, 0, 0], [0, 1, 0], [0, -1, 0], [-1, 0, 0], [1, 0, 0], [1, 0, 0]], np.float32)
"""What points right in the picture seen from each."""
FRONT_BONUS = 0.35
"""Added to how much a face points to the front, so that the face does not fall into pieces at the nose."""
SMOOTHINGS, MERGES, SMALL = 20, 8, 200
"""Passes over neighbors that smooth the normals; passes that merge charts of fewer faces than this."""
GRAZING = 0.15
"""Faces join a neighboring chart only if they are seen from its direction at more than this cosine."""
MAX_LAYERS, LAYER_SIZE = 6, 1024
"""How often a chart is split where it covers itself, as the chin covers the neck, and pixels of the pictures in which
that is looked for."""
PADDING = 4
"""Texels between charts."""
FILLED = 0.6
"""Share of the texture that charts are expected to fill."""


def unwrap(vertices: np.ndarray, faces: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Texture coordinates for a closed mesh.

    Args:
        size: width and height of the texture in pixels, for the distance between charts.

    Returns:
        of: (W,) int32, the vertex that each vertex with texture coordinates is; seams have several for one.
        faces: (F, 3) int32 of these, in the order of the argument.
        uvs: (W, 2) float32 in [0, 1], v up.
    """
    import xatlas

    chart, seen_from = _charts(vertices, faces)
    key = chart[:, None].astype(np.int64) * len(vertices) + faces
    unique, corners = np.unique(key, return_inverse=True)
    of, corners = (unique % len(vertices)).astype(np.int32), corners.reshape(-1, 3).astype(np.uint32)
    axis = np.zeros(len(of), int)
    axis[corners] = seen_from[:, None]
    flat = np.stack(
        [(vertices[of] * RIGHT[axis]).sum(1), (vertices[of] * np.cross(AXES[axis], RIGHT[axis])).sum(1)], axis=1
    )
    # xatlas joins what has the same place in the plane, so every chart gets a cell of its own.
    place = np.zeros(len(of), int)
    place[corners] = chart[:, None]
    columns = int(np.ceil((chart.max() + 1) ** 0.5))
    flat = flat + 2 * np.abs(flat).max() * np.stack([place % columns, place // columns], axis=1)
    atlas = xatlas.Atlas()
    atlas.add_uv_mesh(flat.astype(np.float32), corners)
    (ax, ay), (bx, by) = ((flat[corners[:, k]] - flat[corners[:, 0]]).T for k in (1, 2))
    options = xatlas.PackOptions()
    # Not a resolution: that may spread the charts over several textures.
    options.texels_per_unit = size * (FILLED / (0.5 * np.abs(ax * by - ay * bx).sum())) ** 0.5
    options.padding = PADDING
    options.rotate_charts = options.rotate_charts_to_axis = False
    atlas.generate(pack_options=options)
    again, packed_faces, uvs = atlas[0]
    return of[again], packed_faces.astype(np.int32), uvs.astype(np.float32)


def _charts(vertices: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(F,) chart of each face, and (F,) index into AXES of the direction it is seen from."""
    corners = vertices[faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    own = normals / np.linalg.norm(normals, axis=1, keepdims=True).clip(1e-20)
    beside = _neighbors(faces)
    smooth = own
    for _ in range(SMOOTHINGS):
        smooth = smooth + beside @ smooth
        smooth /= np.linalg.norm(smooth, axis=1, keepdims=True).clip(1e-20)
    facing = own @ AXES.T
    wish = smooth @ AXES.T + FRONT_BONUS * np.eye(1, len(AXES))
    wish[facing < GRAZING] -= 4
    axis = wish.argmax(axis=1)
    for _ in range(MERGES):
        _, small = _connected(axis, beside)
        if not small.any():
            break
        votes = beside @ (np.eye(len(AXES))[axis] * ~small[:, None])
        votes[facing < GRAZING] = 0
        axis = np.where(small & (votes.max(axis=1) > 0), votes.argmax(axis=1), axis)
    layer = _layers(vertices, faces, axis)
    return _connected(axis + len(AXES) * layer, beside)[0], axis


def _layers(vertices: np.ndarray, faces: np.ndarray, axis: np.ndarray) -> np.ndarray:
    """(F,) layer of each face: 0 where no other face with the same direction covers it in its picture, and so on."""
    layer = np.zeros(len(faces), np.int64)
    low, width = vertices.min(axis=0), (vertices.max(axis=0) - vertices.min(axis=0)).max()
    corners = (vertices[faces] - low) / width  # in [0, 1]
    for number, direction in enumerate(AXES):
        left = np.flatnonzero(axis == number)
        right, up = RIGHT[number], np.cross(direction, RIGHT[number])
        flat = np.stack([corners @ right, corners @ up], axis=-1)
        flat -= flat.reshape(-1, 2).min(axis=0)
        height = (corners @ direction).mean(axis=1)
        for _ in range(MAX_LAYERS):
            if not len(left):
                break
            texels = texels_of(flat[left], LAYER_SIZE)
            face = left[texels.face]
            top = np.full(LAYER_SIZE**2, -np.inf)
            np.maximum.at(top, texels.index, height[face])
            left = np.unique(face[height[face] < top[texels.index]])
            layer[left] += 1
    return layer


def _connected(axis: np.ndarray, beside: sparse.csr_array) -> tuple[np.ndarray, np.ndarray]:
    """(F,) chart of each face: connected faces with the same direction; and whether it is a small one."""
    rows, columns = beside.nonzero()
    same = axis[rows] == axis[columns]
    graph = sparse.csr_array((np.ones(same.sum()), (rows[same], columns[same])), shape=beside.shape)
    chart = sparse.csgraph.connected_components(graph, directed=False)[1]
    return chart, np.bincount(chart)[chart] < SMALL


def _neighbors(faces: np.ndarray) -> sparse.csr_array:
    """(F, F) 1 where two faces share an edge."""
    edges = np.sort(faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
    _, edge = np.unique(edges, axis=0, return_inverse=True)
    face = np.repeat(np.arange(len(faces)), 3)
    touching = sparse.csr_array((np.ones(len(face)), (face, edge.ravel())))
    both = (touching @ touching.T).tolil()
    both.setdiag(0)
    return both.tocsr()

"""Texture coordinates: charts seen along an axis, packed into a square. The face is one chart, seen from the front."""

from __future__ import annotations

import numpy as np
from scipy import sparse

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
    atlas = xatlas.Atlas()
    # Charts overlap in the plane; xatlas tells them apart by their vertices.
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
        chart, small = _connected(axis, beside)
        if not small.any():
            break
        votes = beside @ (np.eye(len(AXES))[axis] * ~small[:, None])
        votes[facing < GRAZING] = 0
        axis = np.where(small & (votes.max(axis=1) > 0), votes.argmax(axis=1), axis)
    return _connected(axis, beside)[0], axis


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

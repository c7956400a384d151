"""Where the meshes of a glTF document stand in its scene."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .damage import Damaged
from .transforms import rotation_matrices

_MAX_NODES = 100_000
_PLACES = {"matrix", "rotation", "scale", "translation"}


def placed_meshes(document: dict) -> Iterator[tuple[np.ndarray, dict]]:
    """Yield the (4, 4) matrix to the world and the mesh of every node in the scene.

    Raises:
        Damaged: the nodes are not trees.
        one of :data:`.damage.MALFORMED`: the document is incomplete, or wrong.
    """
    nodes, meshes = document.get("nodes", []), document.get("meshes", [])
    scenes = document.get("scenes")
    roots = scenes[document.get("scene", 0)].get("nodes", []) if scenes else range(len(nodes))
    waiting = [(index, np.eye(4)) for index in roots]
    visited = 0
    while waiting:
        index, parent = waiting.pop()
        visited += 1
        if visited > min(len(nodes), _MAX_NODES):  # a node in its own tree, or in two
            raise Damaged("is damaged: its nodes are not a tree")
        node = nodes[index]
        matrix = parent @ _matrix(node)
        waiting += [(child, matrix) for child in node.get("children", [])]
        if "mesh" in node:
            yield matrix, meshes[node["mesh"]]


def _matrix(node: dict) -> np.ndarray:
    """The (4, 4) matrix from the node to its parent."""
    if not _PLACES & node.keys():
        return np.eye(4)
    if "matrix" in node:
        matrix = np.array(node["matrix"], np.float64).reshape(4, 4).T
    else:
        x, y, z, w = node.get("rotation", (0.0, 0.0, 0.0, 1.0))
        matrix = np.eye(4)
        matrix[:3, :3] = rotation_matrices(np.array([[w, x, y, z]], np.float64))[0] * np.array(
            node.get("scale", (1.0, 1.0, 1.0)), np.float64
        )
        matrix[:3, 3] = node.get("translation", (0.0, 0.0, 0.0))
    return matrix

"""What Gaussians follow, as attributes of their point cloud.

=====================  ============  ====================================================================
``face_corner_k``      INT           k = 0 to 3: vertices of the face mesh
``face_shares``        FLOAT_VECTOR  weights of the first three; all four sum to 1
``face_offset``        FLOAT_VECTOR  position of the Gaussian from the weighted mean of its vertices
``face_rotation``      QUATERNION    rotation of the Gaussian in the space of the face mesh
``face_size``          FLOAT         sum of its standard deviations in the space of the face mesh
``face_added``         BOOLEAN       came with the rig: inside of the mouth, eyes behind the lids
=====================  ============  ====================================================================

The last but two are in the mesh's own space, and never change. Position, rotation and scale do, when a transform is
applied to the head (:mod:`facelift_blender.splats.following`); comparing the two gives the way from one space to the
other, so that heads follow their face after that, and copies of a head wherever they are.
"""

from __future__ import annotations

import bpy
import numpy as np
from facelift_core.animation.rig import CORNERS, Rig

from ..splats import attributes

CORNER_NAMES = tuple(f"face_corner_{k}" for k in range(CORNERS))
SHARES = "face_shares"
OFFSET = "face_offset"
ROTATION = "face_rotation"
SIZE = "face_size"
ADDED = "face_added"


def write(cloud: bpy.types.PointCloud, rig: Rig, added: np.ndarray) -> None:
    """Store what the Gaussians of `rig`, which `cloud` has, follow.

    Args:
        added: (N,) bool, those that came with the rig.
    """
    corners, shares = rig.binding.corners, rig.binding.shares.astype(np.float32)
    foot = np.einsum("nk,nkc->nc", shares, rig.mesh.vertices[corners])
    stored = attributes.values_of(rig.gaussians)
    values = {
        **{name: ("INT", corners[:, k]) for k, name in enumerate(CORNER_NAMES)},
        SHARES: ("FLOAT_VECTOR", shares[:, :3]),
        OFFSET: ("FLOAT_VECTOR", rig.gaussians.positions - foot),
        ROTATION: ("QUATERNION", stored[attributes.ROTATION][1]),
        SIZE: ("FLOAT", stored[attributes.SCALE][1].sum(axis=1)),
        ADDED: ("BOOLEAN", added),
    }
    for name, (kind, _) in values.items():
        attributes.create(cloud, name, kind)
    for name, (_, array) in values.items():
        attributes.set_values(cloud, name, array)


def added(cloud: bpy.types.PointCloud) -> np.ndarray:
    """(N,) bool, which Gaussians of `cloud` came with its rig."""
    if ADDED not in cloud.attributes:
        return np.zeros(len(cloud.points), bool)
    return attributes.get_values(cloud, ADDED, 1)

"""Gaussians that follow their points.

Blender's *Apply*, *Join*, *Set Origin* and Edit Mode move the points of a point cloud, but know nothing of the scales,
rotations and spherical harmonics that go with them. An attribute therefore remembers where each point was when the
Gaussians were right. Whenever the two differ by affine transforms, one per group of points, the Gaussians are
transformed, too. Since the memory is part of the data, undo, redo and files need nothing else, nor does it matter which
tool moved the points, or whether this add-on was there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import bpy
import numpy as np
from bpy.app.handlers import persistent
from facelift_core import FaceLiftError
from facelift_core.gaussians import transforms

from . import attributes

_PRECISION = 1e-6
"""Of single precision, with a margin: how far points may be from where a transform puts them, in the largest
coordinate before or after."""
_SAMPLE = 256
_FEWEST = 16
"""Points that tell a transform. Fewer, or those of a curved deformation, are only moved."""


def follow(cloud: bpy.types.PointCloud) -> int:
    """Transform the Gaussians of `cloud` as its points have been moved; returns their number.

    Begins to watch a cloud that is seen for the first time.
    """
    positions = attributes.get_values(cloud, attributes.POSITION, 3)
    if attributes.REST not in cloud.attributes:
        cloud.attributes.new(attributes.REST, "FLOAT_VECTOR", "POINT")
        attributes.set_values(cloud, attributes.REST, positions)
        return 0
    rest = attributes.get_values(cloud, attributes.REST, 3)
    moved = np.flatnonzero((positions != rest).any(axis=1))
    if len(moved) == 0:
        return 0
    count = 0
    for part, matrix in affine_parts(rest, positions, moved):
        if _transform(cloud, part, matrix):
            count += len(part)
    attributes.set_values(cloud, attributes.REST, positions)
    cloud.update_tag()
    return count


def affine_parts(before: np.ndarray, after: np.ndarray, moved: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Groups of points that were moved by the same transform: their indices, and the (4, 4) matrix.

    Args:
        before, after: (N, 3) positions.
        moved: indices of the points to explain. Those of one group follow each other, as Join leaves them.
    """
    tolerance = _PRECISION * max(1e-6, np.abs(before).max(), np.abs(after).max())
    while len(moved) >= _FEWEST:
        length = _explained(before, after, moved, tolerance)
        matrix = _affine(before, after, moved[:length])
        if length < _FEWEST or matrix is None:
            return
        linear, shift = matrix[:3, :3], matrix[:3, 3]
        misses = np.abs(before[moved] @ linear.T + shift - after[moved]).max(axis=1)
        fits = misses <= 4 * tolerance * max(1.0, np.abs(linear).sum(axis=1).max())
        yield moved[fits], matrix
        moved = moved[~fits]


def _explained(before: np.ndarray, after: np.ndarray, moved: np.ndarray, tolerance: float) -> int:
    """How many of the first `moved` points one transform explains."""
    low, high = 0, len(moved)
    length = high
    while low < high:
        points = moved[np.linspace(0, length - 1, min(length, _SAMPLE)).astype(int)]
        if _misfit(before[points], after[points]) <= 2 * tolerance:
            low = length
        else:
            high = length - 1
        length = (low + high + 1) // 2
    return low


def _misfit(before: np.ndarray, after: np.ndarray) -> float:
    """The largest distance that remains with the best transform, along an axis."""
    origin = before.mean(axis=0)
    ones = np.ones((len(before), 1))
    system = np.hstack([before - origin, ones]).astype(np.float64)
    solution = np.linalg.lstsq(system, after.astype(np.float64), rcond=None)[0]
    return float(np.abs(system @ solution - after).max())


def _affine(before: np.ndarray, after: np.ndarray, points: np.ndarray) -> np.ndarray | None:
    """The (4, 4) matrix that moves these points, or None if they lie in a plane and do not tell."""
    points = points[:: max(1, len(points) // 20_000)]
    before, after = before[points].astype(np.float64), after[points].astype(np.float64)
    origin, target = before.mean(axis=0), after.mean(axis=0)
    solution, _, rank, _ = np.linalg.lstsq(before - origin, after - target, rcond=1e-5)
    if rank < 3:
        return None
    matrix = np.eye(4)
    matrix[:3, :3] = _clean(solution.T)
    matrix[:3, 3] = target - matrix[:3, :3] @ origin
    return matrix


def _clean(linear: np.ndarray) -> np.ndarray:
    """`linear` without the noise of single precision, if it is a rotation and a uniform scale."""
    left, stretch, right = np.linalg.svd(linear)
    if np.linalg.det(linear) <= 0 or not np.allclose(stretch, stretch.mean(), rtol=1e-5):
        return linear
    turn = left @ right
    return stretch.mean() * (np.eye(3) if np.allclose(turn, np.eye(3), atol=1e-6) else turn)


def _transform(cloud: bpy.types.PointCloud, part: np.ndarray, matrix: np.ndarray) -> bool:
    """Transform all of these Gaussians but their positions; whether that is possible."""
    splats = attributes.read(cloud)[part]
    try:
        splats = transforms.transform(replace(splats, positions=np.zeros_like(splats.positions)), matrix)
    except FaceLiftError:  # scaled to zero
        return False
    values = {attributes.SCALE: np.exp(splats.log_scales), attributes.ROTATION: splats.rotations}
    values |= {attributes.sh_name(k): splats.sh[:, k + 1] for k in range(splats.sh.shape[1] - 1)}
    if attributes.NORMAL in cloud.attributes:
        normals = attributes.get_values(cloud, attributes.NORMAL, 3)[part]
        values[attributes.NORMAL] = attributes.turned_normals(normals, matrix[:3, :3])
    for name, found in values.items():
        stored = attributes.get_values(cloud, name, found.shape[1])
        stored[part] = found
        attributes.set_values(cloud, name, stored)
    return True


def follow_all() -> None:
    """For a file that was just loaded."""
    for cloud in bpy.data.pointclouds:
        if _is_ours(cloud):
            follow(cloud)


@persistent
def _updated(scene: bpy.types.Scene, depsgraph: bpy.types.Depsgraph) -> None:
    changed = {update.id.original for update in depsgraph.updates if update.is_updated_geometry}
    clouds = {
        getattr(item, "data", item) for item in changed if isinstance(item, (bpy.types.Object, bpy.types.PointCloud))
    }
    for cloud in clouds:
        if _is_ours(cloud) and not _in_edit_mode(scene, cloud):
            follow(cloud)


def _is_ours(cloud: bpy.types.ID | None) -> bool:
    return isinstance(cloud, bpy.types.PointCloud) and cloud.library is None and attributes.is_splats(cloud)


def _in_edit_mode(scene: bpy.types.Scene, cloud: bpy.types.PointCloud) -> bool:
    """Whether points may be on their way; they are followed once they have arrived."""
    return any(item.data == cloud and item.mode != "OBJECT" for item in scene.objects if item.type == "POINTCLOUD")


def attach() -> None:
    bpy.app.handlers.depsgraph_update_post.append(_updated)


def detach() -> None:
    if _updated in bpy.app.handlers.depsgraph_update_post:
        bpy.app.handlers.depsgraph_update_post.remove(_updated)

"""Fit the face template to the Gaussians of a head."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.spatial import cKDTree

from ..align.landmarks import find_landmarks
from ..errors import FaceLiftError
from ..gaussians.tensors import Gaussians
from ..progress import Cancel, Monitor
from .closing import close_lips, fit_lids, lids_in_photo
from .head_model import HeadModel, Sight, State, remaining_expression
from .rig import FaceMesh
from .surface_fit import pull, vertex_normals
from .template import Template, joints_of, load_template
from .views import look, picture

SIZE, TURNED_SIZE, SIDE_SIZE = 512, 384, 256
"""Pixels of the front view, of the other views with landmarks, and of the rest."""
TURNED = 30.0, -30.0
"""Azimuths of the other views with landmarks, in degrees."""
AROUND = 60.0, -60.0, 90.0, -90.0, 180.0
"""Azimuths of the views that only show the surface."""

AROUND_VERTEX = 60
"""Vertices by which the map from the template to the head is determined."""


def fit_face(gaussians: Gaussians, progress: Callable | None = None, cancelled: Cancel | None = None) -> FaceMesh:
    """Fit the face template to a head.

    Args:
        gaussians: a head in the world of docs/model.md, 5 (Z up, facing −Y, as it was reconstructed), on the CPU.
        progress, cancelled: as of :meth:`facelift_core.FaceLift.reconstruct`; the stage is "face".

    Raises:
        FaceLiftError: there is no face in front of the head.
        Cancelled: `cancelled` returned true.
    """
    report = Monitor("face", progress, cancelled)
    report(0.0, "Finding the face")
    template = load_template()
    front = _sight(gaussians, 0.0, SIZE)
    if front.pixels is None:
        raise FaceLiftError(
            "No face was found in front of this head; use a head as FaceLift made it, neither moved nor turned."
        )
    report(0.2, "Looking at the head")
    sights = [front] + [_sight(gaussians, azimuth, TURNED_SIZE) for azimuth in TURNED]
    report(0.5, "Fitting the face")
    model = HeadModel(template, template.parts["face"])
    state = model.fit(model.start(), sights, lambda vertices: vertex_normals(vertices, template.quads))
    report(0.7, "Looking at the sides")
    around = [sight.view for sight in sights[1:]] + [look(gaussians, azimuth, SIDE_SIZE) for azimuth in AROUND]
    report(0.8, "Fitting the surface")
    return _mesh(model, state, sights, around)


def _sight(gaussians: Gaussians, azimuth: float, size: int) -> Sight:
    landmarks = find_landmarks(picture(gaussians, azimuth, size))
    pixels = None if landmarks is None else landmarks.points[:, :2].astype(np.float64)
    return Sight(look(gaussians, azimuth, size), pixels)


def _mesh(model: HeadModel, state: State, sights: list[Sight], around: list) -> FaceMesh:
    template = model.template
    neutral = model.identity(state)
    smiling = neutral + np.tensordot(state.expression, template.shapes, 1)
    vertices = pull(template, model.place(state, smiling), state.scale, sights[0], around)
    # The shapes turn and grow with the head, and with the surface around each vertex.
    maps = _local_maps(template, smiling, vertices)
    shapes = np.einsum("vij,svj->svi", maps, template.shapes)
    expression = remaining_expression(state, vertices - model.place(state, neutral), shapes, template)
    shapes = fit_lids(template, vertices - np.tensordot(expression, shapes, 1), shapes, state.scale)
    back = -np.tensordot(expression, shapes, 1)
    for index, closed in lids_in_photo(template, vertices, vertices + back, shapes).items():
        expression[index] = closed
    back += close_lips(template, vertices + back, state.scale)
    return FaceMesh(
        vertices=vertices.astype(np.float32),
        quads=template.quads,
        uvs=template.uvs,
        shapes=shapes.astype(np.float32),
        neutral=back.astype(np.float32),
        expression=expression.astype(np.float32),
        joints=joints_of(template, vertices),
        bone_weights=template.bone_weights,
        parts=template.parts,
    )


def _local_maps(template: Template, before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """(V, 3, 3) turns and scalings that bring the surroundings of each vertex of `before` closest to `after`.

    They are fitted to many vertices of the same part at once: means of the maps of single quads, which turn in all
    directions in folds, would shrink.
    """
    maps = np.empty((len(before), 3, 3))
    for part in ("skin", "eyes", "teeth", "tongue"):
        own = template.parts[part]
        near = own[cKDTree(template.vertices[own]).query(template.vertices[own], k=AROUND_VERTEX)[1]]
        some, others = (points[near] - points[near].mean(1, keepdims=True) for points in (before, after))
        left, size, right = np.linalg.svd(np.einsum("vni,vnj->vij", others, some))
        sign = np.linalg.det(left @ right)
        size[:, 2] *= sign
        left[:, :, 2] *= sign[:, None]
        maps[own] = (size.sum(1) / (some**2).sum((1, 2)))[:, None, None] * (left @ right)
    return maps

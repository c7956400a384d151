"""Eyes that can look around: what the photo shows of them on their balls, and the rest made from it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ..gaussians.arrays import SplatArrays
from ..rendering import cameras
from .discs import Layer, layer
from .front import SIDE, FrontView
from .rig import BONES, Binding, FaceMesh
from .samples import front_pixels, quads_of, sample_quads

SPACING = 0.006
"""Distance of the discs, in world units."""
SUNK = 0.02
"""How much smaller than the fitted ball the one is on which the eye is shown, in world units, so that closed lids cover
it: about 3 mm."""
IRIS = 0.49
"""Radius of the iris relative to that of the eyeball: 11.7 of 24 mm."""
BACK = 0.1
"""Least cosine between the view and what is completed of an eyeball; the rest never shows."""
MOST = 0.06
"""Largest distance by which Gaussians are moved onto the eyeball, in world units."""
SCLERA = np.array([0.80, 0.77, 0.76])
"""sRGB in evenly lit portraits, where none of it shows."""
EDGE_SHADE = 0.75
"""Brightness of the white of the eye far from the iris, in the shade of the lids."""
CELLS = 256
RINGS = 12


@dataclass(frozen=True)
class Eyeball:
    """One eye.

    Attributes:
        vertices: (n,) int, of the face mesh.
        center: (3,) world units.
        radius: of the ball on which the eye is shown, in world units.
        iris: (3,) unit vector from the center to the middle of the iris.
    """

    vertices: np.ndarray
    center: np.ndarray
    radius: float
    iris: np.ndarray


def eyeballs(mesh: FaceMesh, view: FrontView) -> list[Eyeball]:
    """The two eyes, with the iris where the picture is darkest."""
    found = []
    for bone in ("eye.L", "eye.R"):
        own = np.flatnonzero(mesh.bone_weights[BONES.index(bone)] > 0.5)
        center, radius = _ball(mesh, bone)
        radius -= SUNK
        found.append(Eyeball(own, center, radius, _find_iris(mesh, view, own, center, radius)))
    return found


def _ball(mesh: FaceMesh, bone: str) -> tuple[np.ndarray, float]:
    """(3,) center and radius of the eyeball that this bone turns."""
    points = mesh.vertices[mesh.bone_weights[BONES.index(bone)] > 0.5].astype(np.float64)
    center = 0.5 * (points.min(0) + points.max(0))
    return center, float(np.median(np.linalg.norm(points - center, axis=1)))


def put_on_eyeballs(gaussians: SplatArrays, binding: Binding, eyes: list[Eyeball]) -> SplatArrays:
    """Move the Gaussians that follow an eye along the camera's rays onto its ball, so that they turn with it."""
    positions = gaussians.positions.astype(np.float64)
    camera = np.array([0.0, -cameras.RADIUS, 0.0])
    for eye in eyes:
        own = np.flatnonzero(np.isin(binding.corners[:, 0], eye.vertices))
        rays = positions[own] - camera
        distance = np.linalg.norm(rays, axis=1)
        rays /= distance[:, None]
        hit = _hits(rays, camera, eye)
        # What lies behind the front of its pixel keeps its distance to it.
        behind = distance - _front_of_cell(positions[own], distance)
        moved = np.clip(hit + behind - distance, -MOST, MOST)
        positions[own] += np.where(np.isfinite(moved), moved, 0.0)[:, None] * rays
    return replace(gaussians, positions=positions.astype(np.float32))


def hidden_eye(mesh: FaceMesh, view: FrontView, eye: Eyeball) -> Layer:
    """The front of the eyeball where lids hide it: iris as on the visible side, and the white."""
    quads = quads_of(mesh, "eyes")
    samples = sample_quads(mesh, quads[np.isin(mesh.quads[quads, 0], eye.vertices)], SPACING)
    shown = np.isin(view.quads_at(samples.points), quads)
    samples = samples[(samples.normals[:, 1] < -BACK) & ~shown]
    directions = _directions(samples.points, eye)
    opening = _opening(mesh, view, eye)
    return layer(samples, _eye_colors(directions, eye, opening, view), SUNK)


@dataclass(frozen=True)
class _Opening:
    """What the front camera sees of an eyeball: directions from its center (N, 3), and colors (N, 3)."""

    directions: np.ndarray
    colors: np.ndarray


def _opening(mesh: FaceMesh, view: FrontView, eye: Eyeball) -> _Opening:
    rows, columns = _pixels_of(mesh, view, eye.vertices)
    focal, _, cx, cy = cameras.intrinsics(SIDE).tolist()
    camera = np.array([0.0, -cameras.RADIUS, 0.0])
    rays = np.stack([(columns + 0.5 - cx) / focal, np.ones(len(rows)), (cy - rows - 0.5) / focal], -1)
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    hit = _hits(rays, camera, eye)
    met = np.isfinite(hit)
    points = camera + hit[met, None] * rays[met]
    return _Opening(_directions(points, eye), view.picture[rows[met], columns[met]])


def _eye_colors(directions: np.ndarray, eye: Eyeball, opening: _Opening, view: FrontView) -> np.ndarray:
    """(N, 3) colors in these directions from the center of the eye."""
    edge = np.arcsin(IRIS)
    angle, seen = (np.arccos(np.clip(of @ eye.iris, -1, 1)) for of in (directions, opening.directions))
    white = opening.colors[seen > 1.2 * edge]
    sclera = SCLERA * view.light
    if len(white) > RINGS:
        brightness = white.mean(1)
        sclera = np.median(white[brightness >= np.quantile(brightness, 0.5)], axis=0)
    shade = 1 - (1 - EDGE_SHADE) * np.clip((angle - edge) / (1.2 - edge), 0, 1)
    colors = sclera * shade[:, None]
    rings = np.minimum((seen / edge * RINGS).astype(int), RINGS)
    profile = np.array([
        np.median(opening.colors[rings == ring], axis=0) if (rings == ring).any() else np.full(3, np.nan)
        for ring in range(RINGS)
    ])  # fmt: skip
    known = np.flatnonzero(np.isfinite(profile[:, 0]))
    if not len(known):
        return colors
    at = angle / edge * RINGS - 0.5
    iris = np.stack([np.interp(at, known, profile[known, channel]) for channel in range(3)], -1)
    inside = np.clip((edge - angle) / 0.06 + 0.5, 0, 1)[:, None]
    return inside * iris + (1 - inside) * colors


def _find_iris(mesh: FaceMesh, view: FrontView, own: np.ndarray, center: np.ndarray, radius: float) -> np.ndarray:
    """Direction to the middle of the iris: where a disc of its size is darkest against the ring around it."""
    forward = np.array([0.0, -1.0, 0.0])
    eye = Eyeball(own, center, radius, forward)
    opening = _opening(mesh, view, eye)
    if len(opening.colors) < 20:
        return forward
    gray = opening.colors.mean(1)
    edge, best, found = np.arcsin(IRIS), -np.inf, forward
    for sideways in np.radians(np.arange(-36, 37, 3)):
        for up in np.radians(np.arange(-24, 25, 3)):
            direction = np.array([np.sin(sideways) * np.cos(up), -np.cos(sideways) * np.cos(up), np.sin(up)])
            angle = np.arccos(np.clip(opening.directions @ direction, -1, 1))
            inside, around = angle < edge, (angle >= edge) & (angle < 1.6 * edge)
            if inside.sum() < 10:
                continue
            ring = gray[around].mean() if around.sum() > 5 else gray.mean()
            score = (ring - gray[inside].mean()) * np.sqrt(inside.sum()) - 0.02 * (sideways**2 + up**2)
            if score > best:
                best, found = score, direction
    return found


def _pixels_of(mesh: FaceMesh, view: FrontView, own: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the pixels that show these vertices' quads."""
    chosen = np.isin(mesh.quads[:, 0], own)
    return np.nonzero((view.quads >= 0) & chosen[view.quads])


def _directions(points: np.ndarray, eye: Eyeball) -> np.ndarray:
    offset = points - eye.center
    return offset / np.maximum(np.linalg.norm(offset, axis=1, keepdims=True), 1e-9)


def _hits(rays: np.ndarray, camera: np.ndarray, eye: Eyeball) -> np.ndarray:
    """(N,) distance along unit rays at which they enter the ball; NaN where they miss it."""
    to_center = eye.center - camera
    along = rays @ to_center
    inside = eye.radius**2 - (to_center @ to_center - along**2)
    return along - np.sqrt(np.where(inside >= 0, inside, np.nan))


def _front_of_cell(positions: np.ndarray, distance: np.ndarray) -> np.ndarray:
    """(N,) the least distance in the pixel of each position, in a front view of :data:`CELLS`² pixels."""
    pixels, _ = front_pixels(positions, CELLS)
    _, cell = np.unique(np.floor(pixels).astype(int), axis=0, return_inverse=True)
    nearest = np.full(cell.max(initial=0) + 1, np.inf)
    np.minimum.at(nearest, cell.ravel(), distance)
    return nearest[cell.ravel()]

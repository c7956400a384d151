"""The inside of the mouth, the inner lips and the folds of the lids: what shows when a face moves, but not at rest."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
from scipy.spatial import cKDTree

from ..gaussians.arrays import SplatArrays
from ..gaussians.tensors import Gaussians
from .deform import deformed_vertices
from .discs import Layer, layer
from .front import NOMINAL, SIDE, FrontView
from .parted_lips import BLUR, edges_of_lips, find_opening, quads_inside_mouth
from .rig import SHAPES, FaceMesh
from .samples import Samples, front_depth, front_pixels, quads_of, sample_quads
from .template import Template
from .views import View, look, showing

MOUTH, TONGUE, GUM, ENAMEL = (0.32, 0.12, 0.12), (0.66, 0.36, 0.36), (0.60, 0.32, 0.32), (0.85, 0.82, 0.75)
"""sRGB in evenly lit portraits."""
SPACING = {"skin": 0.012, "mouth": 0.010, "tongue": 0.012, "teeth": 0.004, "lids": 0.004, "lips": 0.006}
"""Distance of the discs in world units."""
NOSTRILS, EARS = 0.684, 0.04
"""Height on the base mesh below which hidden skin is in the mouth, and distance from the middle within which, in
meters."""
LIDS_SPREAD = 1.6
"""Lids unfold by more than Gaussians stretch."""
LID_BRIGHTNESS, NEIGHBORS, AROUND_LIDS = 0.8, 24, 0.06
"""Lids take the colors of the nearest skin that is at least so bright relative to all within that distance of the eye,
in world units: no lashes."""
CORNERS = 0.020
"""Distance from the middle on the base mesh, in meters, beyond which inner lips are left out: they would show at the
corners of a pursed mouth."""
THIN = 0.05
"""Distance from the skin up to which the inside of the mouth is colored more like the lips, in world units."""
DEPTH = 0.06
"""How far behind the front teeth it is dark, in meters on the template."""
ARCH = np.array([[0, 0.1487], [0.0083, 0.1487], [0.0168, 0.1435], [0.0216, 0.1355], [0.0252, 0.1275], [0.0283, 0.1185],
                 [0.0292, 0.111], [0.0306, 0.104], [0.031, 0.096]])  # fmt: skip
"""The arch of the teeth on the template, seen from above: distance from the middle and forward, in meters."""
WIDTHS = {"upper": (8.5, 6.5, 7.5, 7, 7, 10, 10), "lower": (5.3, 5.8, 6.8, 7, 7, 11, 10.5)}
"""Widths of teeth from the middle, in millimeters."""
GUM_LINE = {"upper": 0.6795, "lower": 0.6505}
"""Heights on the template, in meters."""
MOST_TINT, TEETH_BRIGHTNESS, LEAST_TEETH = 0.3, 0.9, 60
"""Teeth in the photo: the largest difference between their channels, relative to the brightest; how bright they are,
relative to the skin; and how many pixels have to show them."""
SKIN_TINT = (1.25, 0.95, 0.80)
"""Channels of skin relative to their mean, in white light. Half of what differs counts as the tint of the light."""
GAP, GAP_DEPTH = 0.0005, 0.35
"""Half width of the dark line between two teeth in meters, and how dark it is."""
BELOW, BELOW_LIDS = 0.012, 0.018
"""How far inner lips and lids lie behind the fitted surface, in world units: about 2 mm."""
BELOW_LIPS, LIP_NEIGHBORS = 0.020, 6
"""How far more of the lips lies behind them, and of how many points of the skin it has the median color."""
BELOW_FACE, FRONTAL = 0.03, 0.3
"""How far below the face more skin lies, and the least cosine of its normal to the direction of the camera."""
COVERED = 1.5
"""Pixels from the opening of the mouth at which the lips cover what lies behind them."""
EXPRESSIONS = (
    (0.0, {"mouthSmileLeft": 0.7, "mouthSmileRight": 0.7}), (0.0, {"mouthPucker": 0.9}), (0.0, {"jawOpen": 0.7}),
    (1.0, {}), (1.0, {"mouthSmileLeft": 0.7, "mouthSmileRight": 0.7}), (1.0, {"mouthPucker": 0.9}),
)  # fmt: skip
"""How much the expression of the photo is taken back, and what is added, where the walls of a mouth could come through
the skin."""
SIDES, LOOK_SIZE = (60.0, -60.0, 90.0, -90.0), 256
"""Azimuths in degrees of the views from beside the head, and their pixels."""
ABOVE = 0.1
"""How far above and below what it covers a Gaussian of the head may be, in world units."""
SHOWN = 0.03
"""Share of a pixel above which the inside of a mouth shows through a cheek."""
OFF = 0.08
"""Distance in world units of the mesh from the head above which the front camera sees something else there, such as
the background beside a cheek, or hair."""
HIDDEN_BEHIND = 0.01
"""What is this much farther than what the camera sees is hidden, in world units."""
INNER_LIP = np.array([0.85, 0.70, 0.70])
"""Factors for the colors of the lips where they turn inward."""


def hidden_parts(mesh: FaceMesh, template: Template, view: FrontView, head: Gaussians) -> Layer:
    """Teeth, tongue, the cavity of the mouth, the inner lips, and the lids' folds.

    At rest they lie behind lips and lids, or where an open mouth shows something, behind that.

    Args:
        head: the Gaussians between which none of this shows from beside.
    """
    outside = sample_quads(mesh, quads_of(mesh, "outside"), SPACING["skin"])
    seen = outside[_seen(outside, mesh, view) & _on_head(outside.points, look(head, 0.0, LOOK_SIZE))]
    hidden = np.setdiff1d(quads_of(mesh, "skin"), quads_of(mesh, "outside"))
    place = template.base[template.quads[hidden]].mean(1)
    mouth = hidden[(place[:, 2] < NOSTRILS) & (np.abs(place[:, 0]) < EARS)]
    samples = sample_quads(mesh, mouth, SPACING["mouth"])
    distance, nearest = cKDTree(seen.points).query(samples.points)
    across = np.abs(np.einsum("nk,nk->n", samples.shares, template.base[samples.corners, 0]))
    kept = (across < CORNERS) | (distance > THIN)
    samples, distance, nearest = samples[kept], distance[kept], nearest[kept]
    lips = view.colors(seen.points[nearest]) * INNER_LIP
    share = np.clip((distance - BELOW) / (THIN - BELOW), 0, 1)[:, None]
    colors = (1 - share) * lips + share * _shaded(np.array(MOUTH), samples, template, view)
    walls = layer(samples, colors, BELOW, behind=BELOW)
    teeth, tongue = (_inside(part, mesh, template, view) for part in ("teeth", "tongue"))
    inside = Layer.joined([teeth, tongue, walls.of(~_comes_through(walls, mesh))])
    between_lips = np.isin(view.quads_at(teeth.gaussians.positions), quads_inside_mouth(mesh))
    stays = np.concatenate([between_lips, np.zeros(len(inside.gaussians) - len(teeth.gaussians), bool)])
    inside = inside.of(stays | ~_shows_beside(inside.gaussians, head))
    face = _face(mesh, seen, view)
    face = face.of(~_before_sides(face.gaussians, head))
    return Layer.joined([inside, _lips(mesh, seen, view), face, _lids(mesh, seen, view)])


def _shows_beside(inner: SplatArrays, head: Gaussians) -> np.ndarray:
    """(N,) whether the inside of a mouth shows at the side of the head, where that may be thin."""
    head, shown = _at_height(head, inner), np.zeros(len(inner), bool)
    for azimuth in SIDES:
        for _ in range(2):  # again, for what the first ones covered
            left = np.flatnonzero(~shown)
            now = showing(inner[left].to_gaussians(), head, azimuth, LOOK_SIZE) > SHOWN
            if not now.any():
                break
            shown[left] = now
    return shown


def _at_height(head: Gaussians, some: SplatArrays) -> Gaussians:
    """Those of the head's Gaussians that can cover `some` of its inside from beside."""
    low, high = some.positions[:, 2].min() - ABOVE, some.positions[:, 2].max() + ABOVE
    near = (head.positions[:, 2] > low) & (head.positions[:, 2] < high)
    return Gaussians(**{name: values[near] for name, values in vars(head).items()})


def _before_sides(some: SplatArrays, head: Gaussians) -> np.ndarray:
    """(N,) whether Gaussians lie before or beside the surface of the head from any side."""
    before, head = np.zeros(len(some), bool), _at_height(head, some)
    for azimuth in SIDES:
        side = look(head, azimuth, LOOK_SIZE)
        surface, _, exists = side.surface_at(some.positions)
        before |= ~exists | (side.depth(some.positions) < side.depth(surface))
    return before


def _on_head(points: np.ndarray, surface: View) -> np.ndarray:
    """(N,) whether the pixels at which the front camera sees (N, 3) points show the head at their depth."""
    inner = replace(surface, solid=cv2.erode(surface.solid.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0)
    places, _, exists = inner.surface_at(points)
    return exists & (np.abs(surface.depth(points) - surface.depth(places)) < OFF)


def _comes_through(inner: Layer, mesh: FaceMesh) -> np.ndarray:
    """(N,) whether any of :data:`EXPRESSIONS` brings Gaussians of the mouth's walls before the skin."""
    skin = np.union1d(quads_of(mesh, "outside"), edges_of_lips(mesh))
    through = np.zeros(len(inner.gaussians), bool)
    for neutral, weights in EXPRESSIONS:
        strengths = np.array([weights.get(name, 0.0) for name in SHAPES])
        moved = deformed_vertices(mesh, strengths, neutral)
        motion = np.einsum("nk,nkc->nc", inner.binding.shares, (moved - mesh.vertices)[inner.binding.corners])
        pixels, depth = front_pixels(inner.gaussians.positions + motion, SIDE)
        column, row = np.clip(np.floor(pixels), 0, SIDE - 1).astype(int).T
        cover = front_depth(replace(mesh, vertices=moved), skin, SIDE)[row, column]
        through |= np.isfinite(cover) & (depth < cover)
    return through


def _lips(mesh: FaceMesh, seen: Samples, view: FrontView) -> Layer:
    """More of the lips just behind them, for where they are stretched or close over an open mouth."""
    samples = sample_quads(mesh, np.union1d(quads_of(mesh, "lips"), edges_of_lips(mesh)), SPACING["lips"])
    opening = find_opening(mesh, view)
    if opening is not None:
        samples, seen = (
            some[opening.distance(front_pixels(some.points, SIDE)[0]) > pixels]
            for some, pixels in ((samples, COVERED), (seen, BLUR))
        )
    nearest = cKDTree(seen.points).query(samples.points, LIP_NEIGHBORS)[1]
    return layer(samples, np.median(view.colors(seen.points)[nearest], axis=1), behind=BELOW_LIPS)


def _lids(mesh: FaceMesh, seen: Samples, view: FrontView) -> Layer:
    """The folds of the lids, colored as the skin around the same eye, without lashes and brows."""
    lids = sample_quads(mesh, quads_of(mesh, "eyelids"), SPACING["lids"])
    seen = seen[~np.isin(seen.quads, quads_of(mesh, "eyelids"))]
    colors, skin = view.colors(seen.points), np.zeros((len(lids), 3))
    for side in (lids.points[:, 0] > 0, lids.points[:, 0] <= 0):
        around = cKDTree(lids.points[side]).query(seen.points)[0] < AROUND_LIDS
        brightness = colors[around].mean(1)
        bare = np.flatnonzero(around)[brightness > LID_BRIGHTNESS * np.median(brightness)]
        nearest = cKDTree(seen.points[bare]).query(lids.points[side], NEIGHBORS)[1]
        skin[side] = np.median(colors[bare][nearest], axis=1)
    return layer(lids, skin, behind=BELOW_LIDS, spread=LIDS_SPREAD)


def _face(mesh: FaceMesh, seen: Samples, view: FrontView) -> Layer:
    """More skin below the face, for where the Gaussians of the head are few and come apart."""
    quads = np.setdiff1d(quads_of(mesh, "face"), quads_of(mesh, "lips", "eyelids"))
    samples = sample_quads(mesh, quads, SPACING["skin"])
    lids = cKDTree(mesh.vertices[mesh.parts["eyelids"]]).query(samples.points)[0]  # they have skin of their own
    samples = samples[(samples.normals[:, 1] < -FRONTAL) & (lids > AROUND_LIDS)]
    nearest = cKDTree(seen.points).query(samples.points, LIP_NEIGHBORS)[1]
    return layer(samples, np.median(view.colors(seen.points)[nearest], axis=1), BELOW_FACE)


def _inside(part: str, mesh: FaceMesh, template: Template, view: FrontView) -> Layer:
    samples = sample_quads(mesh, quads_of(mesh, part), SPACING[part])
    colors = np.array(TONGUE) if part == "tongue" else _teeth(samples, template, enamel(mesh, view))
    return layer(samples, _shaded(colors, samples, template, view))


def _shaded(colors: np.ndarray, samples: Samples, template: Template, view: FrontView) -> np.ndarray:
    """(N, 3) colors in the light of the photo, of which less reaches the back of the mouth."""
    forward = -np.einsum("nk,nk->n", samples.shares, template.base[samples.corners, 1])
    shade = np.clip(1 - (ARCH[0, 1] - forward) / DEPTH, 0.25, 1) * view.light
    return colors * shade[:, None]


def _seen(samples: Samples, mesh: FaceMesh, view: FrontView) -> np.ndarray:
    """(N,) whether the front camera sees each point of the mesh."""
    shown = view.quads_at(samples.points)
    _, depth = front_pixels(mesh.vertices, 1)
    nearest = depth[mesh.quads[shown]].mean(1)
    _, own = front_pixels(samples.points, 1)
    return (samples.normals[:, 1] < 0) & ((shown == samples.quads) | (own < nearest + HIDDEN_BEHIND))


def enamel(mesh: FaceMesh, view: FrontView) -> np.ndarray:
    """(3,) sRGB of teeth in even light: of those that the photo shows, else in the tint of the light on the face."""
    opening = find_opening(mesh, view)
    if opening is not None:
        inside = view.picture[opening.rows, opening.columns][opening.depth > BLUR]
        white = np.ptp(inside, axis=1) < MOST_TINT * inside.max(1)
        teeth = inside[white & (inside.mean(1) > TEETH_BRIGHTNESS * view.light * NOMINAL)]
        if len(teeth) >= LEAST_TEETH:
            return np.median(teeth, axis=0) / view.light
    skin = np.median(view.colors(mesh.vertices[mesh.parts["face"]]), axis=0)
    tint = np.sqrt(skin / skin.mean().clip(1e-3) / np.array(SKIN_TINT))
    return np.array(ENAMEL) * tint


def _teeth(samples: Samples, template: Template, enamel: np.ndarray) -> np.ndarray:
    """(N, 3) colors of the points on teeth and gums."""
    on_template = np.einsum("nk,nkc->nc", samples.shares, template.base[samples.corners])
    opened = template.shapes[SHAPES.index("jawOpen")]
    moved = np.linalg.norm(np.einsum("nk,nkc->nc", samples.shares, opened[samples.corners]), axis=1)
    lower = moved > 0.5 * moved.max()
    along = _along_arch(on_template)
    colors = np.empty((len(samples), 3))
    for jaw, own in (("upper", ~lower), ("lower", lower)):
        borders = np.concatenate([[0], np.cumsum(WIDTHS[jaw])]) / 1000
        distance = np.abs(along[own, None] - borders).min(1)
        gap = 1 - GAP_DEPTH * np.exp(-((distance / GAP) ** 2))
        side = 1 if jaw == "upper" else -1
        gum = np.clip(0.5 + side * (on_template[own, 2] - GUM_LINE[jaw]) / 0.001, 0, 1)[:, None]
        colors[own] = (1 - gum) * enamel * gap[:, None] + gum * np.array(GUM)
    return colors


def _along_arch(on_template: np.ndarray) -> np.ndarray:
    """(N,) distance from the middle along the arch of the teeth, in meters."""
    fine = np.linspace(0, 1, 200)
    length = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(ARCH, axis=0), axis=1))])
    at = fine * length[-1]
    curve = np.stack([np.interp(at, length, ARCH[:, axis]) for axis in (0, 1)], -1)
    place = np.stack([np.abs(on_template[:, 0]), -on_template[:, 1]], -1)
    return at[cKDTree(curve).query(place)[1]]

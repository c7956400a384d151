"""Choose the vertices of the face mesh that each Gaussian follows."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
from scipy.spatial import cKDTree

from ..gaussians.arrays import SplatArrays
from ..rendering import cameras
from .front import SIDE, FrontView
from .parted_lips import edges_of_lips, quads_inside_mouth, sort_by_lips
from .rig import CORNERS, SHAPES, Binding, FaceMesh
from .samples import HIDDEN, Samples, front_depth, front_pixels, quads_of, sample_quads

SPACING = 0.006
"""Distance in world units of the points on the mesh among which the nearest is searched."""
NEAR, FAR = 0.05, 0.10
"""Distances from the skin, in world units (.05 is about 8 mm), between which Gaussians stop following expressions:
farther ones are hair, a hat or clothes."""
STILL = 0.004
"""Vertices that no shape moves by more than this, in world units, hold what is far from the skin."""
RIM, LASHES, LIDS = 4, 13, 28
"""Pixels of the front view around the opening of the lids. Up to the first, what is brighter than the lids is white of
the eye, since the fit is no better than that. Up to the second, what is darker is lashes, which move with the edge of
the lid and do not stretch over it. The skin of the lids lies between the second and the third."""
BLINKS = ("eyeBlinkLeft", "eyeBlinkRight")
COARSE = 0.007
"""Standard deviation in world units above which a Gaussian is none of the photo's pixels, no lash, but behind them."""
CONTRAST = 0.06
"""Least difference in brightness, in [0, 1]."""
WIDE_OPEN = 0.45
"""Strength of jawOpen in the photo above which lower teeth and tongue show, too."""
DEEP = 0.12
"""Distance in world units up to which a Gaussian in front of or behind the eyes or the inside of the mouth belongs to
them, if the front camera sees it there."""

THIN = 0.02
"""The same for the edges of the lips; farther behind, it moves with the outside of the lips, and stays behind it."""
FARTHER = 0.015
"""How much farther back coarse Gaussians go than fine ones, as a fraction of their distance from the camera."""
BEHIND = 0.03
"""Distance in world units from closed lips to what is behind them."""


def bind(gaussians: SplatArrays, mesh: FaceMesh, view: FrontView) -> tuple[Binding, np.ndarray]:
    """Bind the Gaussians of a head to its face mesh at rest. Returns also the indices of those inside the mouth.

    Skin follows the nearest place of the mesh. What the front camera sees through the opening of the lids follows the
    eyeball, and what it sees between the lips follows teeth and tongue. Hair and clothes follow the nearest vertices
    that no expression moves.
    """
    positions = gaussians.positions
    binding, distance = _nearest(positions, sample_quads(mesh, quads_of(mesh, "outside"), SPACING))
    _hold(binding, mesh, positions, ((distance - NEAR) / (FAR - NEAR)).clip(0, 1))
    shown = _shown_quads(positions, view.quads)
    sort_by_lips(shown, gaussians, mesh, view)
    _edges_of_lids(binding, shown, gaussians, mesh, view.quads)
    eyes, edges = quads_of(mesh, "eyes"), edges_of_lips(mesh)
    _follow_instead(binding, positions, np.isin(shown, edges), mesh, edges, THIN)
    _follow_instead(binding, positions, np.isin(shown, eyes), mesh, eyes, DEEP)
    in_mouth = np.isin(shown, quads_inside_mouth(mesh))
    return binding, _follow_instead(binding, positions, in_mouth, mesh, _inside_of_mouth(mesh), DEEP)


def _follow_instead(
    binding: Binding, positions: np.ndarray, some: np.ndarray, mesh: FaceMesh, quads: np.ndarray, farthest: float
) -> np.ndarray:
    """Bind `some`, (N,) bool, to these quads, in place, where they are not too far; returns the indices of those."""
    some = np.flatnonzero(some)
    if not len(some):
        return some
    found, distance = _nearest(positions[some], sample_quads(mesh, quads, SPACING))
    own = distance < farthest
    binding.corners[some[own]], binding.shares[some[own]] = found.corners[own], found.shares[own]
    return some[own]


def behind_lips(gaussians: SplatArrays, binding: Binding, inside: np.ndarray, mesh: FaceMesh) -> SplatArrays:
    """Move what shows between the lips back along the camera's rays, so that the lips can close before it.

    It goes to the teeth, or where these stand out, behind the closed lips; coarse Gaussians farther, since they filled
    the gaps between fine ones from behind.
    """
    camera = np.array([0.0, -cameras.RADIUS, 0.0])
    rays = gaussians.positions[inside] - camera
    distance = np.linalg.norm(rays, axis=1)
    foot = np.einsum("nk,nkc->nc", binding.shares[inside], mesh.vertices[binding.corners[inside]])
    teeth = np.einsum("nc,nc->n", foot - camera, rays) / distance
    closed = replace(mesh, vertices=mesh.vertices + mesh.neutral)
    lips = front_depth(closed, np.union1d(quads_of(mesh, "outside"), edges_of_lips(mesh)), SIDE)
    pixels, depth = front_pixels(gaussians.positions[inside], SIDE)
    column, row = np.clip(np.floor(pixels), 0, SIDE - 1).astype(int).T
    lips = np.where(np.isfinite(lips), lips + BEHIND, 0)[row, column]
    factor = np.clip(np.maximum(teeth / distance, lips / depth), 1.0, 1.0 + DEEP).astype(np.float32)
    factor += FARTHER * (np.exp(gaussians.log_scales[inside].max(1)) > COARSE)
    positions, log_scales = gaussians.positions.copy(), gaussians.log_scales.copy()
    positions[inside] = camera + rays * factor[:, None]
    log_scales[inside] += np.log(factor)[:, None]
    return replace(gaussians, positions=positions.astype(np.float32), log_scales=log_scales)


def _inside_of_mouth(mesh: FaceMesh) -> np.ndarray:
    """Quads that what shows between the lips follows: the upper teeth, and in a wide open mouth the lower, too."""
    teeth = quads_of(mesh, "teeth")
    jaw = SHAPES.index("jawOpen")
    if mesh.expression[jaw] > WIDE_OPEN:
        return np.union1d(teeth, quads_of(mesh, "tongue"))
    motion = np.linalg.norm(mesh.shapes[jaw][mesh.quads[teeth]], axis=2).max(1)
    return teeth[motion < 0.5 * motion.max()]


def _shown_quads(positions: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """(N,) the quad that the front camera sees where it looks at each position, or -1; `seen` as of `front_quads`."""
    pixels, depth = front_pixels(positions, SIDE)
    column, row = np.floor(pixels).astype(np.int64).T
    framed = (depth > 0.1) & (0 <= column) & (column < SIDE) & (0 <= row) & (row < SIDE)
    shown = np.full(len(positions), HIDDEN, np.int64)
    shown[framed] = seen[row[framed], column[framed]]
    return shown


def _edges_of_lids(
    binding: Binding, shown: np.ndarray, gaussians: SplatArrays, mesh: FaceMesh, seen: np.ndarray
) -> None:
    """At the edges of the lids, bind lashes to the edge, and count what is bright as shown through the opening."""
    opening = np.isin(seen, quads_of(mesh, "eyes"))
    if not opening.any():
        return
    distance, label = cv2.distanceTransformWithLabels(
        (~opening).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    of_label = np.zeros(label.max() + 1, np.int64)
    of_label[label[opening]] = seen[opening]
    pixels, depth = front_pixels(gaussians.positions, SIDE)
    column, row = np.clip(np.floor(pixels), 0, SIDE - 1).astype(np.int64).T
    surface = front_pixels(mesh.vertices[mesh.parts["eyelids"]], SIDE)[1]
    near = np.flatnonzero((distance[row, column] < LIDS) & (np.abs(depth - surface.mean()) < DEEP))
    away, brightness = distance[row[near], column[near]], gaussians.colors[near].mean(1)
    skin = away > LASHES
    if not skin.any():
        return
    typical = np.median(brightness[skin])
    bright = near[(away > 0) & (away <= RIM) & (brightness > typical + CONTRAST)]
    shown[bright] = of_label[label[row[bright], column[bright]]]
    dark = (away > 0) & (away <= LASHES) & (brightness < typical - CONTRAST)
    coarse = np.exp(gaussians.log_scales[near]).max(1) > COARSE
    dark, behind = near[dark & ~coarse], near[dark & coarse]
    shown[behind] = of_label[label[row[behind], column[behind]]]
    beside = cv2.dilate(opening.astype(np.uint8), np.ones((3, 3), np.uint8)) > opening
    quads = np.intersect1d(np.unique(seen[beside]), quads_of(mesh, "skin"))
    if len(dark) and len(quads):
        edge, _ = _nearest(gaussians.positions[dark], sample_quads(mesh, quads, SPACING))
        motion = np.linalg.norm(mesh.shapes[[SHAPES.index(name) for name in BLINKS]], axis=2).max(0)
        binding.corners[dark], binding.shares[dark] = edge.corners, _on_edge(edge.shares, motion[edge.corners])


def _on_edge(shares: np.ndarray, motion: np.ndarray) -> np.ndarray:
    """Move the shares (N, 4) of quads onto that side of each whose vertices move most, by `motion` (N, 4)."""
    first = (motion + np.roll(motion, -1, axis=1)).argmax(1)  # the side from this corner to the next
    rows = np.arange(len(shares))
    order = (first[:, None] + np.arange(4)) % 4
    along = np.take_along_axis(shares, order, axis=1)
    moved = np.zeros_like(shares)
    moved[rows, order[:, 0]] = along[:, 0] + along[:, 3]
    moved[rows, order[:, 1]] = along[:, 1] + along[:, 2]
    return moved


def follow_samples(samples: Samples) -> Binding:
    """The binding of Gaussians that lie on these points of the mesh."""
    return Binding(samples.corners.astype(np.int32), samples.shares.copy())


def _nearest(positions: np.ndarray, samples: Samples) -> tuple[Binding, np.ndarray]:
    """The binding to the nearest point of the mesh, and the distance to it."""
    distance, index = cKDTree(samples.points).query(positions, workers=-1)
    return follow_samples(samples[index]), distance


def _hold(binding: Binding, mesh: FaceMesh, positions: np.ndarray, share: np.ndarray) -> None:
    """Bind to vertices that no expression moves, in place: wholly where `share` is 1, else by this share."""
    motion = np.linalg.norm(mesh.shapes, axis=2).max(0)
    still = np.intersect1d(np.flatnonzero(motion < STILL), mesh.parts["skin"])
    tree = cKDTree(mesh.vertices[still])
    wholly = np.flatnonzero(share >= 1)
    distance, index = tree.query(positions[wholly], CORNERS, workers=-1)
    weight = 1 / np.maximum(distance, 1e-4)
    binding.corners[wholly] = still[index]
    binding.shares[wholly] = weight / weight.sum(1, keepdims=True)
    # Between, one vertex that stays still takes the place of the corner with the least weight.
    partly = np.flatnonzero((share > 0) & (share < 1))
    least = binding.shares[partly].argmin(1)
    binding.shares[partly, least] = 0
    binding.shares[partly] /= binding.shares[partly].sum(1, keepdims=True)
    binding.shares[partly] *= (1 - share[partly])[:, None]
    binding.shares[partly, least] = share[partly]
    binding.corners[partly, least] = still[tree.query(positions[partly], workers=-1)[1]]

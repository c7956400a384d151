"""Where the lips of a photo part: the fit knows it within some pixels, the picture better."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from scipy.spatial import cKDTree

from ..gaussians.arrays import SplatArrays
from ..rendering import cameras
from .front import SIDE, FrontView
from .rig import FaceMesh
from .samples import HIDDEN, front_pixels, quads_of

RIM = 7
"""Pixels of the front view by which the true edge of the lips may be off the mesh's."""
CORE = 0.6
"""Share of the deepest point of the opening beyond which all is inside the mouth, if that is less than the rim."""
NARROW, LEAST = 2.5, 40
"""Half the height of an opening and the size of its core, in pixels, below which lips count as closed."""
MARGIN = 40
"""Pixels around the lips from which the colors of skin are taken."""
ROUNDS = 5
GRAIN = 5
"""Side in pixels of the median that smooths the edge in the picture."""
ALONG, AROUND = 8.0, 16.0
"""Pixels over which the corrections of the edge are averaged, and over which they fade in the skin around it."""
PASSES = 2
BLUR = 3
"""Pixels on both sides of the edge over which the render mixes the colors of lips and teeth. There, a Gaussian's own
color tells where it belongs."""
NEARBY = 4.0
"""Standard deviation in pixels of the surroundings whose colors it is compared with."""
LIP, CLEAR = 0.25, 0.08
"""A Gaussian belongs to the lip if its color is off the lip's by no more than this share of the difference between lip
and teeth, or by no more than this brightness; what is mixed would show on closed lips."""


@dataclass(frozen=True)
class Opening:
    """The opening between the lips in a cut-out of the front view.

    Attributes:
        rows, columns: the cut-out.
        of_mesh: (h, w) bool, where the mesh shows the inside of the mouth.
        of_picture: (h, w) bool, where the picture does.
    """

    rows: slice
    columns: slice
    of_mesh: np.ndarray
    of_picture: np.ndarray

    @property
    def depth(self) -> np.ndarray:
        """(h, w) float32: pixels from the edge of the opening in the picture, negative outside of it."""
        return _distance(self.of_picture) - _distance(~self.of_picture)

    def distance(self, pixels: np.ndarray) -> np.ndarray:
        """(N,) distance of (N, 2) pixels of the front view from the opening in the picture; 0 inside."""
        column, row = np.floor(pixels).astype(np.int64).T
        height, width = self.of_picture.shape
        row, column = row - self.rows.start, column - self.columns.start
        return -self.depth[row.clip(0, height - 1), column.clip(0, width - 1)].clip(None, 0)


def edges_of_lips(mesh: FaceMesh) -> np.ndarray:
    """Numbers of the quads where the lips turn inward: parted lips show them, closed ones press them together."""
    outside, lips = np.zeros((2, len(mesh.vertices)), bool)
    outside[mesh.parts["outside"]], lips[mesh.parts["lips"]] = True, True
    count = outside[mesh.quads].sum(1)
    return np.flatnonzero((count >= 2) & (count < 4) & lips[mesh.quads].any(1))


def quads_inside_mouth(mesh: FaceMesh) -> np.ndarray:
    """Numbers of the quads of teeth and tongue, and of the skin that only open lips show."""
    hidden = np.setdiff1d(quads_of(mesh, "skin"), quads_of(mesh, "outside"))
    return np.setdiff1d(np.union1d(quads_of(mesh, "teeth", "tongue"), hidden), edges_of_lips(mesh))


def find_opening(mesh: FaceMesh, view: FrontView) -> Opening | None:
    """Find the opening between the lips, or None if they are closed or almost so."""
    rows, columns = _around_lips(mesh)
    opening = _largest(np.isin(view.quads[rows, columns], quads_inside_mouth(mesh)))
    depth = _distance(opening)
    core = depth > min(RIM, CORE * depth.max())
    if depth.max(initial=0) < NARROW or core.sum() < LEAST:
        return None
    near = _distance(~opening) <= RIM
    mask = np.where(near, cv2.GC_PR_BGD, cv2.GC_BGD).astype(np.uint8)
    mask[opening], mask[core] = cv2.GC_PR_FGD, cv2.GC_FGD
    colors = (255 * view.picture[rows, columns]).clip(0, 255).round().astype(np.uint8)
    cv2.setRNGSeed(0)  # it starts from random clusters of colors
    cv2.grabCut(colors, mask, None, np.zeros((1, 65)), np.zeros((1, 65)), ROUNDS, cv2.GC_INIT_WITH_MASK)
    found = ((mask == cv2.GC_FGD) | (mask == cv2.GC_PR_FGD)).astype(np.uint8)
    return Opening(rows, columns, opening, _largest(cv2.medianBlur(found, GRAIN) > 0))


def sort_by_lips(shown: np.ndarray, gaussians: SplatArrays, mesh: FaceMesh, view: FrontView) -> None:
    """Correct at the edge of parted lips, in place, which Gaussians are shown by the opening. Closed lips show none.

    Args:
        shown: (N,) the quad that the front camera sees where it looks at each Gaussian. Those that turn out to be
            inside of the mouth get the nearest of its quads, and those that turn out to be lips :data:`HIDDEN`.
    """
    opening = find_opening(mesh, view)
    if opening is None:
        shown[np.isin(shown, quads_inside_mouth(mesh))] = HIDDEN
        return
    pixels, _ = front_pixels(gaussians.positions, SIDE)
    column, row = np.floor(pixels).astype(np.int64).T - [[opening.columns.start], [opening.rows.start]]
    height, width = opening.of_mesh.shape
    framed = np.flatnonzero((0 <= column) & (column < width) & (0 <= row) & (row < height))
    place = row[framed], column[framed]
    inside, depth = opening.of_picture[place], opening.depth
    edge = np.abs(depth[place]) <= BLUR
    picture = view.picture[opening.rows, opening.columns]
    lip, teeth = (_colors_near(picture, mask)[place][edge] for mask in (depth < -BLUR, depth > BLUR / 2))
    off, whole = (np.linalg.norm(lip - other, axis=1) for other in (gaussians.colors[framed[edge]], teeth))
    inside[edge] = off > np.maximum(LIP * whole, CLEAR)
    before = opening.of_mesh[place]
    lips, gained = framed[before & ~inside], framed[inside & ~before]
    shown[lips] = HIDDEN
    places = np.argwhere(opening.of_mesh)
    nearest = places[cKDTree(places).query(np.stack([row[gained], column[gained]], -1))[1]]
    shown[gained] = view.quads[nearest[:, 0] + opening.rows.start, nearest[:, 1] + opening.columns.start]


def with_lips_on_picture(mesh: FaceMesh, view: FrontView) -> FaceMesh:
    """Move the edges of parted lips to where the picture has them. Without expression, the lips meet as before."""
    opening = find_opening(mesh, view)
    if opening is None:
        return mesh
    edge, target = _edge(opening.of_mesh), _edge(opening.of_picture)
    missing = target[cKDTree(target).query(edge)[1]] - edge
    missing *= np.minimum(1, RIM / np.linalg.norm(missing, axis=1).clip(1e-9))[:, None]
    edge += [opening.columns.start, opening.rows.start]
    skin = mesh.parts["skin"]
    pixels, depth = front_pixels(mesh.vertices[skin], SIDE)
    near = np.flatnonzero(cKDTree(edge).query(pixels)[0] < 2 * AROUND)
    distance = np.linalg.norm(pixels[near, None] - edge, axis=-1)
    weight = np.exp(-((distance / ALONG) ** 2) / 2) + 1e-12
    step = weight @ missing / weight.sum(1, keepdims=True)
    step *= np.exp(-((distance.min(1) / AROUND) ** 2))[:, None]
    scale = depth[near] / float(cameras.intrinsics(SIDE)[0])
    moved = np.zeros_like(mesh.vertices)
    moved[skin[near], 0], moved[skin[near], 2] = step[:, 0] * scale, -step[:, 1] * scale
    return replace(mesh, vertices=mesh.vertices + moved, neutral=mesh.neutral - moved)


def _around_lips(mesh: FaceMesh) -> tuple[slice, slice]:
    pixels, _ = front_pixels(mesh.vertices[mesh.parts["lips"]], SIDE)
    low = np.clip(pixels.min(0).astype(int) - MARGIN, 0, SIDE - 1)
    high = np.clip(pixels.max(0).astype(int) + MARGIN, 1, SIDE)
    return slice(low[1], high[1]), slice(low[0], high[0])


def _largest(mask: np.ndarray) -> np.ndarray:
    """The largest connected part of a mask."""
    _, label, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    if len(stats) < 2:
        return mask
    return label == 1 + stats[1:, cv2.CC_STAT_AREA].argmax()


def _distance(mask: np.ndarray) -> np.ndarray:
    """(h, w) float32 pixels from each pixel of a mask to the next one outside of it."""
    return cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 5)


def _colors_near(picture: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """(h, w, 3) mean colors of those pixels around each that are in the mask."""
    weight = mask.astype(np.float32)
    sums = cv2.GaussianBlur(np.dstack([picture * weight[..., None], weight]), (0, 0), NEARBY)
    return sums[..., :3] / sums[..., 3:].clip(1e-6)


def _edge(mask: np.ndarray) -> np.ndarray:
    """(n, 2) float64 pixels (x, y) of the outlines of a mask."""
    outlines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return np.concatenate(outlines)[:, 0].astype(np.float64) + 0.5

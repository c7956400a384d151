"""Faces laid flat by their landmarks, and how far their skin has moved beyond what the landmarks tell.

The landmark detector follows some features of a face, such as the brows, by a part of the way only. Pictures of the
same face that its landmarks have laid flat differ by the rest, which optical flow measures.
"""

from __future__ import annotations

import cv2
import numpy as np
import scipy.sparse
from scipy.spatial import Delaunay

from ..align.landmarks import COUNT

CLOSE_UP = 192
"""Side of a close-up of a face in pixels."""
MARGIN = 1.25
"""Side of a close-up, relative to the larger extent of the face."""
SIDE = 128
"""Side of a flat face in pixels."""
EDGE = 7
"""Pixels along the outline of a flat face where hair and background show."""
STEP = 6
"""Every how many pixels the movement of the skin is told."""
FARTHEST = 3.0
"""Larger movements, in pixels, are errors."""
_FINE, _COARSE = 8.0, 12.0
_SPREAD = 2.0


def close_up(pixels: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The face alone, small and gray.

    Args:
        pixels: (H, W, 3) uint8 RGB.
        points: (n, 3) landmarks and more, in pixels.

    Returns:
        (192, 192) uint8 picture, and (n, 3) float32 points in pixels of it.
    """
    low, high = points[:COUNT, :2].min(0), points[:COUNT, :2].max(0)
    zoom = CLOSE_UP / max(MARGIN * float((high - low).max()), 1.0)
    height, width = pixels.shape[:2]
    scale = np.full(2, zoom)
    if zoom < 1:  # warpAffine takes single pixels; larger ones have to be averaged first.
        size = max(round(width * zoom), 1), max(round(height * zoom), 1)
        pixels, scale = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.array(size) / (width, height)
    grow = max(zoom, 1.0)
    shift = CLOSE_UP / 2 - scale * (low + high) / 2
    picture = cv2.warpAffine(
        pixels, np.column_stack([np.eye(2) * grow, shift + (grow - 1) / 2]), (CLOSE_UP,) * 2,
        borderMode=cv2.BORDER_REPLICATE,
    )  # fmt: skip
    near = np.column_stack([points[:, :2] * scale + shift, points[:, 2] * zoom])
    return cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), near.astype(np.float32)


class Chart:
    """A plane on which faces are laid.

    Args:
        landmarks: (468, 2) where the landmarks of every face are laid, in any unit.
    """

    def __init__(self, landmarks: np.ndarray):
        low, high = landmarks.min(0), landmarks.max(0)
        self._unit = float((high - low).max()) / SIDE
        places = (landmarks - (low + high) / 2) / self._unit + SIDE / 2
        mesh = Delaunay(places)
        y, x = np.mgrid[:SIDE, :SIDE]
        pixels = np.stack([x, y], -1).reshape(-1, 2) + 0.5
        found = mesh.find_simplex(pixels)
        inside = np.flatnonzero(found >= 0)
        mapping = mesh.transform[found[inside]]
        shares = np.einsum("nij,nj->ni", mapping[:, :2], pixels[inside] - mapping[:, 2])
        shares = np.column_stack([shares, 1 - shares.sum(1)])
        corners = mesh.simplices[found[inside]]
        self._shares = scipy.sparse.csr_matrix(
            (shares.ravel(), (np.repeat(inside, 3), corners.ravel())), (SIDE * SIDE, len(landmarks))
        )
        self._outside = found.reshape(SIDE, SIDE) < 0
        safe = cv2.erode((~self._outside).astype(np.uint8), np.ones((2 * EDGE + 1,) * 2), borderValue=0)
        picked = np.zeros_like(safe)
        picked[STEP // 2 :: STEP, STEP // 2 :: STEP] = safe[STEP // 2 :: STEP, STEP // 2 :: STEP]
        self._picked = picked > 0
        self._flow = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        self._flow.setFinestScale(0)

    def flat(self, picture: np.ndarray, points: np.ndarray) -> np.ndarray:
        """(128, 128) uint8 face laid flat, with the same contrast everywhere, from a :func:`close_up`."""
        places = (self._shares @ points[:COUNT, :2].astype(np.float64) - 0.5).astype(np.float32)
        x, y = np.ascontiguousarray(places.T).reshape(2, SIDE, SIDE)
        face = cv2.remap(picture, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        face[self._outside] = 128
        detail = face - cv2.GaussianBlur(face.astype(np.float32), (0, 0), _FINE)
        contrast = np.sqrt(cv2.GaussianBlur(detail * detail, (0, 0), _COARSE)) + 4
        return np.clip(128 + 40 * detail / contrast, 0, 255).astype(np.uint8)

    def moved(self, rest: np.ndarray, face: np.ndarray) -> np.ndarray:
        """(2 n,) float32 movement of the skin from one flat face to another, right and down, at n places.

        In units of the landmarks that this was made of.
        """
        flow = np.clip(self._flow.calc(rest, face, None), -FARTHEST, FARTHEST)
        return cv2.GaussianBlur(flow, (0, 0), _SPREAD)[self._picked].ravel() * self._unit

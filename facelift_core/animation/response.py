"""How what is seen of a face answers to its expression, measured on synthetic heads with known expressions.

Points are the 468 landmarks of MediaPipe and the two irises. In the frame of the face they are turned, scaled, and
moved so that the landmarks that an expression moves least lie on those of the mean face. Besides, the skin moves beyond
its landmarks (:mod:`.chart`). All that together is

    person + weights · shapes + pose terms · poses + noise,

where person is the own neutral face of the person. The detector moves its landmarks only about half as far as the face
moves, and some elsewhere, so the shapes of a mesh would not do. Made by ``facelift-train face-tracking``.
"""

from __future__ import annotations

import functools
import io
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..files import read_shipped
from .chart import Chart
from .iris import OUTLINES

FILE = Path(__file__).parent / "template" / "face_tracking.npz"
SHA256 = "8499b38ea5ade72adbe21001904befbcc97c780d5d9a819204cac6c4302aefed"
POINTS = 470
POSE_TERMS = 5
_SEEN = "mean", "people", "people_rest", "shapes", "poses", "noise", "noise_rest"
CAMERA_TO_WORLD = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])
"""From a camera in front of the face (x right, y down, z forward) to the world (Z up, face toward −Y)."""


@dataclass(frozen=True)
class Response:
    """The measured answer; D is 1410, 470 points times three coordinates, and then two for each place of the skin.

    Attributes:
        mean: (D,) neutral face of the mean person.
        people: (K, D) principal components of neutral faces, of 1 standard deviation each.
        people_rest: (D,) variance of neutral faces that the components lack.
        shapes: (52, D) displacement by each shape at strength 1.
        poses: (5, D) displacement by each of the terms of :func:`pose_terms`.
        noise: (M, D) principal components of what remains.
        noise_rest: (D,) variance that those lack.
        gain: (52, D) `shapes` times the inverse covariance of the noise, with all that the measurement tells of it.
        points_gain: (52, 1410) the same of the points alone.
        steadiness: (468,) weights of the landmarks by which a face is aligned.
        laid: (468, 2) where landmarks are when a face is laid flat.
        turned: (3, 4) what the angles of the head are, from those of the alignment and 1.
    """

    mean: np.ndarray
    people: np.ndarray
    people_rest: np.ndarray
    shapes: np.ndarray
    poses: np.ndarray
    noise: np.ndarray
    noise_rest: np.ndarray
    gain: np.ndarray
    points_gain: np.ndarray
    steadiness: np.ndarray
    laid: np.ndarray
    turned: np.ndarray

    @functools.cached_property
    def information(self) -> np.ndarray:
        """(52, 52) precision of the weights that one frame gives."""
        product = self.gain @ self.shapes.T
        return (product + product.T) / 2

    @functools.cached_property
    def _doubt(self) -> tuple[np.ndarray, np.ndarray]:
        """(D, D) covariances of neutral faces and of the noise."""
        return (
            self.people.T @ self.people + np.diag(self.people_rest),
            self.noise.T @ self.noise + np.diag(self.noise_rest),
        )

    @functools.cached_property
    def chart(self) -> Chart:
        """Where faces are laid flat."""
        return Chart(self.laid)

    @functools.cached_property
    def of_points(self) -> Response:
        """The answer of the points alone, without the skin."""
        size = 3 * POINTS
        cut = {name: getattr(self, name)[..., :size] for name in _SEEN}
        return replace(self, **cut, gain=self.points_gain)

    def neutral(self, seen: np.ndarray, frames: float) -> np.ndarray:
        """(D,) the most probable neutral face of a person, from a mean of `frames` independent observations of it."""
        people, noise = self._doubt
        return self.mean + people @ np.linalg.solve(people + noise / frames, seen - self.mean)


@functools.cache
def load_response() -> Response:
    """Load the measured response.

    Raises:
        FaceLiftError: its file is missing or damaged.
    """
    content = read_shipped(FILE, SHA256, "finds expressions in videos")
    with np.load(io.BytesIO(content), allow_pickle=False) as data:
        return Response(**{name: data[name].astype(np.float64) for name in data.files})


def encode_response(response: Response) -> bytes:
    """Encode a response, in half precision where that suffices."""
    file = io.BytesIO()
    half = ("people", "shapes", "poses", "noise", "gain", "points_gain")
    arrays = {name: each.astype(np.float16 if name in half else np.float32) for name, each in vars(response).items()}
    np.savez_compressed(file, **arrays)
    return file.getvalue()


def with_irises(landmarks: np.ndarray, irises: np.ndarray) -> np.ndarray:
    """(470, 3) points of (468, 3) landmarks and (2, 2) irises, which are as deep as the corners of their eyes."""
    depths = [landmarks[[outline[0], outline[8]], 2].mean() for outline in OUTLINES]
    return np.concatenate([landmarks, np.column_stack([irises, depths])])


def aligned(points: np.ndarray, mean: np.ndarray, steadiness: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Bring faces into the frame of the mean face.

    Args:
        points: (N, 470, 3) in pixels.
        mean: (470, 3).
        steadiness: (468,) weights of the landmarks.

    Returns:
        (N, 470, 3) points, and (N, 3) angles of the head as of :class:`.take.Take`, as the landmarks have it.
    """
    share = steadiness / steadiness.sum()
    marks, target = points[:, : len(share)], mean[: len(share)]
    middle, aim = np.einsum("l,nlc->nc", share, marks), share @ target
    offsets, ideal = marks - middle[:, None], target - aim
    u, size, vt = np.linalg.svd(np.einsum("nli,l,lj->nij", offsets, share, ideal))
    size[:, 2] *= np.linalg.det(u) * np.linalg.det(vt)
    u[:, :, 2] *= (np.linalg.det(u) * np.linalg.det(vt))[:, None]
    turns = (u @ vt).transpose(0, 2, 1)  # from the camera to the face
    zoom = size.sum(1) / np.einsum("lc,lc,l->", ideal, ideal, share)
    placed = np.einsum("nij,nlj->nli", turns, points - middle[:, None]) / zoom[:, None, None] + aim
    return placed, head_angles(CAMERA_TO_WORLD @ turns.transpose(0, 2, 1) @ CAMERA_TO_WORLD.T)


def head_angles(rotations: np.ndarray) -> np.ndarray:
    """(N, 3) yaw, pitch, and roll of (N, 3, 3) rotations, the inverse of :attr:`.take.Take.rotations`."""
    pitch = -np.arcsin(np.clip(rotations[:, 2, 1], -1, 1))
    yaw = np.arctan2(-rotations[:, 0, 1], rotations[:, 1, 1])
    roll = np.arctan2(rotations[:, 2, 0], rotations[:, 2, 2])
    return np.stack([yaw, pitch, roll], axis=1)


def pose_terms(angles: np.ndarray) -> np.ndarray:
    """(N, 5) what the landmarks of a turned head depend on."""
    yaw, pitch = angles[:, 0], angles[:, 1]
    return np.stack([yaw, pitch, yaw**2, pitch**2, yaw * pitch], axis=1)

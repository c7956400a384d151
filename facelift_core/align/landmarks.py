"""Detect 468 face landmarks with depth, by MediaPipe Face Mesh (Kartynnik et al. 2019; see ``weights/README.md``)."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image

from .crop import FACE_CENTER, FACE_SIZE, SIZE, Box, face_size
from .networks import load_network

COUNT = 468
INPUT_SIDE = 192
"""Side of the network's square input in pixels."""
MARGIN = 1.5
"""Side of the square region given to the network, relative to the extent of the face."""
ROUNDS = 3
"""Each round centers the region on the points of the last one; after three, it moves by less than .1 pixel."""
MIN_CONFIDENCE = 0.5
EYES = 33, 263
"""Landmarks of the outer eye corners; of a face seen from the front, the left one in the image comes first."""
FOREHEAD, CHIN = 10, 152

WEIGHTS = "face_landmark.tflite"
SHA256 = "1055cb9d4a9ca8b8c688902a3a5194311138ba256bcc94e336d8373a5f30c814"
_POINTS, _CONFIDENCE = "conv2d_21", "conv2d_31"


@dataclass(frozen=True)
class Landmarks:
    """Face landmarks in a portrait.

    Attributes:
        points: (468, 3) float32, in MediaPipe's order. x right and y down, in pixels of the portrait; the center of
            pixel (0, 0) is (.5, .5). z in the same unit, away from the camera, relative to the mean of the face. The
            projection is orthographic, along the ray to the face.
        confidence: probability that there is a face, in [0, 1].
    """

    points: np.ndarray
    confidence: float

    @property
    def axes(self) -> np.ndarray:
        """(3, 3) unit axes of the face as rows: x (its right eye to its left), y (forehead to chin), z (into head)."""
        x = _unit(self.points[EYES[1]] - self.points[EYES[0]])
        y = self.points[CHIN] - self.points[FOREHEAD]
        y = _unit(y - (y @ x) * x)
        return np.stack([x, y, np.cross(x, y)])


@dataclass(frozen=True)
class Region:
    """A square of an image that is given to the network.

    Attributes:
        center: x and y in pixels.
        side: in pixels.
        roll: angle of the line between the eyes, in radians, clockwise as seen.
    """

    center: tuple[float, float]
    side: float
    roll: float = 0.0

    @classmethod
    def around(cls, points: np.ndarray) -> Region:
        """The region for a face with these landmarks, (468, 2 or 3)."""
        low, high = points[:, :2].min(0), points[:, :2].max(0)
        right, down = points[EYES[1], :2] - points[EYES[0], :2]
        return cls(tuple((low + high) / 2), MARGIN * float((high - low).max()), float(np.arctan2(down, right)))

    @classmethod
    def of_box(cls, box: Box) -> Region:
        """The region for the face in a detector's box."""
        return cls(((box[0] + box[2]) / 2, (box[1] + box[3]) / 2), MARGIN * face_size(box))


def find_landmarks(portrait: Image.Image) -> Landmarks | None:
    """Detect the landmarks of the face in an aligned portrait (docs/model.md, 2). Returns None if there is no face.

    Args:
        portrait: square RGB image with the face at its standard place.
    """
    pixels = np.asarray(portrait.convert("RGB"))
    scale = len(pixels) / SIZE
    start = Region(tuple(np.multiply(FACE_CENTER, scale)), MARGIN * FACE_SIZE * scale)
    return look_for_landmarks(landmark_network(), pixels, start)


def landmark_network() -> cv2.dnn.Net:
    """The network, for one thread."""
    return load_network(WEIGHTS, SHA256, "finds the features of the face")


def look_for_landmarks(network: cv2.dnn.Net, pixels: np.ndarray, start: Region) -> Landmarks | None:
    """Detect the landmarks of the face near a region of an image. Returns None if there is no face.

    Args:
        network: of :func:`landmark_network`.
        pixels: (H, W, 3) uint8 RGB.
        start: where the face is, approximately: in a video, around the landmarks of the frame before.
    """
    region = start
    for _ in range(ROUNDS):
        points, confidence = _look(network, pixels, np.asarray(region.center), region.side, region.roll)
        region = Region.around(points)
    if not confidence >= MIN_CONFIDENCE or not np.isfinite(points).all():
        return None
    points[:, 2] -= points[:, 2].mean()
    return Landmarks(points.astype(np.float32), confidence)


def _look(network, pixels: np.ndarray, center: np.ndarray, side: float, roll: float) -> tuple[np.ndarray, float]:
    """Run the network on a rotated square of the image. Returns points, in pixels of the image, and confidence."""
    zoom = INPUT_SIDE / max(side, 1.0)
    turn = zoom * np.array([[np.cos(roll), np.sin(roll)], [-np.sin(roll), np.cos(roll)]])
    # warpAffine's origin is the center of the first pixel; everything else here counts from its corner.
    offset = INPUT_SIDE / 2 - 0.5 - turn @ (np.asarray(center) - 0.5)
    square = cv2.warpAffine(
        pixels, np.column_stack([turn, offset]), (INPUT_SIDE,) * 2, flags=cv2.INTER_AREA, borderValue=(255, 255, 255)
    )
    network.setInput(cv2.dnn.blobFromImage(square, 1 / 255.0))
    # One output at a time: if asked for several, OpenCV 5 returns only those that it considers final outputs.
    points = network.forward(_POINTS).reshape(COUNT, 3).astype(np.float64)
    logit = network.forward(_CONFIDENCE)
    points[:, :2] = (points[:, :2] - INPUT_SIDE / 2) @ np.linalg.inv(turn).T + center
    points[:, 2] /= zoom
    return points, float(1 / (1 + np.exp(-logit.item())))


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / max(float(np.linalg.norm(vector)), 1e-12)

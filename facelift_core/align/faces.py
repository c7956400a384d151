"""Choose the face to reconstruct, and the direction in which a photo is upright."""

from __future__ import annotations

import math

from PIL import Image

from .crop import crop_to_face, face_size
from .landmarks import find_landmarks
from .mtcnn import Face, detect_faces

MIN_PROBABILITY = 0.8
"""Detections with a lower probability are not treated as faces."""
NEARLY = 0.1
"""Detections whose probability is lower than the best one's by more than this are figures and patterns, not faces."""
SURE = 0.994
"""Certainty from which a face is upright. Measured: 1.00 for upright faces, .00 to .99 for others."""
BETTER = 0.004
"""How much more certain a face in another direction has to be."""
LOOK_SIDE = 800
"""Side in pixels of the picture that is searched in other directions."""
TILTED = 20.0
"""Angle of the line between the eyes, in degrees, from which the user gets a note."""
CUT = 0.1
"""Distance of the face box from the upper border, in face sizes, below which the photo cuts off the head."""
TURNS = {
    90: Image.Transpose.ROTATE_90,
    180: Image.Transpose.ROTATE_180,
    270: Image.Transpose.ROTATE_270,
}
"""Counterclockwise turns in degrees."""


def find_faces(image: Image.Image) -> list[Face]:
    """Detect faces with at least :data:`MIN_PROBABILITY` in `image`, largest first."""
    return [face for face in detect_faces(image) if face.probability > MIN_PROBABILITY]


def chosen_first(faces: list[Face]) -> list[Face]:
    """Return `faces`, which come largest first, with the one to reconstruct first: the largest that is surely one."""
    least = max((face.probability for face in faces), default=0.0) - NEARLY
    chosen = next((face for face in faces if face.probability >= least), None)
    return [chosen, *(face for face in faces if face is not chosen)] if chosen else []


def turn_to_upright(image: Image.Image, faces: list[Face]) -> int:
    """Return by how many degrees, counterclockwise, a photo has to be turned so that its face is upright.

    Args:
        image: RGB.
        faces: those found in it as it is.

    Returns:
        0, 90, 180 or 270; 0 also if no face is found in any direction.
    """
    best, turn = _certainty(image, faces), 0
    if best >= SURE:
        return 0
    small = image.reduce(step) if (step := max(image.size) // LOOK_SIDE) > 1 else image
    for degrees, transpose in TURNS.items():
        turned = small.transpose(transpose)
        certainty = _certainty(turned, find_faces(turned))
        if certainty > best + (BETTER if turn == 0 else 0.0):
            best, turn = certainty, degrees
    return turn


def advice(face: Face) -> list[str]:
    """Return notes for the user on what another photo would do better.

    Args:
        face: in pixels of the photo.
    """
    notes = []
    (x0, y0), (x1, y1) = face.landmarks[:2]
    tilt = math.degrees(math.atan2(y1 - y0, x1 - x0))
    if abs(tilt) > TILTED:
        notes.append(f"The head is tilted by {abs(tilt):.0f}°; an upright one is reconstructed better.")
    if face.box[1] < CUT * face_size(face.box):
        notes.append("The photo cuts off the top of the head; one that shows all of it gives a better head.")
    return notes


def _certainty(image: Image.Image, faces: list[Face]) -> float:
    """Return how certainly `image` shows an upright face, in [0, 1].

    The detector also finds faces on their side and upside down; the landmark network is far less certain of those.
    """
    if not faces:
        return 0.0
    face = chosen_first(faces)[0]
    landmarks = find_landmarks(crop_to_face(image, face.box))
    return face.probability * (landmarks.confidence if landmarks else 0.0)

"""Photo → 512² portrait on white, the face where the model expects it (spec §2)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from ..errors import FaceLiftError
from .crop import SIZE, crop_to_face, face_size
from .matting import METHODS, Matte, choose_method, on_white, remove_background
from .mtcnn import Face, detect_faces
from .photo import Photo, open_photo

__all__ = [
    "METHODS",
    "SIZE",
    "AlignedPortrait",
    "Face",
    "Matte",
    "Photo",
    "align_portrait",
    "crop_to_face",
    "detect_faces",
    "open_photo",
    "remove_background",
]

MIN_PROBABILITY = 0.8
"""Detections below do not count as faces."""
SMALL_FACE = 64
"""Faces smaller than this many pixels get a note; in the portrait they have 194."""


@dataclass(frozen=True)
class AlignedPortrait:
    """What the view diffusion takes, and how it came about.

    Attributes:
        image: RGB, 512 × 512, on white.
        notes: what a person should know (several faces, which matting, …), one sentence each.
        face: the face it was aligned to, in pixels of the photo; None if none was looked for or found (crop=False).
    """

    image: Image.Image
    notes: tuple[str, ...]
    face: Face | None


def align_portrait(
    photo: Photo | str | Path | Image.Image, *, crop: bool = True, matting: str = "auto"
) -> AlignedPortrait:
    """Remove the background, find the face, scale and place it.

    Args:
        photo: as :func:`open_photo` gives or takes it.
        crop: False keeps the framing: the whole photo is resized to 512², without regard to its proportions.
        matting: one of :data:`METHODS`.

    Raises:
        FaceLiftError: no usable photo, matting method or (with `crop`) face.
    """
    if not isinstance(photo, Photo):
        photo = open_photo(photo)
    notes = list(photo.notes)
    method = choose_method(photo, matting)

    # GrabCut starts from the face; the other methods do not look at it.
    seed = None
    if method == "grabcut":
        faces = find_faces(photo.image)
        seed = faces[0] if faces else None
        if crop and seed is None:
            raise _no_face(photo)
        if seed is None:
            notes.append("No face was found to start from, so the background may be cut badly.")
    matte = remove_background(photo, seed.box if seed else None, method, around_face=crop)
    notes.append(matte.note)
    cut = photo.image.convert("RGB")
    cut.putalpha(matte.alpha)
    if not crop:
        return AlignedPortrait(on_white(cut.resize((SIZE, SIZE))), tuple(notes), seed)

    # The constants of the crop belong to boxes measured on white, so the face is measured (again) there.
    image = on_white(cut)
    if seed is None:
        faces = find_faces(image)
        if not faces:
            raise _no_face(photo)
        face = faces[0]
    else:
        face = next((f for f in find_faces(image) if _same(f, seed)), seed)
    if len(faces) > 1:
        notes.append(f"{len(faces)} faces were found; the largest is used.")
    if face_size(face.box) < SMALL_FACE:
        notes.append(f"The face has only {face_size(face.box):.0f} pixels; a closer photo gives a sharper head.")
    return AlignedPortrait(crop_to_face(image, face.box), tuple(notes), face)


def find_faces(image: Image.Image) -> list[Face]:
    """The detections in `image` that count as faces, largest first."""
    return [face for face in detect_faces(image) if face.probability > MIN_PROBABILITY]


def _same(face: Face, other: Face) -> bool:
    """Whether the centre of each box lies in the other."""

    def holds(a: Face, b: Face) -> bool:
        x, y = (b.box[0] + b.box[2]) / 2, (b.box[1] + b.box[3]) / 2
        return a.box[0] < x < a.box[2] and a.box[1] < y < a.box[3]

    return holds(face, other) and holds(other, face)


def _no_face(photo: Photo) -> FaceLiftError:
    return FaceLiftError(
        f"No face was found in {photo.name}; use a photo that shows a face from the front, or keep the photo's framing "
        "with --no-crop (in Python: crop=False)."
    )

"""Align a photo: a 512 × 512 portrait on white, with the face where the model expects it (docs/model.md, 2)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageChops

from ..errors import FaceLiftError
from ..photos import ALL_TRANSPARENT, Photo, open_photo
from .closed_form import unmix
from .crop import MAX_CUTOUT, SIZE, Box, crop_to_face, cutout_side, face_size, resample, shown_region, visible_region
from .cutout import cut_out
from .faces import TURNS, advice, chosen_first, find_faces, turn_to_upright
from .frames import find_frame
from .matting import METHODS, Matte, best_network, choose_method, is_on_white, on_white, remove_background
from .mtcnn import Face, detect_faces
from .segmentation import MARGINS

__all__ = [
    "METHODS",
    "SIZE",
    "AlignedPortrait",
    "Face",
    "Matte",
    "NoFace",
    "Photo",
    "align_cutout",
    "align_portrait",
    "crop_to_face",
    "detect_faces",
    "open_photo",
    "remove_background",
]

SMALL_FACE = 64
"""Face size in pixels below which the user gets a note; in the portrait, a face has 194."""
LARGE_PHOTO = 4_000_000
"""In photos with more pixels, only the region near the face is segmented."""


class NoFace(FaceLiftError):
    """No face was found in the photo."""


@dataclass(frozen=True)
class AlignedPortrait:
    """An aligned portrait, the input of the multi-view diffusion model.

    Attributes:
        image: RGB, 512 × 512, on white.
        cutout: square RGBA with straight alpha, framed like `image`, at the resolution of the photo: 512 to 1024 pixels
            a side. The background's share is removed from the colors; opaque pixels keep those of the photo.
        notes: notes for the user (several faces, matting method, …), one sentence each.
        face: the face used for alignment, in pixels of the upright photo; None if `crop` was False and no face was
            found or looked for.
    """

    image: Image.Image
    cutout: Image.Image
    notes: tuple[str, ...]
    face: Face | None


def align_portrait(
    photo: Photo | str | Path | Image.Image,
    *,
    crop: bool = True,
    matting: str = "auto",
    largest_face: bool = False,
) -> AlignedPortrait:
    """Remove the background of a photo, find the face, and crop and scale the photo to the standard framing.

    A photo that lies on its side or is upside down is turned. With automatic matting, transparency and a white
    background count only if they separate the person, not if they are a frame around a photo with another background.

    Args:
        photo: a :class:`Photo`, or anything that :func:`open_photo` accepts.
        crop: whether to crop to the face. False resizes the whole photo to 512 × 512, ignoring its aspect ratio.
        matting: background removal method, one of :data:`METHODS`.
        largest_face: use the largest face, as published, even if the detector is far more certain of another one, and
            turn the photo only if it shows no face as it is.

    Raises:
        NoFace: `crop` is true and no face was found.
        FaceLiftError: the photo or the matting method cannot be used.
    """
    if not isinstance(photo, Photo):
        photo = open_photo(photo)
    notes = list(photo.notes)
    method = choose_method(photo, matting)
    faces, seen = [], None
    if crop:
        photo, faces, note = _upright(photo, largest_face)
        notes += [note] if note else []
        seen = photo.image
    elif method == "segmentation":
        faces = find_faces(photo.image)
    frame = find_frame(photo.image, faces[0].box if faces else None) if crop and matting == "auto" else None
    if frame is not None:
        photo, method = replace(photo, image=frame.image), best_network()
        notes.append(frame.note)

    # Only the segmentation uses the face.
    seed = faces[0] if faces and method == "segmentation" else None
    if method == "segmentation" and seed is None:
        if crop:
            raise _no_face(photo)
        notes.append("No face was found to guide the segmentation, so the background may be removed badly.")
    place = Place()
    if crop and seed is not None:
        photo, faces, place = _near_face(photo, faces)
        seed = faces[0]
    box, others = _boxes(faces) if seed is not None else (None, [])
    matte = remove_background(photo, box, method, others=others, around_face=crop)
    if frame is not None:
        matte = replace(matte, alpha=ImageChops.darker(matte.alpha, place.part_of(frame.inside, photo.image.size)))
    notes.append(matte.note)
    cut = photo.image.convert("RGB")
    cut.putalpha(matte.alpha)
    if not crop:
        cutout = _cutout(photo, matte, faces, (0, 0, *cut.size))
        image = cutout if method == "segmentation" else cut
        return AlignedPortrait(on_white(image.resize((SIZE, SIZE))), cutout, tuple(notes), seed)

    # The crop's constants are for face boxes measured on a white background, so detect the face (again) on white.
    image = on_white(cut)
    if seed is None:
        again = photo.image is not seen or photo.image.mode == "RGBA" or method == "rembg"
        faces = _chosen_first(find_faces(image), largest_face) if again else faces
        if not faces:
            raise _no_face(photo)
        face = faces[0]
    else:
        face = next((f for f in find_faces(image) if _same(f, seed)), seed)
    if len(faces) > 1:
        largest = face.area >= max(other.area for other in faces[1:])
        notes.append(f"{len(faces)} faces were found; the {'largest' if largest else 'most certain'} one is used.")
    pixels = place.step * face_size(face.box)
    if pixels < SMALL_FACE:
        notes.append(f"The face is only {pixels:.0f} pixels in size; a closer photo gives a sharper head.")
    notes += advice(place.in_photo(face))
    cutout = _cutout(photo, matte, faces, shown_region(image.size, face.box))
    # With the other methods the portrait equals that of the published system, to the last bit.
    portrait = on_white(cutout.resize((SIZE, SIZE))) if method == "segmentation" else crop_to_face(image, face.box)
    return AlignedPortrait(portrait, cutout, tuple(notes), place.in_photo(face))


def _upright(photo: Photo, largest_face: bool) -> tuple[Photo, list[Face], str | None]:
    """Turn a photo so that its face is upright.

    Returns the photo, its faces, the one to reconstruct first, and a note for the user if the photo was turned.
    """

    def faces_of(photo: Photo) -> list[Face]:
        image = photo.image
        return _chosen_first(find_faces(on_white(image) if image.mode == "RGBA" else image), largest_face)

    faces = faces_of(photo)
    if faces and largest_face:
        return photo, faces, None
    degrees = turn_to_upright(on_white(photo.image) if photo.image.mode == "RGBA" else photo.image, faces)
    if degrees == 0:
        return photo, faces, None
    turned = replace(photo, image=photo.image.transpose(TURNS[degrees]))
    return (
        turned,
        faces_of(turned),
        f"The photo was turned by {degrees}° counterclockwise, so that the face is upright.",
    )


def _chosen_first(faces: list[Face], largest: bool) -> list[Face]:
    return faces if largest else chosen_first(faces)


def align_cutout(cutout: Image.Image | str | Path, face: Face | None = None) -> AlignedPortrait:
    """Make a portrait from a cut-out of :func:`align_portrait`, which may have been edited since.

    Args:
        cutout: square RGBA image or its path. The framing is kept.
        face: the face to store in the result, in pixels of the photo.

    Raises:
        FaceLiftError: the cut-out is unreadable, not square, smaller than 512 × 512, or fully transparent.
    """
    photo = open_photo(cutout)
    image = photo.image
    if image.width != image.height:
        raise FaceLiftError(f"{photo.name} has {image.width} × {image.height} pixels, but a cut-out must be square.")
    if image.width < SIZE:
        raise FaceLiftError(
            f"{photo.name} has only {image.width} × {image.width} pixels; a cut-out needs at least {SIZE} × {SIZE}."
        )
    if ALL_TRANSPARENT in photo.notes:
        raise FaceLiftError(f"{photo.name} is fully transparent; paint the person back in, or cut the photo out again.")
    image = image.convert("RGBA")
    if image.width > MAX_CUTOUT:
        image = image.resize((MAX_CUTOUT, MAX_CUTOUT))
    return AlignedPortrait(on_white(image.resize((SIZE, SIZE))), image, photo.notes, face)


@dataclass(frozen=True)
class Place:
    """The position of a part of a photo: pixel (x, y) of the part is pixel corner + step · (x, y) of the photo."""

    corner: tuple[int, int] = (0, 0)
    step: int = 1

    def in_photo(self, face: Face) -> Face:
        return self._moved(face, lambda value, corner: value * self.step + corner)

    def in_part(self, face: Face) -> Face:
        return self._moved(face, lambda value, corner: (value - corner) / self.step)

    def part_of(self, image: Image.Image, size: tuple[int, int]) -> Image.Image:
        """Return what the part of `size` (width, height) shows of an image of the photo's size."""
        (x, y), (width, height) = self.corner, size
        return image.crop((x, y, x + self.step * width, y + self.step * height)).resize(size)

    def _moved(self, face: Face, move: Callable[[float, int], float]) -> Face:
        box = tuple(move(edge, self.corner[i % 2]) for i, edge in enumerate(face.box))
        landmarks = tuple(tuple(map(move, point, self.corner)) for point in face.landmarks)
        return replace(face, box=box, landmarks=landmarks)


def _near_face(photo: Photo, faces: list[Face]) -> tuple[Photo, list[Face], Place]:
    """Crop a large photo to the region near the face, reduced to the resolution of the cut-out.

    Returns the part, the faces in its coordinates, and its place in the photo.
    """
    image = photo.image
    if image.width * image.height <= LARGE_PHOTO:
        return photo, faces, Place()
    x0, y0, x1, y1 = visible_region(faces[0].box, MARGINS[-1])
    box = max(int(x0), 0), max(int(y0), 0), min(math.ceil(x1), image.width), min(math.ceil(y1), image.height)
    shown = visible_region(faces[0].box)
    step = max(1, int((shown[2] - shown[0]) / MAX_CUTOUT))
    place = Place(box[:2], step)
    part = image.crop(box)
    return Photo(part.reduce(step) if step > 1 else part, photo.name), [place.in_part(face) for face in faces], place


def _cutout(photo: Photo, matte: Matte, faces: list[Face], region: Box) -> Image.Image:
    """Cut `region` out of `photo` as square RGBA; transparent outside the photo."""
    side = cutout_side(region)
    if matte.method in ("alpha", "none") and photo.image.mode == "RGBA":
        cutout, inside = resample(photo.image, region, side)
        colors, alpha = cutout.convert("RGB"), cutout.getchannel("A")
    elif matte.method == "none" and not is_on_white(photo.image):
        colors, inside = resample(photo.image, region, side)
        alpha = inside
    else:
        if matte.method == "none":
            # The photo is already on white, but the cut-out needs the person's matte.
            box, others = _boxes(faces)
            pixels, around = np.asarray(photo.image.convert("RGB")), box is not None
            alpha = cut_out(pixels, box, others, around_face=around, on_white=True)
            matte = replace(matte, alpha=Image.fromarray(alpha))
        colors, inside = resample(photo.image, region, side)
        alpha, _ = resample(matte.alpha, region, side)
        share = np.asarray(alpha, np.float32) / 255
        colors = Image.fromarray(unmix(np.asarray(colors), share))
    colors.putalpha(Image.fromarray(np.minimum(np.asarray(alpha), np.asarray(inside))))
    return colors


def _boxes(faces: list[Face]) -> tuple[Box | None, list[Box]]:
    """Return the box of the first face, or None, and the boxes of the others."""
    boxes = [face.box for face in faces]
    return (boxes[0] if boxes else None), boxes[1:]


def _same(face: Face, other: Face) -> bool:
    """Return whether the center of each box is inside the other."""

    def holds(a: Face, b: Face) -> bool:
        x, y = (b.box[0] + b.box[2]) / 2, (b.box[1] + b.box[3]) / 2
        return a.box[0] < x < a.box[2] and a.box[1] < y < a.box[3]

    return holds(face, other) and holds(other, face)


def _no_face(photo: Photo) -> NoFace:
    return NoFace(
        f"No face was found in {photo.name}; use a photo that shows a face from the front, turn it upright if "
        "it is tilted or, if it is already aligned, turn off cropping."
    )

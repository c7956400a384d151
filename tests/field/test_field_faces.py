"""Frames and transparency, photos on their side, several faces (tests/field/README.md)."""

import numpy as np
import pytest
from field_inputs import alpha_of
from PIL import Image, ImageChops, ImageDraw, ImageOps

from facelift_core import FaceLiftError, align
from facelift_core.align import Face, align_portrait
from facelift_core.align.faces import find_faces
from facelift_core.align.frames import MARGIN, TRANSPARENT
from facelift_core.align.matting import on_white

pytestmark = pytest.mark.usefixtures("no_rembg_model")


@pytest.fixture(scope="module")
def usual(photo) -> np.ndarray:
    """The portrait's alpha."""
    return alpha_of(align_portrait(photo))


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.minimum(a, b).sum() / np.maximum(a, b).sum())


# Frames


def transparent(photo: Image.Image, mask: Image.Image) -> Image.Image:
    image = photo.copy()
    image.putalpha(mask)
    return image


def one_pixel(photo: Image.Image) -> Image.Image:
    mask = Image.new("L", photo.size, 255)
    mask.putpixel((3, 3), 0)
    return transparent(photo, mask)


def rounded(photo: Image.Image) -> Image.Image:
    mask = Image.new("L", photo.size, 0)
    ImageDraw.Draw(mask).rounded_rectangle((0, 0, photo.width - 1, photo.height - 1), photo.width // 8, fill=255)
    return transparent(photo, mask)


def vignette(photo: Image.Image) -> Image.Image:
    return transparent(
        photo, ImageOps.invert(Image.radial_gradient("L")).resize(photo.size).point(lambda v: min(255, 2 * v))
    )


def avatar(photo: Image.Image) -> Image.Image:
    mask = Image.new("L", photo.size, 0)
    ImageDraw.Draw(mask).ellipse((0, 0, photo.width - 1, photo.height - 1), fill=255)
    return transparent(photo, mask)


def polaroid(photo: Image.Image) -> Image.Image:
    framed = ImageOps.expand(photo, 40, "white")
    return ImageOps.pad(framed, (framed.width, framed.height + 120), color="white", centering=(0.5, 0))


FRAMES = {
    "one transparent pixel": (one_pixel, TRANSPARENT),
    "rounded corners": (rounded, TRANSPARENT),
    "round avatar": (avatar, TRANSPARENT),
    "vignette": (vignette, TRANSPARENT),
    "round avatar on white": (lambda photo: on_white(avatar(photo)), ""),  # its border is not white enough
    "print with a white border": (lambda photo: ImageOps.expand(photo, 40, "white"), MARGIN),
    "polaroid": (polaroid, MARGIN),
}


@pytest.mark.parametrize("name", FRAMES)
def test_a_frame_is_no_matte(photo, usual, name):
    make, note = FRAMES[name]
    aligned = align_portrait(make(photo))
    assert not note or note in aligned.notes
    assert any("built-in segmentation" in text for text in aligned.notes)
    assert overlap(alpha_of(aligned), usual) > 0.93


def test_nearly_opaque_everywhere_is_opaque(photo, usual):
    aligned = align_portrait(transparent(photo, Image.new("L", photo.size, 254)))
    assert np.array_equal(alpha_of(aligned), usual)


def test_scan_with_white_margins_and_dust(photo, usual):
    page = Image.new("RGB", (900, 1200), (252, 252, 251))
    page.paste(photo, (150, 200))
    noise = Image.effect_noise(page.size, 3).point(lambda value: 255 if value > 138 else 0)
    page.paste((225, 225, 225), mask=ImageChops.multiply(noise, Image.new("L", page.size, 255)))
    page.paste(photo, (150, 200))
    assert overlap(alpha_of(align_portrait(page)), usual) > 0.9


@pytest.mark.parametrize("tight", [False, True])
def test_a_cutout_is_still_taken_as_it_is(photo, tight):
    cutout = align_portrait(photo).cutout
    given = cutout.crop(cutout.getchannel("A").getbbox()) if tight else cutout
    aligned = align_portrait(given)
    assert any("own transparency" in note for note in aligned.notes) and TRANSPARENT not in aligned.notes
    if not tight:
        again = align_portrait(on_white(given))
        assert any("left unchanged" in note for note in again.notes) and MARGIN not in again.notes


def test_who_asks_for_alpha_gets_it(photo):
    aligned = align_portrait(rounded(photo), matting="alpha")
    assert alpha_of(aligned)[200:300, :100].max() == 1


# Directions


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_a_photo_on_its_side_or_upside_down_is_turned(photo, usual, degrees):
    aligned = align_portrait(photo.rotate(degrees, expand=True))
    assert any(f"turned by {360 - degrees}°" in note for note in aligned.notes)
    assert overlap(alpha_of(aligned), usual) > 0.99


def test_transparency_is_turned_with_the_photo(photo):
    cutout = align_portrait(photo).cutout
    aligned = align_portrait(cutout.transpose(Image.Transpose.ROTATE_180))
    assert overlap(alpha_of(aligned), alpha_of(align_portrait(cutout))) > 0.99


def test_an_upright_photo_stays(photo):
    assert not any("turned" in note for note in align_portrait(photo).notes)


def test_without_a_face_turning_is_proposed(photo):
    with pytest.raises(FaceLiftError, match="turn it upright"):
        align_portrait(photo.crop((0, 300, 120, 512)).resize((480, 848)))


# Several faces


def poster_behind(monkeypatch, photo: Image.Image) -> None:
    """The detector also sees a large, doubtful face in the background, as it does in figures and patterns."""
    figure = Face((280.0, 20.0, 500.0, 300.0), 0.876, ((330.0, 120.0),) * 5)

    def find(image: Image.Image) -> list[Face]:
        return [figure, *find_faces(image)]

    monkeypatch.setattr(align, "find_faces", find)


def test_a_figure_behind_the_person_is_not_reconstructed(photo, monkeypatch):
    expected = align_portrait(photo).face
    poster_behind(monkeypatch, photo)
    aligned = align_portrait(photo, matting="none")
    assert np.allclose(aligned.face.box, expected.box, atol=3)
    assert "2 faces were found; the most certain one is used." in aligned.notes


def test_the_published_rule_can_be_reached(photo, monkeypatch):
    poster_behind(monkeypatch, photo)
    aligned = align_portrait(photo, matting="none", largest_face=True)
    assert aligned.face.box[0] == 280
    assert "2 faces were found; the largest one is used." in aligned.notes


def test_the_likeness_off_uses_the_published_rule(photo, monkeypatch):
    from facelift_core import pipeline

    asked = []
    monkeypatch.setattr(pipeline, "align_portrait", lambda photo, **options: asked.append(options["largest_face"]))
    for likeness in ("off", "photo"):
        pipeline._as_portrait(photo, True, "auto", likeness)
    assert asked == [True, False]

"""Photo → portrait (docs/model.md, 2): goldens of the reference, odd files, mattes, faces."""

import hashlib
import itertools
import json
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageOps

from facelift_core import FaceLiftError, align
from facelift_core.align import (
    align_cutout,
    align_portrait,
    crop_to_face,
    detect_faces,
    landmarks,
    networks,
    open_photo,
    remove_background,
    segmentation,
)
from facelift_core.align.closed_form import solve_alpha, unmix
from facelift_core.align.crop import FACE_CENTER, FACE_SIZE
from facelift_core.align.cutout import cut_out
from facelift_core.align.matting import on_white
from facelift_core.align.mtcnn import MaxPool

TESTS = Path(__file__).parent
PORTRAIT = TESTS / "data" / "portrait.jpg"
CROPS = TESTS / "goldens" / "crop"
FACES = json.loads((TESTS / "goldens" / "mtcnn.json").read_text())
"""Detections of facenet-pytorch 2.5.3 in `pictures()`."""


@pytest.fixture(autouse=True)
def no_rembg_model(tmp_path, monkeypatch):
    """Whatever is installed on this machine, "auto" does not find U²-Net."""
    monkeypatch.setenv("U2NET_HOME", str(tmp_path / "no models"))


@pytest.fixture(scope="module")
def portrait() -> Image.Image:
    return Image.open(PORTRAIT).convert("RGB")


def two_people(portrait: Image.Image) -> Image.Image:
    both = Image.new("RGB", (900, 512), "white")
    both.paste(portrait, (0, 0))
    both.paste(portrait.resize((300, 300)), (560, 100))
    return both


def pictures(portrait: Image.Image) -> dict[str, Image.Image]:
    return {
        "whole": portrait,
        "half": portrait.resize((256, 256)),
        "wide": portrait.resize((1200, 900)),
        "mirrored": ImageOps.mirror(portrait),
        "cut_at_the_border": portrait.crop((200, 40, 400, 300)),
        "two": two_people(portrait),
        "none": portrait.crop((0, 300, 120, 512)),
    }


# The crop


@pytest.mark.parametrize("case", [0, 1])
def test_crop_equals_the_reference_to_the_pixel(case):
    box = json.loads((CROPS / "cases.json").read_text())[case]["boxes"][0]
    image = Image.open(CROPS / f"in_{case}.png").convert("RGBA")
    expected = Image.open(CROPS / f"out_{case}.png")
    assert np.array_equal(crop_to_face(on_white(image), box), expected)


@pytest.mark.parametrize("size", [(200, 300), (4000, 3000)])
@pytest.mark.parametrize(
    "box",
    [
        (80, 100, 120, 150),
        (-300, -400, 600, 800),  # larger than the picture
        (-60, -50, 20, 40),  # over the corner
        (5000, 5000, 5100, 5120),  # outside
        (100, 100, 120, 122),  # the smallest MTCNN looks for
        (100, 100, 101, 100.5),
    ],
)
def test_crop_takes_any_face(size, box):
    image = Image.new("RGB", size, "red")
    result = crop_to_face(image, box)
    assert (result.mode, result.size) == ("RGB", (512, 512))
    colors = {color for _, color in result.getcolors()}
    assert colors <= {(255, 0, 0), (255, 255, 255)}


def test_small_face_in_a_large_photo_lands_where_others_do():
    """The crop then computes only what is seen; a mark at the face's center shows that it is the right part."""
    image = Image.new("RGB", (4000, 3000), "white")
    image.paste((0, 0, 0), (3010, 2012, 3030, 2032))
    result = np.asarray(crop_to_face(image, (3000, 2000, 3040, 2044)).convert("L"))
    y, x = np.nonzero(result < 128)
    assert np.allclose((x.mean() + 0.5, y.mean() + 0.5), FACE_CENTER, atol=2)


# Faces


@pytest.mark.parametrize("name", FACES)
def test_faces_equal_those_of_facenet_pytorch(portrait, name):
    found = detect_faces(pictures(portrait)[name])
    assert len(found) == len(FACES[name])
    for face, expected in zip(found, FACES[name], strict=True):
        assert np.allclose(face.box, expected["box"], atol=1e-2)
        assert np.allclose(face.landmarks, expected["landmarks"], atol=1e-2)
        assert face.probability == pytest.approx(expected["probability"], abs=1e-4)


def test_large_photos_skip_the_search_for_tiny_faces_only(portrait):
    (face,) = detect_faces(portrait.resize((2400, 2400)))
    assert np.allclose(np.array(face.box) * 512 / 2400, FACES["whole"][0]["box"], atol=4)


@pytest.mark.parametrize("size", [(32, 32), (12, 400), (1, 1)])
def test_pictures_too_small_for_a_face_have_none(size):
    assert detect_faces(Image.new("RGB", size, "gray")) == []


# The whole way


def test_portrait_puts_the_face_in_its_place_on_white():
    result = align_portrait(PORTRAIT)
    assert (result.image.mode, result.image.size) == ("RGB", (512, 512))
    (face,) = detect_faces(result.image)
    x0, y0, x1, y1 = face.box
    assert np.allclose(((x0 + x1) / 2, (y0 + y1) / 2), FACE_CENTER, atol=8)
    assert ((x1 - x0) + (y1 - y0)) / 2 == pytest.approx(FACE_SIZE, rel=0.05)
    pixels = np.asarray(result.image)
    for corner in (pixels[:150, :90], pixels[:150, -90:], pixels[:60]):
        assert corner.min() == 255
    assert any("built-in segmentation" in note for note in result.notes)


def test_alignment_is_deterministic():
    first, second = align_portrait(PORTRAIT), align_portrait(PORTRAIT)
    assert np.array_equal(first.image, second.image)
    assert first.face == second.face


def test_largest_of_several_faces_is_used_with_a_note(portrait):
    result = align_portrait(two_people(portrait))
    assert any("2 faces" in note for note in result.notes)
    assert result.face.box[0] < 400
    result = align_portrait(ImageOps.mirror(two_people(portrait)), matting="none")
    assert any("2 faces" in note for note in result.notes)
    assert result.face.box[0] > 500


def test_face_in_a_large_photo_is_found_again_where_it_was(portrait, monkeypatch):
    """Only what is near the face is then cut out, at the size that the cut-out can show."""
    monkeypatch.setattr(align, "LARGE_PHOTO", 1_000_000)
    monkeypatch.setattr(align, "MAX_CUTOUT", 300)
    large = Image.new("RGB", (1800, 1300), (90, 120, 90))
    large.paste(portrait.resize((1200, 1200), Image.Resampling.BILINEAR), (600, 100))
    result = align_portrait(large)
    box = np.array(FACES["whole"][0]["box"]) * 1200 / 512 + (600, 100, 600, 100)
    assert np.allclose(result.face.box, box, atol=0.06 * (box[2] - box[0]))
    x, y = result.face.landmarks[2]
    assert box[0] < x < box[2] and box[1] < y < box[3]
    assert np.abs(over(result.cutout, "white") - np.asarray(align_portrait(portrait).image, np.float32)).mean() < 12


def test_small_face_gets_a_note(portrait):
    assert any("closer photo" in note for note in align_portrait(portrait.resize((200, 200))).notes)


@pytest.mark.parametrize("matting", ["auto", "none"])
def test_no_face_is_an_error_that_names_the_way_out(portrait, matting):
    with pytest.raises(FaceLiftError, match=r"No face .*turn off cropping"):
        align_portrait(pictures(portrait)["none"], matting=matting)


def test_without_crop_the_framing_stays(portrait):
    result = align_portrait(portrait, crop=False)
    difference = np.abs(np.asarray(result.image, np.float32) - np.asarray(portrait, np.float32))
    assert difference[75:165, 195:255].max() < 1  # the face
    assert difference[350:480, 60:220].mean() < 1  # the chest
    assert np.asarray(result.image)[:300, 480:].min() == 255

    landscape = pictures(portrait)["none"]
    result = align_portrait(landscape, crop=False, matting="none")
    assert np.array_equal(result.image, landscape.resize((512, 512)))
    result = align_portrait(landscape, crop=False)
    assert result.face is None
    assert any("No face" in note for note in result.notes)


def test_without_crop_alpha_is_resized_before_white_comes_in():
    image = Image.open(CROPS / "in_1.png")
    assert image.mode == "RGBA"
    expected = Image.alpha_composite(Image.new("RGBA", (512, 512), "white"), image.resize((512, 512))).convert("RGB")
    assert np.array_equal(align_portrait(image, crop=False).image, expected)


# Mattes


def hair(size: int, kind: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """A disc with hairs before smooth colors: the picture, its true alpha and foreground, and what is not known."""
    source = np.random.default_rng(0)
    mask = Image.new("L", (4 * size, 4 * size))
    drawn = ImageDraw.Draw(mask)
    drawn.ellipse((1.2 * size, 1.2 * size, 2.8 * size, 2.8 * size), fill=255)
    for angle in source.uniform(0, 2 * np.pi, 120):
        ends = [2 * size + r * size * np.array([np.cos(a), np.sin(a)]) for r, a in ((0.7, angle), (1.15, angle + 0.1))]
        drawn.line([tuple(end) for end in ends], fill=255, width=5)
    alpha = np.asarray(mask.resize((size, size), Image.Resampling.BOX), np.float32) / 255
    y, x = np.mgrid[:size, :size] / np.float32(size)
    front = np.stack([0.35 + 0.2 * x, 0.2 + 0.1 * y, 0.1 + 0 * x], -1)
    back = np.stack([0.5 + 0.2 * y, 0.7 + 0.2 * x, 0.9 - 0.2 * x], -1)
    if kind == "gray":
        front, back = (np.repeat(part.mean(-1, keepdims=True), 3, -1) for part in (front, back))
    picture = front * alpha[..., None] + back * (1 - alpha[..., None]) + source.normal(0, 0.004, (size, size, 3))
    distance = np.hypot(x - 0.5, y - 0.5)
    return (picture * 255).clip(0, 255).round().astype(np.uint8), alpha, front, (distance > 0.17) & (distance < 0.31)


@pytest.mark.parametrize(("size", "kind"), [(240, "color"), (240, "gray"), (560, "color")])
def test_single_hairs_are_found_and_lose_the_color_of_the_background(size, kind):
    """At 560 the unknown pixels are too many for the direct solution."""
    picture, alpha, front, unknown = hair(size, kind)
    known = np.where(unknown, 0, alpha)
    found = solve_alpha(picture, known, unknown)
    assert np.array_equal(found[~unknown], known[~unknown])
    assert np.abs(found - alpha)[unknown].mean() < 0.03
    assert np.abs(0.5 - alpha)[unknown].mean() > 0.3
    mixed = (alpha > 0.3) & (alpha < 0.9)
    colors = unmix(picture, alpha)
    assert np.abs(colors / 255 - front)[mixed].mean() < 0.03
    assert np.abs(picture / 255 - front)[mixed].mean() > 0.1
    assert np.array_equal(colors[alpha == 1], picture[alpha == 1])
    assert np.array_equal(colors[0, 0], picture[0, 0])


def test_a_guess_is_kept_as_its_weight_says():
    picture, _, _, unknown = hair(120, "color")
    guess = np.full((120, 120), 0.3, np.float32)
    held = solve_alpha(picture, guess, unknown, np.full_like(guess, 1e4))
    assert np.abs(held - 0.3).max() < 0.01


def test_nothing_unknown_and_nothing_known():
    picture, alpha, _, _ = hair(60, "color")
    assert np.array_equal(solve_alpha(picture, alpha, np.zeros(alpha.shape, bool)), alpha)
    flat = np.full((40, 50, 3), 90, np.uint8)
    found = solve_alpha(flat, np.zeros((40, 50), np.float32), np.ones((40, 50), bool), np.full((40, 50), 0.01, "f"))
    assert found.max() < 1e-3


def drawn_person(seed: int) -> np.ndarray:
    """A drawing of a head and shoulders on a busy background, 360 × 480."""
    source = np.random.default_rng(seed)
    picture = Image.fromarray(source.integers(60, 200, (12, 9, 3), dtype=np.uint8)).resize((360, 480))
    for shape, color in (
        ((40, 330, 320, 640), (30, 60, 160)),  # shoulders
        ((150, 270, 210, 380), (205, 160, 130)),  # neck
        ((105, 110, 255, 290), (70, 45, 25)),  # hair
        ((125, 160, 235, 310), (220, 175, 145)),  # face
    ):
        ImageDraw.Draw(picture).ellipse(shape, fill=color)
    return np.asarray(picture)


@pytest.mark.parametrize(
    "box",
    [None, (-500, -500, 900, 1000), (10, 10, 11, 11), (2000, 2000, 2100, 2120), (0, 0, 360, 480), (300, 400, 420, 560)],
)
def test_cut_takes_any_face_box(box):
    picture = drawn_person(0)
    for around_face in (False, True):
        alpha = cut_out(picture, box, around_face=around_face)
        assert (alpha.shape, alpha.dtype) == ((480, 360), np.uint8)


@pytest.mark.parametrize("size", [(32, 32), (32, 700), (900, 33)])
def test_cut_takes_any_size_and_flat_pictures(size):
    alpha = cut_out(np.full((size[1], size[0], 3), 90, np.uint8), None)
    assert alpha.shape == (size[1], size[0])


def test_real_portrait_is_cut_out(portrait):
    matte = remove_background(open_photo(portrait), FACES["whole"][0]["box"])
    alpha = np.asarray(matte.alpha)
    assert matte.method == "segmentation"
    assert alpha[75:165, 195:255].min() == 255  # face
    assert alpha[30:60, 200:260].min() > 250  # hair
    assert alpha[350:480, 60:220].mean() > 250  # chest
    assert alpha[:300, 400:].max() == 0  # the shuttle
    assert alpha[:200, :90].mean() < 5  # the flag


def test_cut_hardly_depends_on_the_resolution(portrait):
    box = FACES["whole"][0]["box"]
    small = cut_out(np.asarray(portrait), box)
    large = cut_out(np.asarray(portrait.resize((1300, 1300))), [edge * 1300 / 512 for edge in box])
    large = np.asarray(Image.fromarray(large).resize((512, 512)), np.float32)
    assert np.abs(large - small).mean() < 3


def test_the_other_person_is_left_out(portrait):
    """Two of the same person side by side, closer than their shoulders are wide."""
    both = Image.new("RGB", (700, 512), "gray")
    both.paste(portrait.crop((300, 0, 512, 512)), (488, 0))
    both.paste(portrait.crop((60, 0, 300, 512)), (60, 0))
    both.paste(portrait.crop((120, 0, 300, 512)), (310, 0))
    first, second, *_ = sorted((face.box for face in detect_faces(both)), key=lambda box: box[0])
    pixels = np.asarray(both)
    x, y = ((second[i] + second[i + 2]) / 2 for i in (0, 1))
    here = np.s_[round(y) - 30 : round(y) + 30, round(x) - 25 : round(x) + 25]
    assert segmentation.person_probability(pixels, first)[here].min() > 0.9
    assert cut_out(pixels, first, [second], around_face=True)[here].max() == 0
    assert cut_out(pixels, second, [first], around_face=True)[here].min() == 255


def test_the_face_is_measured_again_on_white(portrait, monkeypatch):
    """The constants of the crop belong to boxes measured on white; the detector gives others before a background."""
    measured = []
    find = align.find_faces

    def find_larger_on_white(image):
        white = np.asarray(image.convert("RGB"))[:8, :8].min() == 255
        measured.append(white)
        (face,) = find(image)
        x0, y0, x1, y1 = face.box
        return [align.replace(face, box=(x0 - 12, y0 - 12, x1 + 12, y1 + 12))] if white else [face]

    photo = Image.new("RGB", portrait.size, (90, 120, 60))
    matte = Image.fromarray(cut_out(np.asarray(portrait), find(portrait)[0].box, [], on_white=True))
    photo.paste(portrait, mask=matte)
    usual = align_portrait(photo, matting="segmentation")
    monkeypatch.setattr(align, "find_faces", find_larger_on_white)
    larger = align_portrait(photo, matting="segmentation")
    assert measured == [False, True]
    widths = [face.box[2] - face.box[0] for face in (usual.face, larger.face)]
    assert widths[1] > widths[0] + 10 and larger.cutout.tobytes() != usual.cutout.tobytes()


def test_the_face_stays_where_the_segmentation_sees_nobody(portrait, monkeypatch):
    monkeypatch.setattr(segmentation, "_look", lambda pixels: np.zeros(pixels.shape[:2], np.float32))
    alpha = cut_out(np.asarray(portrait), FACES["whole"][0]["box"], around_face=True)
    assert alpha[100:140, 210:240].min() == 255
    assert alpha[:40].max() == 0


@pytest.mark.parametrize("network", [segmentation, landmarks])
def test_the_networks_are_the_published_ones(network, tmp_path, monkeypatch):
    content = (networks.WEIGHTS / network.WEIGHTS).read_bytes()
    assert hashlib.sha256(content).hexdigest() == network.SHA256
    assert network.SHA256 in (networks.WEIGHTS / "README.md").read_text(encoding="utf-8")

    def load() -> None:
        networks.weights_of.cache_clear()
        networks.load_network(network.WEIGHTS, network.SHA256, "sees")

    monkeypatch.setattr(networks, "WEIGHTS", tmp_path)
    with pytest.raises(FaceLiftError, match=rf"{network.WEIGHTS}, which sees, is missing"):
        load()
    (tmp_path / network.WEIGHTS).write_bytes(content[:-1] + b"?")
    with pytest.raises(FaceLiftError, match=rf"{network.WEIGHTS}, which sees, is damaged"):
        load()


def test_alpha_of_the_photo_is_its_matte(portrait):
    ramp = Image.linear_gradient("L").resize(portrait.size)
    photo = portrait.copy()
    photo.putalpha(ramp)
    matte = remove_background(open_photo(photo))
    assert matte.method == "alpha"
    assert np.array_equal(matte.alpha, ramp)
    assert np.array_equal(remove_background(open_photo(photo), method="none").alpha, ramp)


def test_photo_on_white_is_left_alone(portrait):
    aligned = align_portrait(portrait)
    again = remove_background(open_photo(aligned.image))
    assert again.method == "none"
    assert again.alpha.getextrema() == (255, 255)


def test_method_none_keeps_the_background(portrait):
    result = align_portrait(portrait, matting="none")
    assert np.array_equal(result.image, crop_to_face(portrait, FACES["whole"][0]["box"]))


@pytest.mark.parametrize(
    ("method", "message"), [("magic", "Unknown matting"), ("alpha", "no transparency"), ("rembg", "rembg.*not")]
)
def test_methods_that_cannot_be_used_say_so(method, message):
    with pytest.raises(FaceLiftError, match=message):
        align_portrait(PORTRAIT, matting=method)


def fake_onnxruntime(monkeypatch) -> None:
    """Stands in for onnxruntime with a network that answers with a bright left half."""

    class Session:
        def __init__(self, file, providers):
            if Path(file).read_bytes() != b"weights":
                raise RuntimeError("protobuf")

        def get_inputs(self):
            return [ModuleSpec("input", None)]

        def run(self, _, feed):
            (batch,) = feed.values()
            assert (batch.shape, batch.dtype) == ((1, 3, 320, 320), np.float32)
            answer = np.full((1, 1, 320, 320), 0.2, np.float32)
            answer[..., :160] = 0.7
            return [answer]

    module = ModuleType("onnxruntime")
    module.__spec__ = ModuleSpec("onnxruntime", None)
    module.InferenceSession = Session
    monkeypatch.setitem(sys.modules, "onnxruntime", module)


@pytest.mark.parametrize("place", ["u2net.onnx", "models/u2net/u2net.onnx"])
def test_u2net_is_used_when_its_model_is_there(portrait, tmp_path, monkeypatch, place):
    fake_onnxruntime(monkeypatch)
    photo = open_photo(portrait)
    assert remove_background(photo).method == "segmentation"
    with pytest.raises(FaceLiftError, match="is missing"):
        remove_background(photo, method="rembg")

    file = tmp_path / place
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"weights")
    monkeypatch.setenv("U2NET_HOME", str(tmp_path))
    matte = remove_background(photo)
    assert matte.method == "rembg"
    alpha = np.asarray(matte.alpha)
    assert alpha.shape == (512, 512)
    assert alpha[:, :250].min() == 255
    assert alpha[:, 262:].max() == 0

    file.write_bytes(b"damaged")
    with pytest.raises(FaceLiftError, match="damaged"):
        remove_background(photo)


# Cut-outs


def over(cutout: Image.Image, color: str) -> np.ndarray:
    """`cutout` on `color` at 512²."""
    cutout = cutout.resize((512, 512))
    return np.asarray(Image.alpha_composite(Image.new("RGBA", cutout.size, color), cutout).convert("RGB"), np.float32)


@pytest.mark.parametrize(
    ("matting", "width", "side"),
    [("auto", 256, 512), ("auto", 1200, None), ("alpha", 1200, None), ("none", 2000, 1024)],
)
def test_cutout_has_the_framing_of_the_portrait_and_the_pixels_of_the_photo(portrait, matting, width, side):
    photo = portrait.resize((width, width))
    if matting == "alpha":
        photo.putalpha(align_portrait(portrait, crop=False).cutout.getchannel("A").resize(photo.size))
    result = align_portrait(photo, matting=matting)
    shown = (
        512 * ((result.face.box[2] - result.face.box[0]) + (result.face.box[3] - result.face.box[1])) / 2 / FACE_SIZE
    )
    assert (result.cutout.mode, result.cutout.width) == ("RGBA", result.cutout.height)
    assert result.cutout.width == side or (side is None and result.cutout.width == pytest.approx(shown, abs=3))
    # The last row and column of the published crop can be white.
    difference = np.abs(over(result.cutout, "white") - np.asarray(result.image, np.float32))[:-1, :-1]
    assert difference.mean() < 1
    assert np.asarray(result.cutout)[:100, :60, 3].max() == 0 or matting == "none"


def test_cutout_keeps_no_white_of_a_photo_on_white_and_all_of_one_that_stays(portrait):
    on_paper = align_portrait(portrait).image
    again = align_portrait(on_paper)
    assert any("left unchanged" in note for note in again.notes)
    alpha = np.asarray(again.cutout.getchannel("A"))
    assert alpha[:150, :90].max() == 0
    assert alpha[200:260, 220:280].min() == 255
    kept = align_portrait(portrait, matting="none").cutout
    assert np.asarray(kept)[150:300, 400:450, 3].min() == 255


def test_portrait_from_its_cutout_is_the_same(portrait):
    first = align_portrait(portrait)
    again = align_cutout(first.cutout, first.face)
    assert np.array_equal(again.image, first.image)
    assert np.array_equal(again.cutout, first.cutout)
    assert again.face == first.face


def test_painting_in_the_cutout_shows(tmp_path, portrait):
    cutout = align_portrait(portrait).cutout
    cutout.paste((0, 255, 0, 255), (200, 200, 260, 260))
    cutout.paste((0, 0, 0, 0), (0, 400, 512, 512))
    cutout.save(tmp_path / "painted.png")
    result = align_cutout(tmp_path / "painted.png")
    pixels = np.asarray(result.image)
    assert (pixels[210:250, 210:250] == (0, 255, 0)).all()
    assert pixels[405:].min() == 255
    large = align_cutout(Image.new("RGBA", (2000, 2000), "red"))
    assert large.cutout.size == (1024, 1024)
    assert align_cutout(Image.new("RGB", (600, 600), "red")).image.getpixel((9, 9)) == (255, 0, 0)


@pytest.mark.parametrize("matting", ["alpha", "none"])
def test_cutout_keeps_the_colours_of_what_the_photo_marks_as_transparent(portrait, matting):
    """So that they can be painted back in, and without their share in those that show."""
    photo = Image.new("RGB", (1200, 1200), (0, 255, 0))
    photo.paste((255, 0, 0), (400, 300, 800, 1200))
    alpha = Image.new("L", photo.size)
    alpha.paste(255, (400, 300, 800, 1200))
    photo.putalpha(alpha)
    pixels = np.asarray(align_portrait(photo, crop=False, matting=matting).cutout).astype(int)
    assert pixels.shape == (1024, 1024, 4)
    seen = pixels[..., 3] > 0
    assert seen.any() and np.abs(pixels[..., :3][seen] - (255, 0, 0)).max() <= 3
    assert (pixels[:240, :, :3] == (0, 255, 0)).all()


@pytest.mark.parametrize(
    ("size", "color", "message"),
    [
        ((600, 500), "red", "square"),
        ((300, 300), "red", "needs at least 512"),
        ((600, 600), (0, 0, 0, 0), "transparent"),
    ],
)
def test_cutouts_that_are_refused(size, color, message):
    with pytest.raises(FaceLiftError, match=message):
        align_cutout(Image.new("RGBA", size, color))


@pytest.mark.parametrize("kernel", [2, 3])
def test_pooling_is_that_of_pytorch(kernel):
    """To the last bit, for every rest that the stride leaves."""
    for height, width in itertools.product(range(2, 12), repeat=2):
        x = torch.randn(3, 4, height, width)
        assert torch.equal(MaxPool(kernel)(x), F.max_pool2d(x, kernel, 2, ceil_mode=True))

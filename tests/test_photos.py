"""Files of every kind → upright 8-bit sRGB, or one sentence."""

import io
import os
import resource
import struct
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from facelift_core import FaceLiftError
from facelift_core.align import align_portrait
from facelift_core.photos import open_photo

PORTRAIT = Path(__file__).parent / "data" / "portrait.jpg"


@pytest.fixture(scope="module")
def portrait() -> Image.Image:
    return Image.open(PORTRAIT).convert("RGB")


def saved(tmp_path: Path, image: Image.Image, name: str, **options) -> Path:
    image.save(tmp_path / name, **options)
    return tmp_path / name


def mean_difference(photo, image: Image.Image) -> float:
    assert photo.image.size == image.size
    return float(np.abs(np.asarray(photo.image.convert("RGB"), np.float32) - np.asarray(image, np.float32)).mean())


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path, portrait, orientation):
    turned = portrait.resize((120, 90))
    undo = {
        2: [Image.Transpose.FLIP_LEFT_RIGHT],
        3: [Image.Transpose.ROTATE_180],
        4: [Image.Transpose.FLIP_TOP_BOTTOM],
        5: [Image.Transpose.TRANSPOSE],
        6: [Image.Transpose.ROTATE_90],
        7: [Image.Transpose.TRANSVERSE],
        8: [Image.Transpose.ROTATE_270],
    }
    stored = turned
    for step in undo.get(orientation, []):
        stored = stored.transpose(step)
    exif = Image.Exif()
    exif[0x0112] = orientation
    photo = open_photo(saved(tmp_path, stored, "turned.png", exif=exif.tobytes()))
    assert np.array_equal(photo.image, turned)


def test_damaged_exif_does_not_matter(tmp_path, portrait):
    path = saved(tmp_path, portrait, "photo.jpg", exif=b"Exif\x00\x00MM\x00\x2a\xff\xff\xff\xff garbage")
    assert open_photo(path).image.size == (512, 512)


@pytest.mark.parametrize(("name", "mode"), [("a.png", "L"), ("a.png", "1"), ("a.jpg", "CMYK"), ("a.jpg", "L")])
def test_modes_become_rgb(tmp_path, portrait, name, mode):
    photo = open_photo(saved(tmp_path, portrait.convert(mode), name))
    assert photo.image.mode == "RGB"
    assert mean_difference(photo, portrait.convert(mode).convert("RGB")) < 3
    assert photo.name == name


def test_palettes_and_transparency(tmp_path, portrait):
    plain = portrait.quantize(256)
    assert open_photo(saved(tmp_path, plain, "plain.png")).image.mode == "RGB"
    key = plain.getpixel((50, 50))
    photo = open_photo(saved(tmp_path, plain, "hole.png", transparency=key))
    assert photo.image.mode == "RGBA"
    assert photo.image.getpixel((50, 50))[3] == 0
    assert photo.image.getpixel((250, 120))[3] == 255

    keyed = portrait.copy()
    keyed.paste((1, 2, 3), (0, 0, 100, 100))
    photo = open_photo(saved(tmp_path, keyed, "key.png", transparency=(1, 2, 3)))
    assert photo.image.getpixel((50, 50))[3] == 0


def test_alpha_is_kept_only_where_it_says_something(tmp_path, portrait):
    grey = portrait.convert("LA")
    assert open_photo(saved(tmp_path, grey, "opaque.png")).image.mode == "RGB"
    grey.putalpha(Image.linear_gradient("L").resize(grey.size))
    photo = open_photo(saved(tmp_path, grey, "faded.png"))
    assert photo.image.mode == "RGBA"
    assert np.array_equal(photo.image.getchannel("A"), grey.getchannel("A"))
    invisible = portrait.copy()
    invisible.putalpha(0)
    photo = open_photo(saved(tmp_path, invisible, "invisible.png"))
    assert photo.image.mode == "RGB"
    assert any("transparent" in note for note in photo.notes)


@pytest.mark.parametrize(
    ("name", "dtype", "white"),
    [("a.png", np.uint16, 65535), ("a.tif", np.uint16, 65535), ("a.tif", np.int32, 65535), ("a.tif", np.int32, 255),
     ("a.tif", np.float32, 1.0), ("a.tif", np.float32, 255.0)],
)  # fmt: skip
def test_deep_greyscale_becomes_eight_bits(tmp_path, portrait, name, dtype, white):
    grey = portrait.convert("L")
    deep = (np.asarray(grey, np.float64) * (white / 255)).round(6).astype(dtype)
    photo = open_photo(saved(tmp_path, Image.fromarray(deep), name))
    assert mean_difference(photo, grey.convert("RGB")) <= 0.5


def test_not_a_number_in_a_float_picture(tmp_path):
    values = np.linspace(0, 1, 64 * 64, dtype=np.float32).reshape(64, 64)
    values[3, 3], values[4, 4] = np.nan, np.inf
    photo = open_photo(saved(tmp_path, Image.fromarray(values), "odd.tif"))
    assert photo.image.getpixel((3, 3)) == (0, 0, 0)
    assert photo.image.getpixel((63, 63)) == (255, 255, 255)


def profile_with_red_and_blue_exchanged() -> bytes:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    profile = profile.replace("sRGB".encode("utf-16-be"), "BGR?".encode("utf-16-be"))
    return profile.replace(b"rXYZ", b"swap").replace(b"bXYZ", b"rXYZ").replace(b"swap", b"bXYZ")


def test_colour_profile_is_converted(tmp_path, portrait):
    exchanged = Image.merge("RGB", portrait.split()[::-1])
    profile = profile_with_red_and_blue_exchanged()
    assert mean_difference(open_photo(saved(tmp_path, exchanged, "odd.png", icc_profile=profile)), portrait) < 1
    exchanged.putalpha(Image.linear_gradient("L").resize(exchanged.size))
    photo = open_photo(saved(tmp_path, exchanged, "odd.png", icc_profile=profile))
    assert photo.image.mode == "RGBA"
    assert mean_difference(photo, portrait) < 1

    standard = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert np.array_equal(open_photo(saved(tmp_path, portrait, "s.png", icc_profile=standard)).image, portrait)
    broken = open_photo(saved(tmp_path, portrait, "b.png", icc_profile=b"not a profile"))
    assert np.array_equal(broken.image, portrait)
    assert any("profile" in note for note in broken.notes)


def test_first_frame_of_an_animation(tmp_path, portrait):
    path = saved(tmp_path, portrait, "a.gif", save_all=True, append_images=[Image.new("RGB", (512, 512), "red")])
    photo = open_photo(path)
    assert mean_difference(photo, portrait) < 10
    assert any("first" in note for note in photo.notes)


def test_twenty_megapixels(tmp_path, portrait):
    path = saved(tmp_path, portrait.resize((5472, 3648)), "camera.jpg", quality=60)
    photo = open_photo(path)
    assert photo.image.size == (5472, 3648)
    assert align_portrait(photo, matting="none").image.size == (512, 512)


def test_larger_photos_are_reduced_with_a_note(tmp_path):
    photo = open_photo(saved(tmp_path, Image.new("L", (10_000, 8_000), 90), "scan.png"))
    assert photo.image.size == (5000, 4000)
    assert any("10000 × 8000" in note for note in photo.notes)


def png_header(width: int, height: int) -> bytes:
    """A picture of that size by its header, with next to no pixels behind it."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(100)))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (b"this is a letter, not a photo\n" * 20, "not an image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n", "not an image"),
        (png_header(60_000, 60_000), "megapixels"),
        (png_header(16_100, 16_100), "megapixels"),
        (png_header(13_000, 13_000), "incomplete"),
        (png_header(64, 64), "damaged"),
        (png_header(31, 400), "31 × 400"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "damaged|not an image"),
        (bytes(4) + b"ftypheic" + bytes(100), "HEIC.*runtime|damaged|not an image"),
    ],
)
def test_files_that_are_no_photo(tmp_path, content, message):
    path = tmp_path / "photo.png"
    path.write_bytes(content)
    with pytest.raises(FaceLiftError, match=message) as error:
        open_photo(path)
    assert "photo.png" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif", "gif"])
def test_truncated_files(tmp_path, portrait, suffix):
    path = saved(tmp_path, portrait, f"photo.{suffix}")
    content = path.read_bytes()
    for part in (0.001, 0.1, 0.5, 0.9):
        path.write_bytes(content[: max(1, int(len(content) * part))])
        with pytest.raises(FaceLiftError, match=r"photo\."):
            open_photo(path)


def test_paths_that_cannot_be_read(tmp_path, monkeypatch):
    with pytest.raises(FaceLiftError, match="folder"):
        open_photo(tmp_path)
    with pytest.raises(FaceLiftError, match="does not exist"):
        open_photo(tmp_path / "missing.jpg")
    with pytest.raises(FaceLiftError, match=r"cannot be read|does not exist"):
        open_photo("photo\0.jpg")
    with pytest.raises(FaceLiftError, match="path or a PIL image"):
        open_photo(17)

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    path = saved(tmp_path, Image.new("RGB", (64, 64)), "secret.png")
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(FaceLiftError, match="permission"):
        open_photo(path)


def test_pil_images_are_taken_and_left_unchanged(portrait):
    image = portrait.convert("CMYK")
    before = image.tobytes()
    photo = open_photo(image)
    assert photo.image.mode == "RGB"
    assert (image.mode, image.tobytes()) == ("CMYK", before)


# Bounds


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, rows: int, interlaced: bool = False) -> bytes:
    """A black picture whose data end after some of its rows, without an error in its stream."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, interlaced))
    data = zlib.compress(bytes((1 + 3 * width) * rows))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def webp(kind: bytes, data: bytes) -> bytes:
    part = kind + struct.pack("<I", len(data)) + data
    return b"RIFF" + struct.pack("<I", 4 + len(part)) + b"WEBP" + part


@pytest.mark.parametrize("interlaced", [False, True])
def test_png_whose_data_end_early_is_incomplete(tmp_path, interlaced):
    (tmp_path / "a.png").write_bytes(png(200, 200, 199, interlaced))
    with pytest.raises(FaceLiftError, match="incomplete"):
        open_photo(tmp_path / "a.png")
    (tmp_path / "a.png").write_bytes(png(200, 200, 205, interlaced))
    assert open_photo(tmp_path / "a.png").image.size == (200, 200)


BOMBS = {
    "a.png": (png(13_000, 13_000, 1), "incomplete"),
    "canvas.webp": (webp(b"VP8X", bytes(4) + b"\xff\x3f\0" * 2), "megapixels"),
    "lossless.webp": (webp(b"VP8L", b"\x2f" + struct.pack("<I", 0x3FFE | 0x3FFE << 14) + bytes(8)), "megapixels"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_small_files_that_state_a_large_size_allocate_nothing(tmp_path, name):
    content, message = BOMBS[name]
    (tmp_path / name).write_bytes(content)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(FaceLiftError, match=message):
        open_photo(tmp_path / name)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # KiB


def test_a_file_of_forty_gigabytes_is_not_read(tmp_path):
    with (tmp_path / "sparse.jpg").open("wb") as file:
        file.write(b"\xff\xd8\xff\xe0")
        file.truncate(40 * 10**9)
    with pytest.raises(FaceLiftError, match="larger than 500 MB"):
        open_photo(tmp_path / "sparse.jpg")


def test_decoding_that_takes_too_long_is_stopped(tmp_path, monkeypatch):
    """3,000 scans that say nothing, each of which passes over the whole picture; JPEG 2000 has the like."""
    from facelift_core.photos import apart

    monkeypatch.setattr(apart, "SECONDS", 1.0)
    buffer = io.BytesIO()
    Image.new("L", (6000, 6000)).save(buffer, "JPEG", progressive=True)
    content = buffer.getvalue()
    last = content.rfind(b"\xff\xda")
    (tmp_path / "scans.jpg").write_bytes(content[:last] + 3000 * content[last:-2] + b"\xff\xd9")
    before = time.process_time()
    with pytest.raises(FaceLiftError, match="too long"):
        open_photo(tmp_path / "scans.jpg")
    assert time.process_time() - before < 1


def test_decoding_that_takes_too_much_memory_is_stopped(tmp_path, monkeypatch):
    from facelift_core.photos import apart

    path = saved(tmp_path, Image.new("RGB", (8000, 8000)), "flat.tif", compression="tiff_deflate")
    assert open_photo(path).image.size == (4000, 4000)
    monkeypatch.setattr(apart, "MEMORY", 3 * 2**27)
    with pytest.raises(FaceLiftError, match="too much memory"):
        open_photo(path)


def test_libraries_say_nothing_on_the_terminal(tmp_path, portrait, capfd):
    content = bytearray(saved(tmp_path, portrait, "photo.tif", compression="tiff_lzw").read_bytes())
    content[2000:-2000] = os.urandom(len(content) - 4000)
    (tmp_path / "photo.tif").write_bytes(content)
    with pytest.raises(FaceLiftError, match="damaged"):
        open_photo(tmp_path / "photo.tif")
    assert capfd.readouterr() == ("", "")

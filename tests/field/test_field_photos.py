"""Photos as people have them: phone and camera formats, large sizes, other color spaces (tests/field/README.md)."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from facelift_core import FaceLiftError
from facelift_core.align import align_portrait, find_faces
from facelift_core.photos import open_photo

PORTRAIT = Path(__file__).parents[1] / "data" / "portrait.jpg"


@pytest.fixture(scope="module")
def portrait() -> Image.Image:
    return Image.open(PORTRAIT).convert("RGB")


def mean_difference(a: Image.Image, b: Image.Image) -> float:
    assert a.size == b.size
    return float(np.abs(np.asarray(a.convert("RGB"), np.float32) - np.asarray(b, np.float32)).mean())


# Phones


def test_heic_of_a_phone_opens(tmp_path, portrait):
    import pillow_heif

    turned = portrait.transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6
    pillow_heif.from_pillow(turned).save(tmp_path / "IMG_1.HEIC", quality=90, exif=exif.tobytes())
    photo = open_photo(tmp_path / "IMG_1.HEIC")
    assert mean_difference(photo.image, portrait) < 3


def test_avif_opens(tmp_path, portrait):
    portrait.save(tmp_path / "a.avif", quality=90)
    assert mean_difference(open_photo(tmp_path / "a.avif").image, portrait) < 3


def test_jpeg_xl_names_the_way_out(tmp_path):
    (tmp_path / "a.jxl").write_bytes(b"\xff\x0a" + bytes(500))
    with pytest.raises(FaceLiftError, match=r"JPEG XL.*save it as JPEG"):
        open_photo(tmp_path / "a.jxl")


@pytest.mark.parametrize("progressive", [False, True])
def test_two_hundred_megapixels_of_a_phone(tmp_path, progressive):
    Image.new("L", (16_320, 12_240), 90).save(tmp_path / "a.jpg", quality=60, progressive=progressive)
    photo = open_photo(tmp_path / "a.jpg")
    assert photo.image.size == (4080, 3060)
    assert 88 <= photo.image.getpixel((2000, 2000))[0] <= 92
    assert any("16320 × 12240" in note for note in photo.notes)


def test_large_photo_on_its_side_states_the_size_that_is_seen(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("L", (8_000, 6_000), 90).save(tmp_path / "a.jpg", quality=60, exif=exif.tobytes())
    photo = open_photo(tmp_path / "a.jpg")
    assert photo.image.size == (3000, 4000)
    assert any("6000 × 8000" in note and "3000 × 4000" in note for note in photo.notes)


# Cameras


def raw_file(preview: Image.Image, orientation: int = 1) -> bytes:
    """A TIFF file as cameras write them: a thumbnail in its first directory, and a preview somewhere behind it."""
    buffer = io.BytesIO()
    tags = {0x00FE: 1, 0x0112: orientation}
    preview.resize((160, 120)).save(buffer, "TIFF", tiffinfo=tags)
    sensor = bytes(1000) + b"\xff\xd8\xff\xc3\0\x0b\x08\x20\0\x20\0\x01\0\x11\0" + bytes(1000)  # lossless JPEG
    jpeg = io.BytesIO()
    preview.save(jpeg, "JPEG", quality=90)
    return buffer.getvalue() + sensor + jpeg.getvalue() + sensor


@pytest.mark.parametrize("suffix", [".dng", ".nef", ".arw", ".tif"])
def test_camera_raw_uses_its_largest_preview(tmp_path, portrait, suffix):
    large = portrait.resize((1200, 1200))
    (tmp_path / f"a{suffix}").write_bytes(raw_file(large))
    photo = open_photo(tmp_path / f"a{suffix}")
    assert mean_difference(photo.image, large) < 3
    assert any("camera raw" in note for note in photo.notes)


def test_preview_of_camera_raw_is_turned_as_the_raw_file_states(tmp_path, portrait):
    large = portrait.resize((1200, 1000))
    (tmp_path / "a.nef").write_bytes(raw_file(large.transpose(Image.Transpose.ROTATE_90), orientation=6))
    assert mean_difference(open_photo(tmp_path / "a.nef").image, large) < 3


def test_canon_cr3(tmp_path, portrait):
    jpeg, tiff = io.BytesIO(), io.BytesIO()
    portrait.resize((1200, 1200)).transpose(Image.Transpose.ROTATE_180).save(jpeg, "JPEG")
    Image.new("L", (1, 1)).save(tiff, "TIFF", tiffinfo={0x0112: 3})
    content = b"\0\0\0\x18ftypcrx " + bytes(12) + b"CMT1" + tiff.getvalue() + bytes(64) + jpeg.getvalue()
    (tmp_path / "a.cr3").write_bytes(content)
    assert mean_difference(open_photo(tmp_path / "a.cr3").image, portrait.resize((1200, 1200))) < 3


@pytest.mark.parametrize("name", ["a.dng", "a.arw", "a.cr3", "a.raf"])
def test_camera_raw_without_a_large_preview_names_the_way_out(tmp_path, portrait, name):
    content = {
        "a.cr3": b"\0\0\0\x18ftypcrx " + bytes(2000),
        "a.raf": b"FUJIFILMCCD-RAW 0201" + bytes(2000),
    }.get(name, raw_file(portrait))  # of 512 × 512
    (tmp_path / name).write_bytes(content)
    with pytest.raises(FaceLiftError, match=r"camera raw file.*export it as JPEG"):
        open_photo(tmp_path / name)


# Colors


def linear_of(image: Image.Image) -> Image.Image:
    values = np.asarray(image, np.float64) / 255
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    return Image.fromarray((linear * 255).round().astype(np.uint8))


def profile(linear: bool = False, p3: bool = False) -> bytes:
    """An ICC profile whose name contains “sRGB”, which it need not be."""
    content = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    for start in range(132, 132 + 12 * struct.unpack_from(">I", content, 128)[0], 12):
        tag, offset, _ = struct.unpack_from(">4sII", content, start)
        if linear and tag[1:] == b"TRC":
            content[offset : offset + 16] = b"para" + bytes(8) + struct.pack(">i", 65536)  # gamma 1
            struct.pack_into(">I", content, start + 8, 16)
        if p3 and tag[1:] == b"XYZ":
            xyz = {b"r": (0.5151, 0.2412, -0.0011), b"g": (0.2919, 0.6922, 0.0419), b"b": (0.1572, 0.0666, 0.7841)}
            struct.pack_into(">3i", content, offset + 8, *(round(x * 65536) for x in xyz[tag[:1]]))
    return bytes(content)


def test_linear_profile_named_after_srgb_is_converted(tmp_path, portrait):
    """GIMP and Krita name theirs “sRGB-elle-V4-g10.icc”; heads came out dark brown."""
    linear_of(portrait).save(tmp_path / "a.png", icc_profile=profile(linear=True))
    photo = open_photo(tmp_path / "a.png")
    assert mean_difference(photo.image, portrait) < 3  # linear light in 8 bits is coarse in the shadows


def test_p3_named_after_srgb_is_converted(tmp_path):
    Image.new("RGB", (64, 64), (200, 100, 100)).save(tmp_path / "a.png", icc_profile=profile(p3=True))
    red, green, blue = open_photo(tmp_path / "a.png").image.getpixel((9, 9))
    assert red > 210 and green < 98 and abs(blue - 98) < 4


def test_rgb_profile_on_a_grayscale_photo(tmp_path, portrait):
    linear_of(portrait.convert("L")).save(tmp_path / "a.jpg", quality=100, icc_profile=profile(linear=True))
    photo = open_photo(tmp_path / "a.jpg")
    assert mean_difference(photo.image, portrait.convert("L").convert("RGB")) < 4
    assert photo.notes == ()


def png_with(image: Image.Image, *chunks: tuple[bytes, bytes]) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    made = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    return buffer.getvalue()[:33] + made + buffer.getvalue()[33:]


GAMA_LINEAR = (b"gAMA", struct.pack(">I", 100_000))
GAMA_SRGB = (b"gAMA", struct.pack(">I", 45_455))
CHRM_SRGB = (b"cHRM", struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000))
CHRM_P3 = (b"cHRM", struct.pack(">8I", 31270, 32900, 68000, 32000, 26500, 69000, 15000, 6000))


@pytest.mark.parametrize("chunks", [[GAMA_LINEAR], [GAMA_LINEAR, CHRM_SRGB], [(b"cICP", bytes([1, 8, 0, 1]))]])
def test_png_chunks_that_state_linear_light(tmp_path, portrait, chunks):
    (tmp_path / "a.png").write_bytes(png_with(linear_of(portrait), *chunks))
    assert mean_difference(open_photo(tmp_path / "a.png").image, portrait) < 3


@pytest.mark.parametrize("chunks", [[GAMA_SRGB, CHRM_P3], [(b"cICP", bytes([12, 13, 0, 1]))]])
def test_png_chunks_that_state_p3(tmp_path, chunks):
    (tmp_path / "a.png").write_bytes(png_with(Image.new("RGB", (64, 64), (200, 100, 100)), *chunks))
    red, green, blue = open_photo(tmp_path / "a.png").image.getpixel((9, 9))
    assert red > 210 and green < 98 and abs(blue - 98) < 4


@pytest.mark.parametrize(
    "chunks", [[GAMA_SRGB], [GAMA_SRGB, CHRM_SRGB], [(b"sRGB", b"\0"), GAMA_LINEAR], [(b"cICP", bytes([1, 13, 0, 1]))]]
)
def test_png_chunks_that_state_srgb_change_nothing(tmp_path, portrait, chunks):
    (tmp_path / "a.png").write_bytes(png_with(portrait, *chunks))
    assert np.array_equal(open_photo(tmp_path / "a.png").image, portrait)


def test_hdr_screenshot(tmp_path):
    """PQ: 203 nits are paper white."""
    (tmp_path / "a.png").write_bytes(png_with(Image.new("L", (64, 64), 148), (b"cICP", bytes([9, 16, 0, 1]))))
    assert min(open_photo(tmp_path / "a.png").image.getpixel((9, 9))) > 245


# Images of Pillow


def test_a_closed_image_says_so(portrait):
    image = Image.open(PORTRAIT)
    image.close()
    with pytest.raises(FaceLiftError, match=r"closed.*open it again"):
        align_portrait(image)


def test_faces_are_found_in_what_was_converted(tmp_path, portrait):
    linear_of(portrait).save(tmp_path / "a.png", icc_profile=profile(linear=True))
    assert len(find_faces(open_photo(tmp_path / "a.png").image)) == 1

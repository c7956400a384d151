"""The video around the head, and contact sheets of its views."""

from __future__ import annotations

import os
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from facelift_core.errors import Cancelled, FaceLiftError
from facelift_core.gaussians.tensors import Gaussians
from facelift_core.images import contact_sheet, to_pictures, write_contact_sheet, write_picture
from facelift_core.rendering import cameras, render
from facelift_core.rendering.turntable import write_turntable

GOLDENS = Path(__file__).parent / "goldens" / "post"


def blobs() -> Gaussians:
    """Four soft balls of different colours around the axis: every view of them differs."""
    angle = torch.arange(4) * torch.pi / 2
    positions = torch.stack([0.5 * angle.cos(), 0.5 * angle.sin(), 0.1 * torch.arange(4) - 0.2], dim=1)
    sh = torch.tensor([[1.5, -1, -1], [-1, 1.5, -1], [-1, -1, 1.5], [1, 1, -1.5]])[:, None]
    return Gaussians(
        positions, sh, torch.full((4, 3), -1.8), torch.tensor([[1.0, 0, 0, 0]]).repeat(4, 1), torch.full((4,), 3.0)
    )


def decoded(path: Path) -> tuple[dict, np.ndarray]:
    """The video's properties and its frames (N, H, W, 3) uint8."""
    reader = imageio_ffmpeg.read_frames(str(path))
    properties = next(reader)
    width, height = properties["size"]
    return properties, np.stack([np.frombuffer(frame, np.uint8).reshape(height, width, 3) for frame in reader])


def test_cameras_equal_the_reference():
    expected = load_file(GOLDENS / "turntable.safetensors")
    assert (cameras.turntable(8) - expected["c2w"]).abs().max() <= 1e-6
    assert (cameras.intrinsics(512).expand(8, 4) - expected["fxfycxcy"]).abs().max() <= 1e-6


def test_the_video_shows_the_turn(tmp_path):
    path = tmp_path / "head.mp4"
    told = []
    write_turntable(blobs(), path, frames=6, fps=30, size=96, progress=lambda *event: told.append(event))
    assert os.listdir(tmp_path) == ["head.mp4"]
    properties, frames = decoded(path)
    assert (properties["codec"], properties["fps"], properties["size"]) == ("h264", 30.0, (96, 96))
    assert properties["pix_fmt"].startswith("yuv420p")
    expected = render(blobs(), cameras.turntable(6), cameras.intrinsics(96), 96, 96).clamp(0, 1).numpy()
    assert frames.shape == expected.shape
    error = ((frames[:, None] / 255 - expected[None]) ** 2).mean(axis=(2, 3, 4))
    psnr = -10 * np.log10(error)
    assert psnr.argmax(axis=1).tolist() == [0, 1, 2, 3, 4, 5]
    assert psnr.diagonal().min() > 33 and np.median(psnr) < 25
    assert [event[0] for event in told] == ["turntable"] * 7
    assert [event[1] for event in told] == sorted(event[1] for event in told)
    assert told[0][1] == 0.0 and told[-1][1] == 1.0


def test_start_elevation_and_background(tmp_path):
    write_turntable(blobs(), tmp_path / "a.mp4", frames=1, size=64, start=30.0, elevation=40.0, background=(0, 0, 0.5))
    _, frames = decoded(tmp_path / "a.mp4")
    pose = cameras.orbit(torch.tensor([30.0]), 40.0)
    expected = render(blobs(), pose, cameras.intrinsics(64), 64, 64, (0, 0, 0.5)).clamp(0, 1).numpy()
    assert -10 * np.log10(((frames / 255 - expected) ** 2).mean()) > 30


def test_cancelling_leaves_nothing_behind(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"old")
    asked = iter([False] * 4)
    with pytest.raises(Cancelled):
        write_turntable(blobs(), tmp_path / "a.mp4", frames=20, size=32, cancelled=lambda: next(asked, True))
    assert next(asked, None) is None
    assert os.listdir(tmp_path) == ["a.mp4"]
    assert (tmp_path / "a.mp4").read_bytes() == b"old"


def test_an_error_while_drawing_leaves_nothing_behind(tmp_path):
    def broken(stage, fraction, message):
        if fraction > 0.4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_turntable(blobs(), tmp_path / "a.mp4", frames=10, size=32, progress=broken)
    assert os.listdir(tmp_path) == []


def test_a_full_disk_is_noticed(tmp_path):
    resource = pytest.importorskip("resource", reason="limits of a process are POSIX")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limits[1]))
    try:
        with pytest.raises(FaceLiftError, match=r"ffmpeg failed.*disk is not full"):
            write_turntable(blobs(), tmp_path / "a.mp4", frames=30, size=96)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("name", "settings", "words"),
    [
        ("a.avi", {}, r"must end with \.mp4"),
        ("a.mp4", {"frames": 0}, "not 0 at"),
        ("a.mp4", {"fps": 0}, "at 0 fps"),
        ("a.mp4", {"size": 63}, "even number of pixels, not 63"),
        ("missing/a.mp4", {}, "does not exist"),
        ("folder.mp4", {"frames": 1, "size": 16}, "Cannot write"),
    ],
)
def test_bad_settings_get_a_sentence(name, settings, words, tmp_path):
    (tmp_path / "folder.mp4").mkdir()
    with pytest.raises(FaceLiftError, match=words):
        write_turntable(blobs(), tmp_path / name, **settings)
    assert os.listdir(tmp_path) == ["folder.mp4"]


def test_a_machine_without_ffmpeg_gets_a_sentence(tmp_path, monkeypatch):
    def missing() -> str:
        raise RuntimeError("No ffmpeg exe could be found.")

    monkeypatch.setattr("imageio_ffmpeg.get_ffmpeg_exe", missing)
    with pytest.raises(FaceLiftError, match="ffmpeg was not found"):
        write_turntable(blobs(), tmp_path / "a.mp4", frames=2, size=32)
    assert os.listdir(tmp_path) == []


# ---- pictures --------------------------------------------------------------------------------------------------------


def test_contact_sheet_is_a_row_of_views():
    views = torch.rand(6, 3, 20, 30, generator=torch.Generator().manual_seed(0))
    sheet = contact_sheet(views)
    assert (sheet.size, sheet.mode) == ((180, 20), "RGB")
    expected = (views.permute(2, 0, 3, 1).reshape(20, 180, 3) * 255).round().byte().numpy()
    assert np.array_equal(np.asarray(sheet), expected)
    assert np.array_equal(np.asarray(contact_sheet(views.movedim(1, 3))), expected)


def test_contact_sheet_is_a_grid_on_white():
    images = [Image.new("RGBA", (4, 4), (10 * i, 0, 0, 255)) for i in range(4)] + [Image.new("L", (2, 2), 7)]
    sheet = np.asarray(contact_sheet(images, columns=2))
    assert sheet.shape == (12, 8, 3)
    assert sheet[5, 5].tolist() == [30, 0, 0]
    assert sheet[9, 1].tolist() == [7, 7, 7] and sheet[8, 0].tolist() == [255, 255, 255]
    assert (sheet[8:, 4:] == 255).all()


def test_values_outside_the_range_are_clipped():
    values = torch.tensor([-1.0, 0.5, 2.0]).expand(1, 2, 2, 3)
    assert np.asarray(to_pictures(values)[0])[0, 0].tolist() == [0, 128, 255]


def test_contact_sheet_refuses_what_it_cannot_show():
    for pictures, columns in (([], None), ([Image.new("RGB", (2, 2))], 0)):
        with pytest.raises(FaceLiftError, match="at least one"):
            contact_sheet(pictures, columns)
    with pytest.raises(FaceLiftError, match="must have shape"):
        contact_sheet(torch.zeros(3, 8, 8))


def test_pictures_are_written_whole_or_not_at_all(tmp_path):
    views = torch.rand(2, 3, 8, 8)
    for name in ("a.png", "a.jpg", "a.WEBP"):
        write_contact_sheet(views, tmp_path / name)
        assert Image.open(tmp_path / name).size == (16, 8)
    assert sorted(os.listdir(tmp_path)) == ["a.WEBP", "a.jpg", "a.png"]
    for name, words in (("a.xyz", "not an image format"), ("a", "not an image format"), ("b/a.png", "Cannot write")):
        with pytest.raises(FaceLiftError, match=words):
            write_contact_sheet(views, tmp_path / name)
    with pytest.raises(FaceLiftError, match="Cannot write"):
        write_picture(Image.new("RGBA", (2, 2)), tmp_path / "b.jpg")
    with pytest.raises(FaceLiftError, match="Cannot write"):
        write_picture(Image.new("RGB", (2, 2)), tmp_path / "b.psd")
    assert len(os.listdir(tmp_path)) == 3

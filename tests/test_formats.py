"""Every file format of Gaussians: round trips, what is lost, and files of the program that defined the format."""

from __future__ import annotations

import io
import json
import re
import struct
import sys
import tracemalloc
import zipfile
import zlib
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from facelift_core.errors import FaceLiftError
from facelift_core.gaussians import axes, quantization
from facelift_core.gaussians.files import FORMATS, MissingModule, SplatArrays, format_of, read, write
from facelift_core.gaussians.transforms import rotation_matrices, transform
from facelift_core.rendering import render
from facelift_core.rendering.cameras import intrinsics, orbit
from facelift_core.rendering.metrics import psnr

WITHOUT_USD = pytest.mark.skipif(find_spec("pxr") is None, reason="usd-core, of requirements.txt, is not installed")
SUFFIXES = [
    pytest.param(entry.suffix, marks=[WITHOUT_USD] if entry.suffix.startswith(".usd") else []) for entry in FORMATS
]


def splats(count: int = 700, degree: int = 0, seed: int = 0) -> SplatArrays:
    draw = np.random.default_rng(seed)
    arrays = (
        draw.uniform(-1, 1, (count, 3)),
        draw.normal(0, 0.15, (count, (degree + 1) ** 2, 3)),
        draw.normal(-4, 0.7, (count, 3)),
        draw.normal(size=(count, 4)),
        draw.normal(1, 2, count),
    )
    return SplatArrays(*(array.astype(np.float32) for array in arrays))


def ball(count: int = 6000, degree: int = 0) -> SplatArrays:
    """A colored surface of the size of a head."""
    draw = np.random.default_rng(1)
    directions = draw.normal(size=(count, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    sh = np.concatenate([1.5 * directions[:, None], draw.normal(0, 0.1, (count, (degree + 1) ** 2 - 1, 3))], axis=1)
    scales = draw.normal(-3.6, 0.3, (count, 3))
    arrays = (0.6 * directions, sh, scales, draw.normal(size=(count, 4)), draw.normal(2, 1, count))
    return SplatArrays(*(array.astype(np.float32) for array in arrays))


def matched(found: SplatArrays, expected: SplatArrays) -> SplatArrays:
    """`found` in the order of `expected`; some formats sort."""
    distance, index = torch.cdist(torch.from_numpy(expected.positions), torch.from_numpy(found.positions)).min(dim=1)
    assert len(index.unique()) == len(expected) and distance.max() < 5e-3
    return found[index.numpy()]


def assert_close(found: SplatArrays, expected: SplatArrays, *, position, color, sh, log_scale, turn, opacity) -> None:
    """Compare attributes: colors and opacities from 0 to 1, `turn` in degrees."""
    found = matched(found, expected)
    np.testing.assert_allclose(found.positions, expected.positions, atol=position)
    np.testing.assert_allclose(found.colors.clip(0, 1), expected.colors.clip(0, 1), atol=color)
    np.testing.assert_allclose(found.log_scales, expected.log_scales, atol=log_scale)
    if sh is not None:
        np.testing.assert_allclose(found.sh[:, 1:], expected.sh[:, 1:], atol=sh)
    between = rotation_matrices(found.rotations).transpose(0, 2, 1) @ rotation_matrices(expected.rotations)
    angle = np.degrees(np.arccos(((np.trace(between, axis1=1, axis2=2) - 1) / 2).clip(-1, 1)))
    assert angle.max() < turn
    alphas = quantization.opacities(found.opacity_logits), quantization.opacities(expected.opacity_logits)
    np.testing.assert_allclose(*alphas, atol=opacity)


TOLERANCES = {
    ".ply": dict(position=0, color=0, sh=0, log_scale=0, turn=1e-3, opacity=0),
    ".compressed.ply": dict(position=4e-3, color=3e-3, sh=0.016, log_scale=4e-3, turn=0.3, opacity=2e-3),
    ".spz": dict(position=2e-7, color=4e-3, sh=0.012, log_scale=0.032, turn=0.3, opacity=2e-3),
    ".sog": dict(position=6e-5, color=0.01, sh=0.03, log_scale=0.08, turn=1.0, opacity=2e-3),
    ".glb": dict(position=0, color=0, sh=0, log_scale=2e-6, turn=1e-3, opacity=1e-7),
    ".usda": dict(position=0, color=0, sh=0, log_scale=2e-6, turn=1e-3, opacity=1e-7),
    ".usdc": dict(position=0, color=0, sh=0, log_scale=2e-6, turn=1e-3, opacity=1e-7),
    ".splat": dict(position=0, color=2e-3, sh=None, log_scale=1e-5, turn=1.6, opacity=2e-3),
}
"""The steps of each format, halved, with some room where several numbers make one."""


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_round_trip_stays_within_the_steps_of_the_format(suffix, degree, tmp_path):
    written = splats(degree=degree)
    write(written, tmp_path / f"a{suffix}")
    found = read(tmp_path / f"a{suffix}")
    assert found.sh_degree == min(degree, format_of(f"a{suffix}").sh_degree)
    assert_close(found, written, **TOLERANCES[suffix])
    assert [path.name for path in tmp_path.iterdir()] == [f"a{suffix}"]


@pytest.mark.parametrize("suffix", [entry.suffix for entry in FORMATS if entry.lossless])
def test_lossless_formats_keep_every_bit(suffix, tmp_path):
    written = splats(degree=3)
    write(written, tmp_path / f"a{suffix}")
    found = read(tmp_path / f"a{suffix}")
    for name in ("positions", "sh", "log_scales", "rotations", "opacity_logits"):
        assert np.array_equal(getattr(found, name), getattr(written, name)), name


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_one_gaussian_and_extreme_values(suffix, tmp_path):
    one = splats(1)
    write(one, tmp_path / f"a{suffix}")
    assert_close(read(tmp_path / f"a{suffix}"), one, **TOLERANCES[suffix])
    many = splats(300)
    many.opacity_logits[:2], many.log_scales[2] = (90.0, -90.0), -30.0
    many.sh[3], many.rotations[4] = 40.0, (1e-12, 0, 0, 0)
    write(many, tmp_path / f"a{suffix}")
    found = matched(read(tmp_path / f"a{suffix}"), many)
    assert quantization.opacities(found.opacity_logits)[:2].tolist() == pytest.approx([1, 0], abs=1e-6)
    assert np.exp(found.log_scales[2]).max() < 1e-4 and found.colors[3].min() > 0.99


@pytest.mark.parametrize("degree", [0, 2])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_pictures_agree(suffix, degree, tmp_path):
    head = ball(3000, degree)
    write(head, tmp_path / f"a{suffix}")
    if format_of(f"a{suffix}").sh_degree == 0:
        head = replace(head, sh=head.sh[:, :1])
    cameras, lens = orbit(torch.tensor([270.0, 315.0, 90.0])), intrinsics(128)
    pictures = [
        render(each.to_gaussians(), cameras, lens, 128, 128).clamp(0, 1).permute(0, 3, 1, 2)
        for each in (read(tmp_path / f"a{suffix}"), head)
    ]
    assert psnr(*pictures).min() > 40


@pytest.mark.parametrize("version", [2, 3, 4])
@pytest.mark.parametrize("degree", [0, 3])
def test_versions_of_spz(version, degree, tmp_path):
    if version == 4:
        pytest.importorskip("zstandard", reason="zstandard, of requirements.txt, is not installed")
    written = splats(degree=degree)
    write(written, tmp_path / "a.spz", version=version)
    found = read(tmp_path / "a.spz")
    assert_close(found, written, **TOLERANCES[".spz"] | {"turn": 12 if version == 2 else 0.3})


def test_spz_states_y_up(tmp_path):
    """Its world is right, up, back: the head's top, our +Z, lies at +Y, and its face, our −Y, at +Z."""
    head = splats(2)
    head.positions[:] = [[0.25, 0, 1], [0.25, -1, 0]]
    write(head, tmp_path / "a.spz")
    fixed = zlib.decompress((tmp_path / "a.spz").read_bytes(), 31)[16:34]
    wide = np.zeros((2, 3, 4), np.uint8)
    wide[:, :, 1:] = np.frombuffer(fixed, np.uint8).reshape(2, 3, 3)
    assert np.sign(wide.view("<i4")[:, :, 0]).tolist() == [[1, 1, 0], [1, 0, 1]]
    assert np.array_equal(read(tmp_path / "a.spz").positions, head.positions)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_cannot_be_written(suffix, tmp_path):
    bad = splats(7)
    bad.positions[2, 1] = np.nan
    with pytest.raises(FaceLiftError, match="1 of 7 Gaussians contain NaN"):
        write(bad, tmp_path / f"a{suffix}")
    with pytest.raises(FaceLiftError, match="no Gaussians to write"):
        write(bad[:0], tmp_path / f"a{suffix}")
    with pytest.raises(FaceLiftError, match=re.escape(str(tmp_path / "none"))):
        write(splats(7), tmp_path / "none" / f"a{suffix}")
    with pytest.raises(FaceLiftError, match="have no option “quality”"):
        write(splats(7), tmp_path / f"a{suffix}", quality=3)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_damaged_files_get_one_sentence_and_no_more_memory_than_they_need(suffix, tmp_path):
    path = tmp_path / f"a{suffix}"
    write(splats(200, degree=1), path)
    whole, draw = path.read_bytes(), np.random.default_rng(0)
    refused, cases = 0, 4 if suffix in (".usda", ".usdc") else 150  # those are read in a process of their own
    for i in range(cases):
        content = bytearray(whole)
        for _ in range(int(draw.integers(1, 5))):
            end = min(len(content), 60) if i % 2 else len(content)
            content[int(draw.integers(0, end))] = int(draw.integers(0, 256))
        if i % 3 == 0:
            del content[int(draw.integers(0, len(content))) :]
        path.write_bytes(content)
        try:
            found = read(path, tell=lambda message: None)
        except FaceLiftError as error:
            refused += 1
            assert str(path) in str(error) and "\n" not in str(error)
        else:
            assert all(np.isfinite(values).all() for values in (found.positions, found.log_scales, found.sh))
    assert refused > cases / 15


def test_a_package_that_is_missing_is_named(tmp_path, monkeypatch):
    """Blender's Python lacks Pillow and USD; there, the file is handed to the runtime."""
    write(splats(9), tmp_path / "a.sog")
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    monkeypatch.setitem(sys.modules, "pxr.Usd", None)
    (tmp_path / "a.usdc").write_bytes(b"PXR-USDC")
    for name, module in (("a.sog", "PIL"), ("a.usdc", "pxr")):
        with pytest.raises(MissingModule, match="is not installed here") as error:
            read(tmp_path / name)
        assert error.value.module == module
    with pytest.raises(MissingModule):
        write(splats(9), tmp_path / "b.sog")
    write(splats(9), tmp_path / "b.usda")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.sog", "a.usdc", "b.usda"]


def test_a_palette_stands_for_many_spherical_harmonics(tmp_path):
    many = splats(6000, degree=2)
    write(many, tmp_path / "a.sog")
    found = matched(read(tmp_path / "a.sog"), many)
    error, size = (np.sqrt((values**2).mean()) for values in (found.sh[:, 1:] - many.sh[:, 1:], many.sh[:, 1:]))
    assert error < 0.75 * size  # noise has no structure that a palette could use; half of it would already be good


def test_glb_keeps_the_numbers_and_turns_the_node(tmp_path):
    written = splats(5, degree=3)
    write(written, tmp_path / "a.glb")
    data = (tmp_path / "a.glb").read_bytes()
    size = int.from_bytes(data[12:16], "little")
    document = json.loads(data[20 : 20 + size])
    assert np.array_equal(np.frombuffer(data, "<f4", 15, 28 + size).reshape(5, 3), written.positions)
    matrix = np.array(document["nodes"][0]["matrix"]).reshape(4, 4).T
    assert (matrix @ [0, 0, 1, 1]).tolist() == [0, 1, 0, 1] and (matrix @ [0, -1, 0, 1]).tolist() == [0, 0, 1, 1]


def with_nodes(path: Path, nodes: list, scene: list[int]) -> None:
    data = path.read_bytes()
    size = int.from_bytes(data[12:16], "little")
    document = json.loads(data[20 : 20 + size]) | {"nodes": nodes, "scenes": [{"nodes": scene}]}
    text = json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    path.write_bytes(data[:12] + len(text).to_bytes(4, "little") + data[16:20] + text + data[20 + size :])


def test_nodes_of_glb_place_what_they_hold(tmp_path):
    written = splats(5, degree=1)
    write(written, tmp_path / "a.glb")
    nodes = [
        {"children": [1, 2], "translation": [1, 2, 3]},
        {"mesh": 0, "scale": [2, 2, 2], "rotation": [0, 0.6, 0, 0.8]},
        {"mesh": 0},
    ]
    with_nodes(tmp_path / "a.glb", nodes, [0])
    found = read(tmp_path / "a.glb")
    assert len(found) == 10
    expected = transform(written, axes.Y_UP_TO_Z_UP)
    np.testing.assert_allclose(
        np.sort(found.positions[:5], 0), np.sort(expected.positions + np.array([1, -3, 2]), 0), atol=1e-6
    )
    with_nodes(tmp_path / "a.glb", [{"children": [0], "mesh": 0}], [0])
    with pytest.raises(FaceLiftError, match="not a tree"):
        read(tmp_path / "a.glb")
    with_nodes(tmp_path / "a.glb", [{"mesh": 0, "scale": [1, 0, 1]}], [0])
    with pytest.raises(FaceLiftError, match="flat or not finite"):
        read(tmp_path / "a.glb")


@pytest.mark.parametrize(("name", "content"), [
    ("a.spz", zlib.compress(struct.pack("<IIIBBBB", 0x5053474E, 3, 2_000_000_000, 3, 12, 0, 0), wbits=31)),
    ("a.spz", struct.pack("<IIIBBBBI", 0x5053474E, 4, 2_000_000_000, 0, 12, 0, 5, 32) + b"\0" * 100),
    ("a.compressed.ply", b"ply\nformat binary_little_endian 1.0\nelement chunk 900000000\nproperty float min_x\n"
     b"element vertex 900000000\nproperty uint packed_position\nend_header\n"),
])  # fmt: skip
def test_announced_sizes_are_checked_before_memory_is_taken(name, content, tmp_path):
    (tmp_path / name).write_bytes(content)
    tracemalloc.start()
    try:
        with pytest.raises(FaceLiftError, match=re.escape(name)):
            read(tmp_path / name)
        assert tracemalloc.get_traced_memory()[1] < 5e6
    finally:
        tracemalloc.stop()


def test_a_bomb_in_sog_is_refused(tmp_path):
    write(splats(100), tmp_path / "a.sog")
    with zipfile.ZipFile(tmp_path / "a.sog") as old, zipfile.ZipFile(tmp_path / "b.sog", "w") as new:
        for name in old.namelist():
            if name == "quats.webp":
                big = io.BytesIO()
                Image.new("RGBA", (3000, 3000)).save(big, "PNG")
                new.writestr(name, big.getvalue())
            else:
                new.writestr(name, old.read(name))
    with pytest.raises(FaceLiftError, match="larger than"):
        read(tmp_path / "b.sog")

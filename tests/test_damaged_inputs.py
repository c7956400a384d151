"""Some three hundred damaged, odd and hostile inputs through the command line.

Each must end in one clear sentence and a non-zero exit code, with nothing written and nothing executed.
"""

import io
import json
import pickle
import random
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from checkpoints import copy_checkpoint
from PIL import Image
from safetensors.torch import load_file, save_file

from facelift_core import Gaussians
from facelift_core.cli import main

SENTENCE_MAX = 400


def landscape() -> Image.Image:
    """A picture that no detector takes for a face, so that damage which leaves it readable still is an error."""
    y, x = np.mgrid[0:96, 0:128]
    pixels = np.stack([x * 2 % 256, (x * y) % 64 + 60, 200 - y], axis=-1)
    return Image.fromarray(pixels.astype(np.uint8))


def encoded(picture_format: str) -> bytes:
    buffer = io.BytesIO()
    landscape().save(buffer, picture_format)
    return buffer.getvalue()


def cuts(content: bytes, count: int) -> Iterator[tuple[str, bytes]]:
    for i in range(count):
        yield f"cut{i}", content[: len(content) * i // count]


def flips(content: bytes, count: int, reach: int) -> Iterator[tuple[str, bytes]]:
    """Some bytes of the first `reach` replaced."""
    source = random.Random(7)
    for i in range(count):
        damaged = bytearray(content)
        for _ in range(source.randint(1, 12)):
            damaged[source.randrange(min(reach, len(damaged)))] = source.randrange(256)
        yield f"flip{i}", bytes(damaged)


def png_claiming(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")


def damaged_photos() -> Iterator[tuple[str, bytes]]:
    for picture_format in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM"):
        content = encoded(picture_format)
        for name, damaged in (*cuts(content, 8), *flips(content, 10, 64)):
            yield f"{picture_format}_{name}.{picture_format.lower()}", damaged
    yield "text.jpg", b"This is not a picture.\n" * 20
    yield "page.png", b"<!DOCTYPE html><html><body>404</body></html>"
    yield "zeros.jpg", bytes(5000)
    yield "noise.webp", random.Random(1).randbytes(5000)
    yield "archive.png", b"PK\x03\x04" + bytes(100)
    yield "script.svg", b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>"
    yield "no_suffix", encoded("PNG")
    for side in (0, 30_000, 2**31 - 1):
        yield f"huge{side}.png", png_claiming(side, side)
    yield "tiny.png", png_claiming(1, 1)


def head_file(path: Path) -> bytes:
    n = 40
    g = torch.Generator().manual_seed(0)
    head = Gaussians(
        torch.randn(n, 3, generator=g), torch.randn(n, 1, 3, generator=g), torch.full((n, 3), -3.0),
        torch.randn(n, 4, generator=g), torch.randn(n, generator=g),
    )  # fmt: skip
    head.save(path)
    return path.read_bytes()


def damaged_heads(good: bytes) -> Iterator[tuple[str, bytes]]:
    end = good.index(b"end_header\n") + len(b"end_header\n")
    header, body = good[:end], good[end:]
    for name, damaged in cuts(good, 60):
        yield name, damaged
    for old, new in (
        (b"ply\n", b"plx\n"),
        (b"vertex 40", b"vertex 0"),
        (b"vertex 40", b"vertex -4"),
        (b"vertex 40", b"vertex 41"),
        (b"vertex 40", b"vertex 99999999999999"),
        (b"vertex 40", b"vertex forty"),
        (b"vertex 40", b"corner 40"),
        (b"binary_little_endian 1.0", b"binary_little_endian 2.0"),
        (b"binary_little_endian", b"compressed"),
        (b"binary_little_endian", b"ascii"),
        (b"property float x\n", b"property list uchar float x\n"),
        (b"property float x\n", b"property quaternion x\n"),
        (b"property float x\n", b""),
        (b"property float rot_3\n", b""),
        (b"property float scale_0\n", b""),
        (b"property float opacity\n", b""),
        (b"property float f_dc_1\n", b""),
        (b"end_header\n", b"end_headache\n"),
    ):
        assert old in header
        yield f"header {old[:12]!r} to {new[:24]!r}", header.replace(old, new, 1) + body
    row = len(body) // 40
    for value in (float("nan"), float("inf"), float("-inf")):
        for offset in (0, 4, 8, row - 16, row - 28):  # x, y, z, rot_0, scale_0
            damaged = bytearray(body)
            damaged[5 * row + offset : 5 * row + offset + 4] = struct.pack("<f", value)
            yield f"{value} at {offset}", header + bytes(damaged)
    yield "endless header", b"ply\nformat ascii 1.0\n" + b"comment x\n" * 300_000
    yield "picture", encoded("PNG")
    yield "zeros", bytes(10_000)


class Trap:
    """Unpickling this would create a file."""

    def __init__(self, victim: Path):
        self.victim = victim

    def __reduce__(self):
        return (Path.touch, (self.victim,))


def damaged_weights(folder: Path, victim: Path) -> Iterator[tuple[str, Path]]:
    """Checkpoints with one thing wrong each; `victim` is the file that hostile ones try to create."""
    number = iter(range(1000))

    def fresh() -> Path:
        copy = folder / f"w{next(number)}"
        copy.mkdir()
        return copy_checkpoint(copy)

    pipeline = "mvdiffusion/pipeckpts"
    tensors = [f"{pipeline}/{part}" for part in (
        "unet/diffusion_pytorch_model.safetensors", "vae/diffusion_pytorch_model.safetensors",
        "image_encoder/model.safetensors", "image_normalizer/diffusion_pytorch_model.safetensors",
        "text_encoder/model.safetensors",
    )]  # fmt: skip
    configs = [f"{pipeline}/{part}" for part in (
        "unet/config.json", "vae/config.json", "image_encoder/config.json", "text_encoder/config.json",
        "scheduler/scheduler_config.json", "image_noising_scheduler/scheduler_config.json",
        "feature_extractor/preprocessor_config.json",
    )]  # fmt: skip
    gslrm = "gslrm/ckpt_0000000000021125.pt"
    for part in (*tensors, *configs, gslrm):
        weights = fresh()
        (weights / part).unlink()
        yield f"no {part}", weights
        weights = fresh()
        (weights / part).write_bytes(b"")
        yield f"empty {part}", weights
        weights = fresh()
        content = (weights / part).read_bytes()
        (weights / part).write_bytes(content[: len(content) // 2])
        yield f"half of {part}", weights
    for part in tensors:
        weights = fresh()
        state = load_file(weights / part)
        name = sorted(state)[0]
        save_file({k: v for k, v in state.items() if k != name}, weights / part)
        yield f"{part} without {name}", weights
        weights = fresh()
        (weights / part).write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n")
        yield f"pointer {part}", weights
    for part in configs[:3]:
        weights = fresh()
        (weights / part).write_text("[1, 2]")
        yield f"list in {part}", weights
    weights = fresh()
    config = json.loads((weights / configs[0]).read_text())
    (weights / configs[0]).write_text(json.dumps(config | {"cd_attention_mid": True}))
    yield "cross-domain attention", weights
    for name, payload in (("pickle", pickle.dumps(Trap(victim))), ("page", b"<!doctype html><p>Sign in")):
        weights = fresh()
        (weights / gslrm).write_bytes(payload)
        yield f"{name} as GS-LRM", weights
    weights = fresh()
    torch.save({"model": {"x": Trap(victim)}}, weights / gslrm)
    yield "trap in a checkpoint", weights
    yield "missing", folder / "nowhere"
    (folder / "empty").mkdir()
    yield "empty", folder / "empty"


def one_sentence(message: str) -> bool:
    return 10 < len(message) < SENTENCE_MAX and "\n" not in message and "Traceback" not in message


def test_photos(tmp_path, weights_folder, capsys):
    folder, out = tmp_path / "photos", tmp_path / "out"
    folder.mkdir()
    photos = []
    for name, content in damaged_photos():
        (folder / name).write_bytes(content)
        photos.append(folder / name)
    (folder / "folder.jpg").mkdir()
    photos += [folder / "folder.jpg", folder / "missing.png"]
    assert len(photos) > 130
    code = main(["reconstruct", *map(str, photos), "-o", str(out), "--weights", str(weights_folder), "--device", "cpu"])
    captured = capsys.readouterr()
    assert code == 1
    for photo in photos:
        said = [line for line in captured.err.splitlines() if str(photo) in line]
        assert said and all(one_sentence(line) for line in said), (photo.name, said)
    assert "Traceback" not in captured.err and "Unexpected error" not in captured.err
    assert not list(out.rglob("*")) if out.exists() else True


def test_heads(tmp_path, capsys):
    good = head_file(tmp_path / "good.ply")
    output = tmp_path / "picture.png"
    assert main(["render", str(tmp_path / "good.ply"), "-o", str(output), "--size", "16"]) == 0
    output.unlink()
    cases = list(damaged_heads(good))
    assert len(cases) > 90
    capsys.readouterr()
    read = []
    for name, content in cases:
        path = tmp_path / "damaged.ply"
        path.write_bytes(content)
        code = main(["render", str(path), "-o", str(output), "--size", "16"])
        said = capsys.readouterr().err.strip()
        if code == 0:  # rows that can be drawn remain; the others are counted
            assert "Gaussians were left out" in said or name.startswith("-inf"), (name, said)  # a scale of zero
            output.unlink()
            read.append(name)
            continue
        assert code == 1, name
        assert one_sentence(said) and "Unexpected error" not in said, (name, said)
        assert not output.exists(), name
    assert len(read) <= 16, read  # one broken row each, 15 of them; and a column that is missing


@pytest.mark.slow
def test_weights(tmp_path, capsys):
    photo, victim = tmp_path / "photo.png", tmp_path / "executed"
    landscape().save(photo)
    output = tmp_path / "out" / "head.ply"
    output.parent.mkdir()
    (tmp_path / "weights").mkdir()
    cases = list(damaged_weights(tmp_path / "weights", victim))
    assert len(cases) > 50
    for name, weights in cases:
        code = main(["reconstruct", str(photo), "-o", str(output), "--weights", str(weights), "--device", "cpu"])
        said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("facelift:")]
        assert code == 1, name
        assert len(said) == 1 and one_sentence(said[0]) and "Unexpected error" not in said[0], (name, said)
        assert not list(output.parent.iterdir()), name
        assert not victim.exists(), f"{name} was executed"


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_the_trap_works(tmp_path, protocol):
    """The hostile files above are hostile: an unguarded unpickler does run them."""
    pickle.loads(pickle.dumps(Trap(tmp_path / "executed"), protocol))
    assert (tmp_path / "executed").exists()

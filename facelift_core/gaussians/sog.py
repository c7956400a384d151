"""Read and write .sog files (PlayCanvas, version 2): a zip of lossless WebP images and their description.

A pixel is a Gaussian. Positions have 16 bits of their signed logarithm, rotations 2 + 3 × 8 bits, opacity 8 bits;
scales and base colors are indices into 256 values that fit the file, higher spherical harmonics indices into a palette.
Images are read and written by Pillow.
"""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from .. import bounded_json
from ..files import replacing
from . import palettes, quantization
from .arrays import SplatArrays
from .damage import MALFORMED, MAX_EXPANSION, Damaged, check_expansion, needed, reading

_MAX_DESCRIPTION = 1 << 22
_SH_BASES = {1: 3, 2: 8, 3: 15}
_PALETTE_WIDTH = 64
"""Palette entries in a row of the image of their features."""


def write(splats: SplatArrays, path: Path) -> None:
    """Write a .sog file atomically. The order of the Gaussians changes.

    Raises:
        FaceLiftError: the file cannot be written.
        MissingModule: this Python lacks Pillow.
    """
    needed(path, "PIL.Image")
    splats = splats[quantization.morton_order(splats.positions)]
    count = len(splats)
    logs = np.sign(splats.positions) * np.log1p(np.abs(splats.positions.astype(np.float64)))
    low, high = logs.min(axis=0), logs.max(axis=0)
    steps = np.rint((logs - low) / np.where(high > low, high - low, 1.0) * 65535).astype(np.uint16)
    largest, others = quantization.smallest_three(splats.rotations)
    scales, scale_steps = palettes.codebook(splats.log_scales)
    colors, color_steps = palettes.codebook(splats.sh[:, 0])
    opacity = quantization.to_bytes(quantization.opacities(splats.opacity_logits) * 255)
    images = {
        "means_l.webp": _pixels(steps & 255),
        "means_u.webp": _pixels(steps >> 8),
        "quats.webp": _pixels(quantization.to_bytes((others * np.sqrt(2) * 0.5 + 0.5) * 255), 252 + largest),
        "scales.webp": _pixels(scale_steps),
        "sh0.webp": _pixels(color_steps, opacity),
    }
    description: dict[str, Any] = {
        "version": 2,
        "asset": {"generator": "FaceLift for Blender"},
        "count": count,
        "means": {"mins": low.tolist(), "maxs": high.tolist(), "files": ["means_l.webp", "means_u.webp"]},
        "scales": {"codebook": scales.tolist(), "files": ["scales.webp"]},
        "quats": {"files": ["quats.webp"]},
        "sh0": {"codebook": colors.tolist(), "files": ["sh0.webp"]},
    }
    if splats.sh_degree:
        entries, labels = palettes.palette(splats.sh[:, 1:].reshape(count, -1))
        values, value_steps = palettes.codebook(entries)
        files = ["shN_centroids.webp", "shN_labels.webp"]
        description["shN"] = {
            "count": len(entries), "bands": splats.sh_degree, "codebook": values.tolist(), "files": files,
        }  # fmt: skip
        bases = splats.sh.shape[1] - 1
        rows = -(-len(entries) // _PALETTE_WIDTH)
        table = np.zeros((rows * _PALETTE_WIDTH, bases, 3), np.uint8)
        table[: len(entries)] = value_steps.reshape(-1, bases, 3)
        images[files[0]] = _opaque(table.reshape(rows, -1, 3))
        images[files[1]] = _pixels(np.stack([labels & 255, labels >> 8, np.zeros_like(labels)], axis=1))
    with replacing(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as bundle:
        bundle.writestr("meta.json", json.dumps(description, separators=(",", ":")))
        for name, pixels in images.items():
            bundle.writestr(name, _webp(pixels, path))


def _pixels(rgb: np.ndarray, alpha: np.ndarray | None = None) -> np.ndarray:
    """(H, W, 4) uint8 image, about square, of (N, 3) values and (N,) alpha, opaque by default."""
    count = len(rgb)
    width = -(-int(np.ceil(count**0.5)) // 4) * 4
    flat = np.zeros((-(-count // width) * width, 4), np.uint8)
    flat[:count, :3], flat[:, 3] = rgb, 255
    if alpha is not None:
        flat[:count, 3] = alpha
    return flat.reshape(-1, width, 4)


def _opaque(rgb: np.ndarray) -> np.ndarray:
    return np.concatenate([rgb, np.full_like(rgb[..., :1], 255)], axis=-1)


def _webp(pixels: np.ndarray, path: Path) -> bytes:
    file = io.BytesIO()
    how = {"lossless": True, "exact": True, "quality": 50, "method": 1}  # more effort: slower, and hardly smaller
    needed(path, "PIL.Image").fromarray(pixels, "RGBA").save(file, "WEBP", **how)
    return file.getvalue()


def read(path: Path) -> SplatArrays:
    """Read a .sog file of version 2.

    Raises:
        FaceLiftError: the file is missing or damaged.
        MissingModule: this Python lacks Pillow.
    """
    with reading(path):
        needed(path, "PIL.Image")
        try:
            with zipfile.ZipFile(path) as bundle:
                return _Reader(bundle, path).splats()
        except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError) as error:
            raise Damaged(f"is not a .sog file, or damaged ({error})") from None
        except MALFORMED as error:
            raise Damaged("is damaged: its description is incomplete, or wrong") from error


class _Reader:
    def __init__(self, bundle: zipfile.ZipFile, path: Path) -> None:
        self.bundle, self.path = bundle, path
        # Some programs put everything into a folder.
        found = [name for name in bundle.namelist() if name.rsplit("/", 1)[-1] == "meta.json"]
        if not found:
            raise Damaged("is not a .sog file: it has no meta.json")
        self.folder = min(found, key=len)[: -len("meta.json")]
        self.meta = bounded_json.parse(self._file("meta.json", _MAX_DESCRIPTION), _MAX_DESCRIPTION)
        if self.meta.get("version") != 2:
            raise Damaged(f"is a .sog file of version {self.meta.get('version', 1)}, which is not supported; 2 is")
        self.count = self.meta["count"]
        if not isinstance(self.count, int) or self.count < 1:
            raise Damaged("contains no Gaussians")
        check_expansion(16 * self.count, path.stat().st_size)

    def splats(self) -> SplatArrays:
        means = self.meta["means"]
        low, high = (np.array(means[name], np.float64).reshape(3) for name in ("mins", "maxs"))
        lower, upper = (self._pixels(name)[:, :3].astype(np.float64) for name in means["files"])
        logs = low + (lower + 256 * upper) / 65535 * (high - low)
        quats = self._pixels(self.meta["quats"]["files"][0])
        largest = quats[:, 3].astype(np.intp) - 252
        rotations = quantization.from_smallest_three(largest.clip(0), (quats[:, :3] / 255.0 * 2 - 1) * np.sqrt(0.5))
        rotations[largest < 0] = (1.0, 0.0, 0.0, 0.0)
        scales = self._pixels(self.meta["scales"]["files"][0])
        base = self._pixels(self.meta["sh0"]["files"][0])
        colors = _codes(self.meta["sh0"])[base[:, :3]]
        with np.errstate(over="ignore", invalid="ignore"):
            positions = (np.sign(logs) * np.expm1(np.abs(logs))).astype(np.float32)
        return SplatArrays(
            positions=positions,
            sh=np.concatenate([colors[:, None], self._higher()], axis=1),
            log_scales=_codes(self.meta["scales"])[scales[:, :3]],
            rotations=rotations,
            opacity_logits=quantization.logits(base[:, 3] / 255),
        )

    def _higher(self) -> np.ndarray:
        """(N, K − 1, 3) higher spherical harmonics."""
        if "shN" not in self.meta:
            return np.empty((self.count, 0, 3), np.float32)
        about = self.meta["shN"]
        bases, entries = _SH_BASES[about["bands"]], about["count"]
        if not isinstance(entries, int) or not 1 <= entries <= 1 << 16:
            raise Damaged("is damaged: its palette of spherical harmonics has no entries, or too many")
        image = self._image(about["files"][0], -(-entries // _PALETTE_WIDTH) * _PALETTE_WIDTH * bases)
        if image.shape[1] != _PALETTE_WIDTH * bases or image.shape[0] * _PALETTE_WIDTH < entries:
            raise Damaged("is damaged: the image of its palette has the wrong size")
        table = _codes(about)[image[..., :3].reshape(-1, bases, 3)[:entries]]
        labels = self._pixels(about["files"][1]).astype(np.intp)
        index = labels[:, 0] + 256 * labels[:, 1]
        if index.max() >= entries:
            raise Damaged("is damaged: it uses entries that its palette does not have")
        return table[index]

    def _pixels(self, name: str) -> np.ndarray:
        """(N, 4) uint8: one pixel per Gaussian."""
        flat = self._image(name, self.count).reshape(-1, 4)
        if len(flat) < self.count:
            raise Damaged(f"is damaged: {name} has fewer pixels than there are Gaussians")
        return flat[: self.count]

    def _image(self, name: str, needs: int) -> np.ndarray:
        """(H, W, 4) uint8 image with at least `needs` pixels, and not many more."""
        image = needed(self.path, "PIL.Image")
        content = io.BytesIO(self._file(name, 16 * needs + 65536))
        try:
            with image.open(content, formats=("WEBP", "PNG")) as picture:
                if picture.width * picture.height > 2 * needs + 65536:
                    raise Damaged(f"is damaged: {name} is larger than its Gaussians need")
                return np.asarray(picture.convert("RGBA"))
        except image.DecompressionBombError:
            raise Damaged(f"is damaged: {name} is larger than any image that can be read") from None
        except (OSError, SyntaxError) as error:
            raise Damaged(f"is damaged: {name} is not an image ({error})") from None

    def _file(self, name: str, limit: int) -> bytes:
        about = self.bundle.getinfo(self.folder + name)
        if about.file_size > min(limit, MAX_EXPANSION * about.compress_size):
            raise Damaged(f"is damaged: {name} is larger than it should be")
        with self.bundle.open(about) as file:
            return file.read(limit)


def _codes(about: dict) -> np.ndarray:
    """(256,) values of a codebook; those that it does not state are NaN."""
    values = np.array(about["codebook"], np.float32).reshape(-1)[:256]
    return np.concatenate([values, np.full(256 - len(values), np.nan, np.float32)])

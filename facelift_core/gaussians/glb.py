"""Read and write .glb files: binary glTF 2.0 with the extension KHR_gaussian_splatting.

Positions, scales, rotations, opacities and spherical harmonics are floats. The world of glTF has Y up: the node has the
matrix that turns ours, so that the numbers of the Gaussians stay as they are. Colors are also written as ``COLOR_0``
for programs that show only a point cloud. The reader takes every primitive with the extension, wherever its node
stands, and the compression of .spz inside.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .. import bounded_json
from ..files import replacing
from . import quantization, spz
from .arrays import SplatArrays, concatenated
from .axes import Y_UP_TO_Z_UP, Z_UP_TO_Y_UP, placed
from .damage import MALFORMED, Damaged, reading
from .gltf_nodes import placed_meshes
from .transforms import transform

EXTENSION = "KHR_gaussian_splatting"
_SPZ = ("KHR_gaussian_splatting_compression_spz_2", "KHR_gaussian_splatting_compression_spz")
_MAGIC, _JSON, _BIN = 0x46546C67, 0x4E4F534A, 0x004E4942
_MAX_JSON = 1 << 24
_MAX_PRIMITIVES = 1000
"""Groups of Gaussians in the scene; a mesh counts as often as it is placed."""
_MAX_COPIES = 30
"""Gaussians may take this many times the file's size in memory, although nodes and arrays may share data."""
_COMPONENTS = {5120: "i1", 5121: "u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
_WIDTHS = {"SCALAR": 1, "VEC3": 3, "VEC4": 4}


def write(splats: SplatArrays, path: Path) -> None:
    """Write a .glb file atomically.

    Raises:
        FaceLiftError: the file cannot be written.
    """
    opacity = quantization.opacities(splats.opacity_logits)
    rgba = np.concatenate([splats.colors.clip(0, 1), opacity[:, None]], axis=1) * 255
    columns = {
        "POSITION": splats.positions,
        "COLOR_0": np.rint(rgba).astype(np.uint8),
        f"{EXTENSION}:ROTATION": quantization.normalized(splats.rotations)[:, [1, 2, 3, 0]],
        f"{EXTENSION}:SCALE": np.exp(splats.log_scales.clip(max=80.0)),
        f"{EXTENSION}:OPACITY": opacity[:, None],
    }
    for k in range(splats.sh.shape[1]):
        columns[_sh_name(k)] = splats.sh[:, k]
    document: dict[str, Any] = {
        "asset": {"version": "2.0", "generator": "FaceLift for Blender"},
        "extensionsUsed": [EXTENSION],
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"name": path.stem, "mesh": 0, "matrix": Z_UP_TO_Y_UP.T.ravel().tolist()}],  # column by column
        "bufferViews": [],
        "accessors": [],
    }
    blocks, offset = [], 0
    for name, values in columns.items():
        data = values if values.dtype == np.uint8 else values.astype("<f4")
        accessor = {
            "bufferView": len(blocks),
            "componentType": 5121 if data.dtype == np.uint8 else 5126,
            "count": len(data),
            "type": {1: "SCALAR", 3: "VEC3", 4: "VEC4"}[data.shape[1]],
        }
        if data.dtype == np.uint8:
            accessor["normalized"] = True
        if name == "POSITION":
            accessor |= {"min": data.min(axis=0).tolist(), "max": data.max(axis=0).tolist()}
        document["accessors"].append(accessor)
        document["bufferViews"].append({"buffer": 0, "byteOffset": offset, "byteLength": data.nbytes, "target": 34962})
        blocks.append(data.tobytes())
        offset += data.nbytes
    document["buffers"] = [{"byteLength": offset}]
    splatting = {"kernel": "ellipse", "colorSpace": "srgb_rec709_display", "projection": "perspective"}
    primitive = {
        "mode": 0,
        "attributes": {name: i for i, name in enumerate(columns)},
        "extensions": {EXTENSION: splatting | {"sortingMethod": "cameraDistance"}},
    }
    document["meshes"] = [{"name": path.stem, "primitives": [primitive]}]
    write_container(document, blocks, path)


def write_container(document: dict[str, Any], blocks: list[bytes], path: Path) -> None:
    """Write a .glb file atomically: the JSON `document`, and the `blocks` of its one buffer.

    Raises:
        FaceLiftError: the file cannot be written.
    """
    size = sum(map(len, blocks))
    text = json.dumps(document, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    with replacing(path) as temporary, open(temporary, "wb") as file:
        file.write(struct.pack("<III", _MAGIC, 2, 12 + 8 + len(text) + 8 + size))
        file.write(struct.pack("<II", len(text), _JSON) + text)
        file.write(struct.pack("<II", size, _BIN))  # every block is a multiple of four bytes
        file.writelines(blocks)


def _sh_name(k: int) -> str:
    degree = int(k**0.5)
    return f"{EXTENSION}:SH_DEGREE_{degree}_COEF_{k - degree * degree}"


def read(path: Path) -> SplatArrays:
    """Read the Gaussians of a .glb file, at their places in its scene.

    Raises:
        FaceLiftError: the file is missing or damaged, or does not hold Gaussians.
        MissingModule: this Python lacks ``zstandard``, for Gaussians compressed as .spz of version 4.
    """
    with reading(path):
        document, binary = _chunks(path)
        parts, room = [], _MAX_COPIES * path.stat().st_size
        try:
            for matrix, mesh in placed_meshes(document):
                for primitive in mesh["primitives"]:
                    if EXTENSION in primitive.get("extensions", {}):
                        splats = _primitive(_Buffer(document, binary), primitive, path)
                        room -= splats.nbytes
                        if room < 0 or len(parts) == _MAX_PRIMITIVES:
                            raise Damaged("is damaged: its nodes repeat its Gaussians too often")
                        parts.append(placed(splats, Y_UP_TO_Z_UP @ matrix))
        except MALFORMED as error:
            raise Damaged("is damaged: its description is incomplete, or wrong") from error
        if not parts:
            raise Damaged(f"does not contain Gaussians: nothing in it has the extension {EXTENSION}")
        return concatenated(parts)


def _chunks(path: Path) -> tuple[dict, np.ndarray]:
    """The JSON document, and the bytes of the binary chunk."""
    data = np.fromfile(path, np.uint8)
    if len(data) < 20:
        raise Damaged("is not a binary glTF file")
    magic, version, _, size, kind = np.frombuffer(data, "<u4", 5).tolist()
    if magic != _MAGIC or version != 2 or kind != _JSON:
        raise Damaged("is not a binary glTF 2.0 file")
    if size > min(len(data) - 20, _MAX_JSON):
        raise Damaged("is cut short inside its description")
    try:
        document = bounded_json.parse(data[20 : 20 + size].tobytes(), size)
    except (ValueError, RecursionError):
        raise Damaged("is damaged: its description is not JSON") from None
    if not isinstance(document, dict):
        raise Damaged("is damaged: its description is not a JSON object")
    start = 20 + size
    if start + 8 > len(data):
        return document, data[:0]
    size, kind = (int.from_bytes(data[start + i : start + i + 4].tobytes(), "little") for i in (0, 4))
    return document, data[start + 8 : start + 8 + size] if kind == _BIN else data[:0]


@dataclass(frozen=True)
class _Buffer:
    """The file's arrays, by the numbers of their accessors."""

    document: dict
    binary: np.ndarray

    def view(self, index: int) -> tuple[np.ndarray, int]:
        """The bytes of a buffer view, and its stride, or 0."""
        view = self.document["bufferViews"][index]
        start, length = view.get("byteOffset", 0), view["byteLength"]
        if view["buffer"] != 0 or "uri" in self.document["buffers"][0]:
            raise Damaged("keeps its data in other files, which is not supported")
        if start < 0 or length < 0 or start + length > len(self.binary):
            raise Damaged("is cut short, or damaged: its arrays are larger than its data")
        return self.binary[start : start + length], view.get("byteStride", 0)

    def array(self, index: int) -> np.ndarray:
        """(N, M) float32 of an accessor; normalized integers become −1 to 1 or 0 to 1."""
        accessor = self.document["accessors"][index]
        if "bufferView" not in accessor or "sparse" in accessor:
            raise Damaged("has sparse arrays, which is not supported")
        data, stride = self.view(accessor["bufferView"])
        kind, width, count = (
            np.dtype(_COMPONENTS[accessor["componentType"]]),
            _WIDTHS[accessor["type"]],
            accessor["count"],
        )
        stride, offset = stride or width * kind.itemsize, accessor.get("byteOffset", 0)
        if count < 1 or stride < width * kind.itemsize or offset < 0:
            raise Damaged("is damaged: an array has no rows, or rows that overlap")
        if offset + (count - 1) * stride + width * kind.itemsize > len(data):
            raise Damaged("is cut short, or damaged: its arrays are larger than its data")
        values = np.ndarray((count, width), kind, data, offset, (stride, kind.itemsize)).astype(np.float32)
        if accessor.get("normalized") and kind.kind in "iu":
            values = np.maximum(values / np.iinfo(kind).max, -1.0)
        return values


def _primitive(buffer: _Buffer, primitive: dict, path: Path) -> SplatArrays:
    inner = primitive["extensions"][EXTENSION].get("extensions", {})
    for name in _SPZ:
        if name in inner:
            data, _ = buffer.view(inner[name]["bufferView"])
            return transform(spz.decode(data.tobytes(), path), Z_UP_TO_Y_UP)
    attributes = primitive["attributes"]
    names = [_sh_name(k) for k in range(16) if _sh_name(k) in attributes]
    if len(names) not in (1, 4, 9, 16):
        raise Damaged(f"has {len(names)} spherical-harmonic features per color; it must have 1, 4, 9 or 16")
    positions = buffer.array(attributes["POSITION"])
    scale, rotation, opacity = (
        buffer.array(attributes[f"{EXTENSION}:{name}"]) for name in ("SCALE", "ROTATION", "OPACITY")
    )
    sh = np.stack([buffer.array(attributes[name]) for name in names], axis=1)
    if {len(array) for array in (scale, rotation, opacity, sh)} != {len(positions)}:
        raise Damaged("is damaged: its arrays have different lengths")
    if primitive["extensions"][EXTENSION].get("colorSpace") == "lin_rec709_display":
        raise Damaged("has Gaussians of linear color, which is not supported; export it in sRGB")
    with np.errstate(divide="ignore", invalid="ignore"):
        # Drafts of the extension kept the logarithm of the scale, which is negative for all but very large Gaussians.
        log_scales = scale if (scale < 0).any() else np.log(scale)
    return SplatArrays(
        positions=positions,
        sh=sh,
        log_scales=log_scales,
        rotations=np.ascontiguousarray(rotation[:, [3, 0, 1, 2]]),
        opacity_logits=quantization.logits(opacity[:, 0]),
    )

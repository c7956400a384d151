"""Read and write .spz files (Niantic): about 20 bytes per Gaussian before compression.

Positions have 24 bits, logarithmic scales, opacity and color 8 bits, rotations 3 × 8 bits (version 2) or 2 + 3 × 10
bits (versions 3 and 4), higher spherical harmonics 8 bits from −1 to 1. Versions 1 to 3 are one gzip stream, version 4
one Zstandard stream per attribute. The format's world has Y up; see :mod:`.axes`.
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np

from ..errors import FaceLiftError
from ..files import replacing
from . import quantization
from .arrays import SplatArrays
from .axes import Y_UP_TO_Z_UP, Z_UP_TO_Y_UP
from .damage import Damaged, check_expansion, needed, reading
from .transforms import transform

_MAGIC = 0x5053474E
_HEADER = struct.Struct("<IIIBBBB")
"""Magic, version, count, SH degree, fractional bits, flags, and from version 4 on the number of streams."""
_HEADER_4_SIZE = 32
_COLOR_SCALE = 0.15
_MAX_FRACTIONAL_BITS = 22


def write(splats: SplatArrays, path: Path, *, version: int = 3) -> None:
    """Write a .spz file atomically.

    Args:
        splats: the Gaussians.
        path: the file.
        version: 2, 3 or 4. Every program reads 3; 4 needs ``zstandard``.

    Raises:
        FaceLiftError: the version is unknown, or the file cannot be written.
    """
    if version not in (2, 3, 4):
        raise FaceLiftError(f"{version!r} is not a version of .spz that can be written; use 2, 3 or 4.")
    zstandard = needed(path, "zstandard") if version == 4 else None
    splats = transform(splats, Z_UP_TO_Y_UP)
    bits = _fractional_bits(splats.positions, path)
    parts = _pack(splats, bits, version)
    header = _HEADER.pack(_MAGIC, version, len(splats), splats.sh_degree, bits, 0, len(parts) if version == 4 else 0)
    with replacing(path) as temporary, open(temporary, "wb") as file:
        if zstandard is None:
            packer = zlib.compressobj(9, wbits=31)
            for part in (header, *parts):
                file.write(packer.compress(part))
            file.write(packer.flush())
        else:
            streams = [zstandard.ZstdCompressor(level=19).compress(part) for part in parts]
            file.write(header + struct.pack("<I12x", _HEADER_4_SIZE))
            for part, stream in zip(parts, streams, strict=True):
                file.write(struct.pack("<QQ", len(stream), len(part)))
            file.writelines(streams)


def _fractional_bits(positions: np.ndarray, path: Path) -> int:
    """As many bits after the point as the largest coordinate leaves of 24."""
    largest = float(np.abs(positions).max())
    for bits in range(_MAX_FRACTIONAL_BITS, 0, -1):
        if largest * (1 << bits) < (1 << 23) - 1:
            return bits
    raise FaceLiftError(f"The Gaussians are too far from the origin for {path}; move them closer, or write a .ply.")


def _pack(splats: SplatArrays, bits: int, version: int) -> list[bytes]:
    fixed = np.rint(splats.positions.astype(np.float64) * (1 << bits)).astype("<i4")
    positions = np.ascontiguousarray(fixed).view(np.uint8).reshape(-1, 4)[:, :3]
    parts = [
        positions,
        quantization.to_bytes(quantization.opacities(splats.opacity_logits) * 255),
        quantization.to_bytes((splats.sh[:, 0] * _COLOR_SCALE + 0.5) * 255),
        quantization.to_bytes((splats.log_scales + 10) * 16),
        _pack_rotations(splats.rotations, version),
        quantization.to_bytes(splats.sh[:, 1:] * 128 + 128),
    ]
    return [part.tobytes() for part in parts if part.size]


def _pack_rotations(rotations: np.ndarray, version: int) -> np.ndarray:
    if version == 2:
        q = quantization.normalized(rotations)
        q *= np.where(q[:, :1] < 0, -1.0, 1.0)
        return quantization.to_bytes((q[:, 1:] + 1) * 127.5)
    largest, others = quantization.smallest_three(rotations[:, [1, 2, 3, 0]])
    steps = np.minimum(np.rint(np.abs(others) * np.sqrt(2) * 511), 511).astype("<u4") | (others < 0).astype("<u4") << 9
    return largest.astype("<u4") << 30 | steps[:, 0] << 20 | steps[:, 1] << 10 | steps[:, 2]


def read(path: Path) -> SplatArrays:
    """Read a .spz file of version 1 to 4.

    Raises:
        FaceLiftError: the file is missing or damaged.
        MissingModule: this Python lacks ``zstandard``, for version 4.
    """
    with reading(path):
        return decode(path.read_bytes(), path)


def decode(data: bytes, path: Path) -> SplatArrays:
    """Decode the bytes of a .spz file; `path` is for messages.

    Raises:
        Damaged: the bytes are damaged.
        MissingModule: this Python lacks ``zstandard``, for version 4.
    """
    packed = data[:2] == b"\x1f\x8b"
    unpacker = zlib.decompressobj(31)
    start = _inflate(unpacker, data, _HEADER.size) if packed else data
    if len(start) < _HEADER.size:
        raise Damaged("is cut short" if packed else "is not a .spz file")
    magic, version, count, degree, bits, _, streams = _HEADER.unpack_from(start)
    if magic != _MAGIC:
        raise Damaged("is not a .spz file")
    if version not in ((1, 2, 3) if packed else (4,)):
        raise Damaged(f"is a .spz file of version {version}, which is not supported; versions 1 to 4 are")
    if degree > 3:
        raise Damaged(f"has spherical harmonics of degree {degree}, which is not supported")
    if count == 0:
        raise Damaged("contains no Gaussians")
    widths = [6 if version == 1 else 9, 1, 3, 3, 4 if version >= 3 else 3, 3 * ((degree + 1) ** 2 - 1)]
    sizes = [count * width for width in widths if width]
    check_expansion(sum(sizes), len(data))
    if packed:
        body = _inflate(unpacker, unpacker.unconsumed_tail, sum(sizes))
        if len(body) < sum(sizes):
            raise Damaged(f"is cut short: its header announces {count} Gaussians, more than it contains")
        ends = np.cumsum(sizes)
        parts = [body[end - size : end] for size, end in zip(sizes, ends, strict=True)]
    else:
        parts = _zstd_streams(data, streams, sizes, path)
    arrays = [np.frombuffer(part, np.uint8).reshape(count, -1) for part in parts]
    return transform(_unpack(arrays, version, bits), Y_UP_TO_Z_UP)


def _inflate(unpacker, data: bytes, size: int) -> bytes:
    try:
        return unpacker.decompress(data, size)
    except zlib.error as error:
        raise Damaged(f"is damaged ({error})") from None


def _zstd_streams(data: bytes, count: int, sizes: list[int], path: Path) -> list[bytes]:
    zstandard = needed(path, "zstandard")
    if count != len(sizes) or len(data) < _HEADER_4_SIZE:
        raise Damaged("is damaged: it does not have one stream for each attribute")
    (table,) = struct.unpack_from("<I", data, _HEADER.size)
    position, streams = table + 16 * count, []
    for i, expected in enumerate(sizes):
        if table + 16 * (i + 1) > len(data):
            raise Damaged("is cut short")
        packed, unpacked = struct.unpack_from("<QQ", data, table + 16 * i)
        if unpacked != expected or position + packed > len(data):
            raise Damaged("is cut short, or damaged: its streams do not have the announced sizes")
        try:
            reader = zstandard.ZstdDecompressor().stream_reader(data[position : position + packed])
            stream = reader.read(expected)
        except zstandard.ZstdError as error:
            raise Damaged(f"is damaged ({error})") from None
        if len(stream) != expected:
            raise Damaged("is damaged: its streams do not have the announced sizes")
        streams.append(stream)
        position += packed
    return streams


def _unpack(parts: list[np.ndarray], version: int, bits: int) -> SplatArrays:
    positions, alphas, colors, scales, rotations, *higher = parts
    count = len(positions)
    if version == 1:
        xyz = np.ascontiguousarray(positions).view("<f2").astype(np.float32)
    else:
        if not 0 < bits <= 24:
            raise Damaged(f"is damaged: its positions have {bits} fractional bits")
        wide = np.zeros((count, 3, 4), np.uint8)
        wide[:, :, 1:] = positions.reshape(count, 3, 3)
        xyz = (wide.view("<i4")[:, :, 0] >> 8).astype(np.float32) / np.float32(1 << bits)
    base = (colors.astype(np.float32) / 255 - 0.5) / _COLOR_SCALE
    rest = (higher[0].astype(np.float32) - 128).reshape(count, -1, 3) / 128 if higher else np.empty((count, 0, 3))
    return SplatArrays(
        positions=xyz,
        sh=np.concatenate([base[:, None], rest], axis=1).astype(np.float32),
        log_scales=scales.astype(np.float32) / 16 - 10,
        rotations=_unpack_rotations(rotations, version),
        opacity_logits=quantization.logits(alphas[:, 0] / 255),
    )


def _unpack_rotations(packed: np.ndarray, version: int) -> np.ndarray:
    if version < 3:
        return quantization.from_smallest_three(np.zeros(len(packed), np.intp), packed / 127.5 - 1)
    word = np.ascontiguousarray(packed).view("<u4")[:, 0]
    steps = np.stack([word >> np.uint32(shift) & np.uint32(1023) for shift in (20, 10, 0)], axis=1)
    others = (steps & 511) / 511 * np.sqrt(0.5) * np.where(steps & 512, -1.0, 1.0)
    return quantization.from_smallest_three(word >> np.uint32(30), others)[:, [3, 0, 1, 2]]

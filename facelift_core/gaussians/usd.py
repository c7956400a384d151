"""Read and write USD files with one ParticleField3DGaussianSplat: .usda as text, .usdc as binary.

Positions, scales, rotations, opacities and spherical harmonics are floats; the stage has Z up and meters. ``.usda`` is
written here; everything else is done by ``usd-core``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from ..files import replacing
from ..processes import confined, launch
from . import quantization, usd_stage
from .arrays import SplatArrays
from .damage import Damaged, MissingModule, needed, reading

PRIM = "ParticleField3DGaussianSplat"
SECONDS, SECONDS_PER_BYTE = 8.0, 1e-6
"""Processor time for a file, and more for each of its bytes."""
MEMORY, MEMORY_PER_BYTE = 2 * 2**30, 100
"""Address space for a file, and more for each of its bytes: USD takes up to 70 for text."""
_ROWS = 4096


def _attributes(splats: SplatArrays) -> dict[str, tuple[str, np.ndarray]]:
    """USD type and values of every attribute; quaternions are w, x, y, z, as in USD's text."""
    return {
        "positions": ("point3f[]", splats.positions),
        "orientations": ("quatf[]", quantization.normalized(splats.rotations).astype(np.float32)),
        "scales": ("float3[]", np.exp(splats.log_scales.clip(max=80.0))),
        "opacities": ("float[]", quantization.opacities(splats.opacity_logits).astype(np.float32)),
        "radiance:sphericalHarmonicsCoefficients": ("float3[]", splats.sh.reshape(-1, 3)),
    }


def _extent(splats: SplatArrays) -> np.ndarray:
    """(2, 3) lowest and highest corner of all Gaussians at three standard deviations."""
    reach = 3 * np.exp(splats.log_scales.clip(max=80.0).max(axis=1, keepdims=True))
    return np.stack([(splats.positions - reach).min(axis=0), (splats.positions + reach).max(axis=0)])


def write_text(splats: SplatArrays, path: Path) -> None:
    """Write a .usda file atomically. Needs NumPy only.

    Raises:
        FaceLiftError: the file cannot be written.
    """
    with replacing(path) as temporary, open(temporary, "w", encoding="ascii", newline="\n") as file:
        file.write('#usda 1.0\n(\n    defaultPrim = "Head"\n    metersPerUnit = 1\n    upAxis = "Z"\n)\n\n')
        file.write(f'def {PRIM} "Head"\n{{\n')
        file.write(f"    float3[] extent = [{', '.join(_tuples(_extent(splats)))}]\n")
        for name, (kind, values) in _attributes(splats).items():
            file.write(f"    {kind} {name} = [")
            for start in range(0, len(values), _ROWS):
                file.write((", " if start else "") + ", ".join(_tuples(values[start : start + _ROWS])))
            file.write("]\n")
        file.write(f"    uniform int radiance:sphericalHarmonicsDegree = {splats.sh_degree}\n}}\n")


def _tuples(values: np.ndarray) -> Iterator[str]:
    """The rows as USD writes them. Nine digits are enough to get every float32 back."""
    if values.ndim == 1:
        return (f"{value:.9g}" for value in values.tolist())
    form = f"({', '.join(['{:.9g}'] * values.shape[1])})"
    return (form.format(*row) for row in values.tolist())


def write_binary(splats: SplatArrays, path: Path) -> None:
    """Write a .usdc file atomically.

    Raises:
        FaceLiftError: the file cannot be written.
        MissingModule: this Python lacks ``usd-core``.
    """
    vt, sdf = needed(path, "pxr.Vt"), needed(path, "pxr.Sdf")
    arrays = {
        "point3f[]": vt.Vec3fArray, "float3[]": vt.Vec3fArray, "float[]": vt.FloatArray,
        "quatf[]": vt.QuatfArray,
    }  # fmt: skip
    stage = usd_stage.create(path)
    prim = stage.DefinePrim("/Head", PRIM)
    stage.SetDefaultPrim(prim)
    for name, (kind, values) in (_attributes(splats) | {"extent": ("float3[]", _extent(splats))}).items():
        if kind == "quatf[]":
            values = values[:, [1, 2, 3, 0]]  # the order in memory
        array = arrays[kind].FromNumpy(np.ascontiguousarray(values, np.float32))
        prim.CreateAttribute(name, sdf.ValueTypeNames.Find(kind), False).Set(array)
    degree = prim.CreateAttribute("radiance:sphericalHarmonicsDegree", sdf.ValueTypeNames.Int, False)
    degree.Set(splats.sh_degree)
    usd_stage.write(stage, path)


def read(path: Path) -> SplatArrays:
    """Read the Gaussians of a USD file, at their places in its scene. No other file is opened.

    USD allocates what a damaged file announces, so it reads in a process with limits: :mod:`.usd_apart`.

    Raises:
        FaceLiftError: the file is missing or damaged, does not hold Gaussians, or takes too much memory or time.
        MissingModule: this Python lacks ``usd-core``.
    """
    with reading(path):
        needed(path, "pxr.Usd")
        size = path.stat().st_size
        seconds, memory = SECONDS + SECONDS_PER_BYTE * size, MEMORY + MEMORY_PER_BYTE * size
        try:
            about, data = confined.run(
                "gaussians.usd_apart", {"path": str(path.absolute())}, seconds=seconds, memory=memory
            )
        except launch.OutOfTime:
            raise Damaged("is damaged, or too large: USD takes too long to read it") from None
        except confined.OutOfMemory:
            raise Damaged("is damaged, or too large: USD takes too much memory to read it") from None
        except confined.Crashed:
            raise Damaged("is damaged so that USD cannot read it") from None
        if "missing" in about:
            raise MissingModule(path, about["missing"])
        return unpack(about, data)


def pack(splats: SplatArrays) -> tuple[dict[str, Any], bytes]:
    """What the process answers: shapes, and the arrays one after the other."""
    arrays = {field.name: np.ascontiguousarray(getattr(splats, field.name), np.float32) for field in fields(splats)}
    return {name: array.shape for name, array in arrays.items()}, b"".join(array.tobytes() for array in arrays.values())


def unpack(shapes: dict[str, Any], data: bytes) -> SplatArrays:
    arrays, start = {}, 0
    for name, shape in shapes.items():
        count = math.prod(shape)
        arrays[name] = np.frombuffer(data, np.float32, count, start).reshape(shape).copy()
        start += 4 * count
    return SplatArrays(**arrays)

"""Read and write USD files with one ParticleField3DGaussianSplat: .usda as text, .usdc as binary.

Positions, scales, rotations, opacities and spherical harmonics are floats; the stage has Z up and meters. ``.usda`` is
written here; everything else is done by ``usd-core``.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ..files import replacing
from . import quantization
from .arrays import SplatArrays, concatenated
from .axes import Y_UP_TO_Z_UP, placed
from .damage import Damaged, needed, reading

_PRIM = "ParticleField3DGaussianSplat"
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
        file.write(f'def {_PRIM} "Head"\n{{\n')
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
    usd, geom, vt, sdf, tf = (needed(path, f"pxr.{name}") for name in ("Usd", "UsdGeom", "Vt", "Sdf", "Tf"))
    arrays = {
        "point3f[]": vt.Vec3fArray, "float3[]": vt.Vec3fArray, "float[]": vt.FloatArray,
        "quatf[]": vt.QuatfArray,
    }  # fmt: skip
    stage = usd.Stage.CreateInMemory()
    geom.SetStageUpAxis(stage, geom.Tokens.z)
    geom.SetStageMetersPerUnit(stage, 1.0)
    prim = stage.DefinePrim("/Head", _PRIM)
    stage.SetDefaultPrim(prim)
    for name, (kind, values) in (_attributes(splats) | {"extent": ("float3[]", _extent(splats))}).items():
        if kind == "quatf[]":
            values = values[:, [1, 2, 3, 0]]  # the order in memory
        array = arrays[kind].FromNumpy(np.ascontiguousarray(values, np.float32))
        prim.CreateAttribute(name, sdf.ValueTypeNames.Find(kind), False).Set(array)
    degree = prim.CreateAttribute("radiance:sphericalHarmonicsDegree", sdf.ValueTypeNames.Int, False)
    degree.Set(splats.sh_degree)
    with replacing(path) as temporary:
        temporary.touch(exist_ok=False)  # says what is wrong with the folder better than USD does
        try:
            written = stage.GetRootLayer().Export(str(temporary))
        except tf.ErrorException:
            written = False
        if not written:
            raise OSError("USD could not write it")


def read(path: Path) -> SplatArrays:
    """Read the Gaussians of a USD file, at their places in its scene.

    Raises:
        FaceLiftError: the file is missing or damaged, or does not hold Gaussians.
        MissingModule: this Python lacks ``usd-core``.
    """
    with reading(path):
        usd, geom, tf = (needed(path, f"pxr.{name}") for name in ("Usd", "UsdGeom", "Tf"))
        try:
            stage = usd.Stage.Open(str(path))
        except tf.ErrorException:
            raise Damaged("is not a USD file, or damaged") from None
        turn = Y_UP_TO_Z_UP if geom.GetStageUpAxis(stage) == geom.Tokens.y else np.eye(4)
        places = geom.XformCache()
        parts = []
        for prim in stage.Traverse():
            if prim.GetTypeName() == _PRIM:
                matrix = np.array(places.GetLocalToWorldTransform(prim)).T
                parts.append(placed(_particles(prim), turn @ matrix))
        if not parts:
            raise Damaged(f"does not contain Gaussians: nothing in it is a {_PRIM}")
        return concatenated(parts)


def _particles(prim) -> SplatArrays:
    def values(name: str, width: int) -> np.ndarray:
        for chosen in (name, f"{name}h"):  # USD prefers floats to half floats
            found = prim.GetAttribute(chosen).Get() if prim.HasAttribute(chosen) else None
            if found is not None and len(found):
                return np.array(found, np.float32).reshape(-1, width)
        raise Damaged(f"is damaged: {prim.GetPath()} has no {name}")

    positions = values("positions", 3)
    degree = prim.GetAttribute("radiance:sphericalHarmonicsDegree").Get()
    bases = ((degree if isinstance(degree, int) else -1) + 1) ** 2
    sh = values("radiance:sphericalHarmonicsCoefficients", 3)
    rotations, scales, opacity = values("orientations", 4), values("scales", 3), values("opacities", 1)
    if bases not in (1, 4, 9, 16):
        raise Damaged(f"has spherical harmonics of degree {degree}, which is not supported")
    if {len(rotations), len(scales), len(opacity), len(sh) / bases} != {len(positions)}:
        raise Damaged(f"is damaged: the arrays of {prim.GetPath()} have different lengths")
    with np.errstate(divide="ignore", invalid="ignore"):
        log_scales = np.log(scales)
    return SplatArrays(
        positions=positions,
        sh=sh.reshape(-1, bases, 3),
        log_scales=log_scales,
        rotations=np.ascontiguousarray(rotations[:, [3, 0, 1, 2]]),
        opacity_logits=quantization.logits(opacity[:, 0]),
    )

"""Rigs as files: one .npz with the Gaussians, the face mesh, and what the Gaussians follow. Read with NumPy alone."""

from __future__ import annotations

import zipfile
from dataclasses import fields
from pathlib import Path

import numpy as np

from ..errors import FaceLiftError
from ..files import replacing
from ..gaussians.arrays import SplatArrays
from .rig import BONES, CORNERS, SHAPES, Binding, FaceMesh, Rig

LARGEST = 4_000_000_000
"""Bytes that the arrays of a file may have."""
_PART = "part."


def save_rig(rig: Rig, path: str | Path) -> None:
    """Write `rig` to a .npz file, under a temporary name until complete.

    Raises:
        FaceLiftError: the file cannot be written.
    """
    arrays = {
        **{f"gaussians.{field.name}": getattr(rig.gaussians, field.name) for field in fields(SplatArrays)},
        **{f"mesh.{field.name}": getattr(rig.mesh, field.name) for field in fields(FaceMesh) if field.name != "parts"},
        **{f"{_PART}{name}": vertices for name, vertices in rig.mesh.parts.items()},
        **{f"binding.{field.name}": getattr(rig.binding, field.name) for field in fields(Binding)},
    }
    with replacing(Path(path)) as temporary, open(temporary, "wb") as file:
        np.savez(file, **arrays)


def load_rig(path: str | Path) -> Rig:
    """Read a rig.

    Raises:
        FaceLiftError: the file is missing, damaged, or no rig.
    """
    path = Path(path)
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(member.file_size for member in archive.infolist()) > LARGEST:
                raise ValueError("too large")
        with np.load(path, allow_pickle=False) as data:
            arrays = {name: data[name] for name in data.files}
        rig = Rig(
            SplatArrays(**_named(arrays, "gaussians.")),
            FaceMesh(**_named(arrays, "mesh."), parts=_named(arrays, _PART)),
            Binding(**_named(arrays, "binding.")),
        )
        _check(rig)
    except FileNotFoundError:
        raise FaceLiftError(f"There is no rig at {path}.") from None
    except (OSError, ValueError, TypeError, KeyError, zipfile.BadZipFile, EOFError, FaceLiftError):
        raise FaceLiftError(f"{path} is damaged or no rig of a face; make the rig again.") from None
    return rig


def _named(arrays: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    return {name[len(prefix) :]: array for name, array in arrays.items() if name.startswith(prefix)}


def _check(rig: Rig) -> None:
    mesh, binding = rig.mesh, rig.binding
    count, quads = len(mesh.vertices), len(mesh.quads)
    shapes = {
        "vertices": (count, 3), "quads": (quads, 4), "uvs": (quads, 4, 2), "shapes": (len(SHAPES), count, 3),
        "neutral": (count, 3), "expression": (len(SHAPES),), "joints": (len(BONES), 2, 3),
        "bone_weights": (len(BONES), count),
    }  # fmt: skip
    if any(getattr(mesh, name).shape != shape for name, shape in shapes.items()):
        raise ValueError("mesh")
    if binding.corners.shape != (len(rig.gaussians), CORNERS) or binding.shares.shape != binding.corners.shape:
        raise ValueError("binding")
    for indices in (mesh.quads, binding.corners, *mesh.parts.values()):
        if indices.dtype.kind != "i" or (len(indices) and not 0 <= indices.min() <= indices.max() < count):
            raise ValueError("indices")

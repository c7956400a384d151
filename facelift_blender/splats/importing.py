"""Imports files of Gaussian splats from any program, by menu, script or drag and drop."""

from __future__ import annotations

import math
from pathlib import Path

import bpy
import numpy as np
from facelift_core import FaceLiftError
from facelift_core.gaussians import files as formats
from facelift_core.gaussians import transforms
from mathutils import Matrix

from ..jobs import folders, timer
from . import conversion, objects
from .attributes import SplatArrays

UP_AXES = (
    ("Z", "Z Up", "For files from Blender or FaceLift"),
    ("Y", "Y Up", "For files from many splat viewers"),
    ("-Y", "Y Down", "For files from photogrammetry (COLMAP)"),
)
_TILT = {"Z": 0.0, "Y": math.pi / 2, "-Y": -math.pi / 2}


def import_splats(
    context: bpy.types.Context,
    path: str | Path,
    *,
    scale: float = 1.0,
    up_axis: str = "Z",
    at_cursor: bool = False,
) -> bpy.types.Object:
    """Import a file as a new object named after the file. In Object Mode, also select it and make it active.

    The Gaussians themselves are scaled and turned, so that the object has neither scale nor rotation.

    Raises:
        FaceLiftError: the file is missing, damaged or of another kind.
    """
    splats = transforms.transform(read(Path(bpy.path.abspath(str(path)))), upright(up_axis))
    location = tuple(context.scene.cursor.location) if at_cursor else (0.0, 0.0, 0.0)
    item = objects.create_splat_object(
        context,
        splats,
        Path(path).stem,
        location=location,
        scale=scale,
        metadata={"facelift_file": Path(path).name},
    )
    if context.mode == "OBJECT":
        objects.choose(context, item)
    return item


def upright(up_axis: str) -> np.ndarray:
    """(4, 4) rotation from a file with that axis up, a name of UP_AXES, to Z up."""
    return np.array(Matrix.Rotation(_TILT[up_axis], 4, "X"))


def read(path: Path) -> SplatArrays:
    """Read a file; in the runtime, and waiting for it, if Blender's Python lacks what the format needs.

    Raises:
        FaceLiftError: the file is missing, damaged or of another kind, or there is no runtime for it.
    """
    try:
        return formats.read(path, tell=print)
    except formats.MissingModule:
        folder = folders.new_folder()
        try:
            folder.mkdir(parents=True)
            timer.wait([conversion.convert(path, folder / "import.ply", f"Import {path.name}")])
            return formats.read(folder / "import.ply")
        except OSError as error:
            raise FaceLiftError(f"Cannot write to FaceLift's cache {folder}: {error.strerror or error}.") from None
        finally:
            folders.remove(folder)


def paths_of(operator: bpy.types.Operator) -> list[Path]:
    """The paths that the file browser, a drop or a script passed in `filepath` or `directory` and `files`."""
    several = [Path(operator.directory) / file.name for file in operator.files if file.name]
    if several and operator.directory:
        return several
    if not operator.filepath:
        raise FaceLiftError("No file was chosen.")
    return [Path(operator.filepath)]

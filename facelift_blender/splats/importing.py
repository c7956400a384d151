"""Imports files of Gaussian splats from any program, by menu, script or drag and drop."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path

import bpy
import numpy as np
from facelift_core import FaceLiftError
from facelift_core.gaussians import files as formats
from facelift_core.gaussians import transforms
from mathutils import Matrix

from ..jobs import folders, timer
from . import conversion, heads, objects, placement
from .attributes import SplatArrays
from .viewport import framing

UP_AXES = (
    ("Z", "Z Up", "For files from Blender or FaceLift"),
    ("Y", "Y Up", "For files from many splat viewers"),
    ("-Y", "Y Down", "For files from photogrammetry (COLMAP)"),
)
PLACES = (
    ("AUTO", "Auto", "Heads of FaceLift as heads, all else as in the file"),
    ("FILE", "As in the File", "Where the file has them. Exported again, they have the same coordinates"),
    ("HEAD", "As a Head", "Life-size on the floor, beside what is there, like a reconstructed head"),
)
_TILT = {"Z": 0.0, "Y": math.pi / 2, "-Y": -math.pi / 2}


def import_splats(
    context: bpy.types.Context,
    path: str | Path,
    *,
    scale: float = 1.0,
    up_axis: str = "Z",
    at_cursor: bool = False,
    place: str = "AUTO",
) -> bpy.types.Object:
    """Import a file as a new object named after the file. In Object Mode, also select it and make it active.

    The Gaussians themselves are scaled and turned, so that the object has neither scale nor rotation.

    Args:
        scale: factor for the size; of a head that is placed as one, for its life size.
        place: a name of PLACES.

    Raises:
        FaceLiftError: the file is missing, damaged or of another kind.
    """
    splats = read(Path(bpy.path.abspath(str(path))))
    arranged = arrange(splats.positions, scale, objects.head_scale(context.scene), up_axis, place)
    splats = transforms.transform(splats, arranged.matrix)
    location = (0.0, 0.0, 0.0)
    if at_cursor:
        location = tuple(context.scene.cursor.location)
    elif arranged.as_head:
        location = free_place(context.scene, splats.positions)
    item = objects.create_splat_object(
        context,
        splats,
        Path(path).stem,
        location=location,
        metadata={"facelift_file": Path(path).name, **arranged.metadata},
    )
    if context.mode == "OBJECT":
        objects.choose(context, item)
    if arranged.as_head:
        frame_head(context.scene, item)
    return item


@dataclass(frozen=True)
class Arrangement:
    """How an object has the Gaussians of a file.

    Attributes:
        matrix: (4, 4) from the file to the object.
        as_head: whether it stands on its origin, life-size.
        metadata: custom properties of the object.
    """

    matrix: np.ndarray
    as_head: bool = False
    metadata: dict[str, tuple[float, float]] = field(default_factory=dict)


def arrange(positions: np.ndarray, scale: float, life: float, up_axis: str, place: str) -> Arrangement:
    """Find out how to arrange the Gaussians of a file; any thread may call this.

    Args:
        positions: (N, 3) in the file.
        life: factor from the model's world to life size, see :func:`.objects.head_scale`.
        scale, up_axis, place: as for :func:`import_splats`.
    """
    turn = upright(up_axis)
    as_in_file = Arrangement(heads.scaled(scale, np.zeros(3)) @ turn)
    if place == "FILE" or len(positions) == 0:
        return as_in_file
    turned = positions @ turn[:3, :3].T.astype(np.float32)
    if place == "AUTO" and not heads.is_head(turned):
        return as_in_file
    low, high = objects.bounds(turned, placement.SHARE)
    if not heads.fits(low, high):
        to_model = np.linalg.inv(heads.by_size(low, high))
        turn, turned = to_model @ turn, turned @ to_model[:3, :3].T + to_model[:3, 3]
    stand, lift = heads.standing(turned, scale * life)
    return Arrangement(stand @ turn, True, {heads.PLACING: (scale * life, lift)})


def free_place(scene: bpy.types.Scene, positions: np.ndarray) -> tuple[float, float, float]:
    """Where a head stands beside what is in the scene, whose object has Gaussians with (N, 3) positions."""
    return tuple(placement.free_place(scene, *objects.bounds(positions, placement.SHARE)))


def frame_head(scene: bpy.types.Scene, item: bpy.types.Object) -> None:
    """Show a head that has just arrived in the viewports that nobody has moved."""
    scene.view_layers[0].update()
    framing.frame_untouched(scene, [item])


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

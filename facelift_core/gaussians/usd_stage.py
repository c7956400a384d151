"""USD stages, by ``usd-core``: made empty, and written to files."""

from __future__ import annotations

from pathlib import Path

from ..files import replacing
from .damage import needed


def create(path: Path):
    """An empty ``Usd.Stage`` in memory with Z up and meters, for the file `path`.

    Raises:
        MissingModule: this Python lacks ``usd-core``.
    """
    geom = needed(path, "pxr.UsdGeom")
    stage = needed(path, "pxr.Usd").Stage.CreateInMemory()
    geom.SetStageUpAxis(stage, geom.Tokens.z)
    geom.SetStageMetersPerUnit(stage, 1.0)
    return stage


def write(stage, path: Path) -> None:
    """Write a stage atomically to a .usd, .usda or .usdc file.

    Raises:
        FaceLiftError: the file cannot be written.
    """
    with replacing(path) as temporary:
        temporary.touch(exist_ok=False)  # says what is wrong with the folder better than USD does
        try:
            written = stage.GetRootLayer().Export(str(temporary))
        except needed(path, "pxr.Tf").ErrorException:
            written = False
        if not written:
            raise OSError("USD could not write it")

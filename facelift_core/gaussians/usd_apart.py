"""Read a USD file in a process of its own; see :func:`.usd.read`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..processes import confined
from . import quantization
from .arrays import SplatArrays, concatenated
from .axes import Y_UP_TO_Z_UP, placed
from .damage import MALFORMED, Damaged, reading
from .usd import PRIM, pack

_ARCS = {"references", "payload", "inheritPaths", "specializes", "clips"}
"""By what a prim takes its content from elsewhere: from other files, or many times over from its own."""


def _read(task: dict[str, Any], _: bytes) -> tuple[dict[str, Any], bytes]:
    try:
        from pxr import Sdf, Tf, Usd, UsdGeom
    except ImportError:
        return {"missing": "pxr"}, b""
    path = Path(task["path"])
    with reading(path):
        try:
            layer = Sdf.Layer.OpenAsAnonymous(str(path))
            _check_self_contained(layer)
            stage = Usd.Stage.Open(layer)
            turn = Y_UP_TO_Z_UP if UsdGeom.GetStageUpAxis(stage) == UsdGeom.Tokens.y else np.eye(4)
            places = UsdGeom.XformCache()
            parts = []
            for prim in stage.Traverse():
                if prim.GetTypeName() == PRIM:
                    matrix = np.array(places.GetLocalToWorldTransform(prim)).T
                    parts.append(placed(_particles(prim), turn @ matrix))
        except Tf.ErrorException:
            raise Damaged("is not a USD file, or damaged") from None
        if not parts:
            raise Damaged(f"does not contain Gaussians: nothing in it is a {PRIM}")
        return pack(concatenated(parts))


def _check_self_contained(layer) -> None:
    """Raise Damaged if USD would open other files, or if it would repeat a part of this one."""
    alone, waiting = not layer.subLayerPaths, list(layer.rootPrims)
    while waiting and alone:
        prim = waiting.pop()
        alone = _ARCS.isdisjoint(prim.ListInfoKeys())
        waiting += prim.nameChildren
        waiting += [variant.primSpec for choice in prim.variantSets for variant in choice.variantList]
    if not alone:
        raise Damaged(
            "is made of references to other files or between its parts, which is not supported; flatten it in the "
            "program that wrote it"
        )


def _particles(prim) -> SplatArrays:
    def values(name: str, width: int) -> np.ndarray:
        for chosen in (name, f"{name}h"):  # USD prefers floats to half floats
            found = prim.GetAttribute(chosen).Get() if prim.HasAttribute(chosen) else None
            try:
                if found is not None and len(found):
                    return np.array(found, np.float32).reshape(-1, width)
            except MALFORMED:
                raise Damaged(f"is damaged: {prim.GetPath()} has {name} of the wrong type") from None
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


if __name__ == "__main__":
    confined.serve(_read)

"""FaceLift: reconstruct a 3D head, as Gaussians, from one portrait photo.

    import facelift_core as fl

    model = fl.FaceLift.from_pretrained("mini")
    result = model.reconstruct("portrait.jpg")
    result.gaussians.save("head.ply")

Public names are imported lazily, so ``import facelift_core`` is fast and does not need PyTorch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from .errors import Cancelled, FaceLiftError

if TYPE_CHECKING:
    from .animation.animate import animate
    from .animation.rigging import make_rig
    from .gaussians.files import load, save
    from .gaussians.tensors import Gaussians
    from .pipeline import FaceLift
    from .relighting.environment import Environment, Sun
    from .relighting.shading import relight
    from .rendering import render
    from .rendering.cameras import six_views
    from .result import Result

__version__ = "0.1.0"

_HOMES = {
    "Environment": "relighting.environment",
    "FaceLift": "pipeline",
    "Gaussians": "gaussians.tensors",
    "Result": "result",
    "Sun": "relighting.environment",
    "animate": "animation.animate",
    "load": "gaussians.files",
    "make_rig": "animation.rigging",
    "relight": "relighting.shading",
    "render": "rendering",
    "save": "gaussians.files",
    "six_views": "rendering.cameras",
}
_MODULES = (
    "align",
    "animation",
    "gaussians",
    "gslrm",
    "images",
    "likeness",
    "multiview",
    "pipeline",
    "relighting",
    "rendering",
    "weights",
)

__all__ = [
    "Cancelled",
    "Environment",
    "FaceLift",
    "FaceLiftError",
    "Gaussians",
    "Result",
    "Sun",
    "animate",
    "load",
    "make_rig",
    "relight",
    "render",
    "save",
    "six_views",
]


def __getattr__(name: str):
    if name in _HOMES:
        value = getattr(import_module(f".{_HOMES[name]}", __name__), name)
        globals()[name] = value
        return value
    if name in _MODULES:
        return import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES, *_MODULES})

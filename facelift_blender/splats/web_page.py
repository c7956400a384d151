"""Splats as a web page: one HTML file with a viewer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import bpy
import numpy as np
from facelift_core.gaussians import transforms
from facelift_core.web import Look, write_page

from . import exporting, objects

_HALF_SIDE = 0.9
"""Of the box that splats of any size are scaled to, which fills the page's first picture."""


def export(
    scene: bpy.types.Scene, items: Sequence[bpy.types.Object], path: Path, *, background: str, auto_rotate: bool
) -> None:
    """Write a page that shows `items` as rendered, from the front, which is −Y.

    Args:
        scene: the scene that `items` are in.
        items: objects with splats.
        path: the page.
        background: color as #rrggbb.
        auto_rotate: whether the splats turn until someone touches them.

    Raises:
        FaceLiftError: there are no Gaussians, or the file cannot be written.
    """
    splats = exporting.together(scene, items)
    low, high = objects.bounds(splats.positions, share=0.99)
    scale = _HALF_SIDE / max(0.5 * float((high - low).max()), 1e-9)
    matrix = np.diag([scale, scale, scale, 1.0])
    matrix[:3, 3] = -scale * 0.5 * (low + high)
    look = Look(title=items[0].name, background=background, auto_rotate=auto_rotate)
    write_page(transforms.transform(splats, matrix), path, look)

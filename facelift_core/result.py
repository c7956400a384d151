"""What a reconstruction gives."""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image
from torch import Tensor

from .gaussians.tensors import Gaussians


@dataclass(frozen=True)
class Result:
    """The result of a reconstruction. All tensors are on the CPU.

    Attributes:
        portrait: aligned RGB portrait on white (docs/model.md, 2); None if the run started from views.
        views: (6, 3, H, W) float32 in [0, 1], in the order of :data:`~facelift_core.rendering.cameras.VIEW_NAMES`.
        gaussians: the head, after filtering (docs/model.md, 6) and `likeness`.
        raw_gaussians: the output of GS-LRM before filtering; None unless kept.
        timings: seconds per stage.
        notes: sentences for the user about how the photo was handled, such as which face was chosen.
        likeness: the likeness applied, one of :data:`~facelift_core.likeness.LIKENESS`.
    """

    portrait: Image.Image | None
    views: Tensor
    gaussians: Gaussians
    raw_gaussians: Gaussians | None
    timings: dict[str, float]
    notes: tuple[str, ...] = ()
    likeness: str = "off"

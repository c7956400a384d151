"""Job: find what a head reflects, so that lamps of a scene can light it.

Importing this module does not import PyTorch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..processes.protocol import Emit, Progress
from ..progress import Cancel


@dataclass(frozen=True)
class Request:
    """Request for normals, albedo, and the light of the photo.

    Attributes:
        head: path of the head's Gaussians.
        output: path of the .npz file to write; see :class:`facelift_core.relighting.reflectance.Reflectance`.
    """

    head: str
    output: str


def run(request: Request, emit: Emit, cancelled: Cancel, models: Any = None) -> dict[str, Any]:
    """Estimate the reflectance and write it, one row per Gaussian in the order of the file.

    Returns:
        "count", the number of Gaussians.

    Raises:
        FaceLiftError: as :func:`facelift_core.relighting.estimate`, or a file cannot be read or written.
        Cancelled: `cancelled` returned true.
    """
    from ..gaussians.files import load
    from ..relighting import estimate

    def tell(stage: str, fraction: float, message: str) -> None:
        emit(Progress(stage, fraction, message))

    reflectance = estimate(load(request.head), tell, cancelled)
    reflectance.save(request.output)
    return {"count": len(reflectance)}

"""Job: make a rig for a head, so that its face can move.

Importing this module does not import PyTorch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..processes.protocol import Emit, Progress
from ..progress import Cancel


@dataclass(frozen=True)
class Request:
    """Request for a rig.

    Attributes:
        head: path of the head's Gaussians, as they were reconstructed.
        file: path of the rig to write, .npz; see :mod:`facelift_core.animation.files`.
    """

    head: str
    file: str


def run(request: Request, emit: Emit, cancelled: Cancel, models: Any = None) -> dict[str, Any]:
    """Make the rig and write it.

    Returns:
        "added", the number of Gaussians that were added for eyes and mouth.

    Raises:
        FaceLiftError: as :func:`facelift_core.animation.rigging.make_rig`, or a file cannot be read or written.
        Cancelled: `cancelled` returned true.
    """
    from ..animation.files import save_rig
    from ..animation.rigging import make_rig
    from ..gaussians.files import load

    def tell(stage: str, fraction: float, message: str) -> None:
        emit(Progress(stage, fraction, message))

    head = load(request.head)
    rig = make_rig(head, tell, cancelled)
    save_rig(rig, request.file)
    return {"added": len(rig.gaussians) - len(head)}

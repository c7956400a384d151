"""Job: make a mesh of a head.

Importing this module does not import PyTorch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..processes.protocol import Emit, Progress
from ..progress import Cancel


@dataclass(frozen=True)
class Request:
    """Request for a mesh; the settings are those of :func:`facelift_core.mesh.head_mesh.make_mesh`.

    Attributes:
        head: path of the head's Gaussians.
        file: path of the mesh to write.
    """

    head: str
    file: str
    faces: int = 50_000
    texture: int = 2048
    bottom: str = "flat"


def run(request: Request, emit: Emit, cancelled: Cancel, models: Any = None) -> dict[str, Any]:
    """Make the mesh and write it.

    Returns:
        "faces", the number of triangles.

    Raises:
        FaceLiftError: as :func:`facelift_core.mesh.head_mesh.make_mesh`, or a file cannot be read or written.
        Cancelled: `cancelled` returned true.
    """
    from ..gaussians.files import load
    from ..mesh.head_mesh import make_mesh

    def tell(stage: str, fraction: float, message: str) -> None:
        emit(Progress(stage, fraction, message))

    mesh = make_mesh(load(request.head), request.faces, request.texture, request.bottom, tell, cancelled)
    mesh.save(request.file)
    return {"faces": len(mesh.faces)}

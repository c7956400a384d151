"""Job: find the expressions in a video of a face.

Importing this module does not import PyTorch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..processes.protocol import Emit, Progress
from ..progress import Cancel


@dataclass(frozen=True)
class Request:
    """Request for a face capture.

    Attributes:
        video: path of the video.
        output: path of the capture to write, .csv as of Live Link Face, or .json.
    """

    video: str
    output: str


def run(request: Request, emit: Emit, cancelled: Cancel, models: Any = None) -> dict[str, Any]:
    """Track the video and write the capture.

    Returns:
        "frames", "seconds", and "notes" for the user, one sentence each.

    Raises:
        FaceLiftError: as :func:`facelift_core.animation.tracking.track_video`, or the capture cannot be written.
        Cancelled: `cancelled` returned true.
    """
    from ..animation.capture import check_output, write_take
    from ..animation.tracking import track_video

    def tell(stage: str, fraction: float, message: str) -> None:
        emit(Progress(stage, fraction, message))

    check_output(request.output)
    take = track_video(request.video, tell, cancelled)
    write_take(take, request.output)
    return {"frames": len(take), "seconds": float(take.times[-1]), "notes": list(take.notes)}

"""Job: find the expressions in a video of a face.

Importing this module does not import PyTorch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..processes.protocol import Emit, Progress
from ..progress import Cancel, ProgressCallback


@dataclass(frozen=True)
class Request:
    """Request for a face capture.

    Attributes:
        video: path of the video.
        output: path of the capture to write, .csv as of Live Link Face, or .json.
        head: path of the Gaussians, as they were reconstructed, of the head that will perform it, or "". The weights
            are then as strong as that head needs them.
    """

    video: str
    output: str
    head: str = ""


RIGGED, ANSWERED = 0.3, 0.5
"""Fractions of the whole after the rig and after its answers, if there is a head."""


def run(request: Request, emit: Emit, cancelled: Cancel, models: Any = None) -> dict[str, Any]:
    """Track the video and write the capture.

    Returns:
        "frames", "seconds", and "notes" for the user, one sentence each.

    Raises:
        FaceLiftError: as :func:`facelift_core.animation.tracking.track_video` and
            :func:`facelift_core.animation.rigging.make_rig`, or a file cannot be read or written.
        Cancelled: `cancelled` returned true.
    """
    from ..animation.capture import check_output, write_take
    from ..animation.own_response import with_answers_of
    from ..animation.response import load_response
    from ..animation.rigging import make_rig
    from ..animation.tracking import track_video
    from ..animation.video import open_video
    from ..gaussians.files import load

    def tell(first: float, last: float) -> ProgressCallback:
        return lambda stage, fraction, message: emit(Progress("track", first + (last - first) * fraction, message))

    check_output(request.output)
    open_video(request.video)  # so that what is no video is refused before the head is rigged
    response, begun = load_response(), 0.0
    if request.head:
        rig = make_rig(load(request.head), tell(0, RIGGED), cancelled)
        response, begun = with_answers_of(rig, response, tell(RIGGED, ANSWERED), cancelled), ANSWERED
    take = track_video(request.video, tell(begun, 1), cancelled, response)
    write_take(take, request.output)
    return {"frames": len(take), "seconds": float(take.times[-1]), "notes": list(take.notes)}

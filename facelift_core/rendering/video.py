"""Write videos with ffmpeg: H.264, yuv420p, without sound."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import imageio_ffmpeg
from torch import Tensor

from ..errors import FaceLiftError, first_line
from ..files import replacing
from ..images import to_bytes
from ..processes import launch

QUALITY = 15
"""x264's CRF: keeps fine grain; 150 frames of a head take about 2 MB."""
SECONDS_TO_FINISH = 300.0
"""For the frames that ffmpeg still holds when it has got the last one."""
# Without the tag, players guess the matrix between RGB and YUV, and colors shift.
_COLORS = ["-vf", "scale=out_color_matrix=bt709:out_range=tv", "-colorspace", "bt709"]


def check_video(path: Path, frames: int, fps: float, size: int) -> None:
    """Check the settings of a video before its first frame is made.

    Raises:
        FaceLiftError: a setting is invalid, or there is no such folder.
    """
    if path.suffix.lower() != ".mp4":
        raise FaceLiftError(f"{path}: the name of a video must end with .mp4.")
    if frames < 1 or not fps > 0:
        raise FaceLiftError(f"A video needs at least 1 frame and a positive frame rate, not {frames} at {fps} fps.")
    if size < 2 or size % 2:
        raise FaceLiftError(f"The size of a video must be an even number of pixels, not {size}.")
    if not path.parent.is_dir():
        raise FaceLiftError(f"Cannot write {path}: the folder {path.parent} does not exist.")


def write_video(picture: Callable[[int], Tensor], frames: int, size: int, fps: float, path: Path) -> None:
    """Write an .mp4 atomically.

    Args:
        picture: called with 0, 1, … for each frame; returns (size, size, 3) in [0, 1], sRGB.
        frames: number of frames.
        size: side in pixels; must be even.
        fps: frames per second.
        path: file to write.

    Raises:
        FaceLiftError: a setting is invalid, ffmpeg is missing, or the video cannot be written.
    """
    check_video(path, frames, fps, size)
    with replacing(path) as temporary:
        _encode(picture, frames, size, fps, temporary, path)


def _encode(picture: Callable[[int], Tensor], frames: int, size: int, fps: float, file: Path, path: Path) -> None:
    """Encode `frames` images (size, size, 3) to `file` with ffmpeg. Error messages name `path` instead of `file`."""
    try:
        program = imageio_ffmpeg.get_ffmpeg_exe()
    except RuntimeError as error:
        raise FaceLiftError(f"Cannot write {path}: ffmpeg was not found ({first_line(error)}).") from error
    source = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{size}x{size}", "-r", Fraction(fps).limit_denominator()]
    target = ["-c:v", "libx264", "-crf", QUALITY, "-pix_fmt", "yuv420p", *_COLORS, "-movflags", "+faststart"]
    # The file's path is absolute, so that ffmpeg does not mistake it for a protocol or an option.
    arguments = [program, "-v", "quiet", "-y", *source, "-i", "-", *target, file.absolute()]
    streams = {"stdin": subprocess.PIPE, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    try:
        ffmpeg = launch.Process(arguments, **streams)
    except OSError as error:
        raise FaceLiftError(f"Cannot write {path}: ffmpeg cannot be started ({error.strerror or error}).") from None
    try:
        try:
            with ffmpeg.stdin:
                for i in range(frames):
                    ffmpeg.stdin.write(to_bytes(picture(i)))
        except OSError:
            raise _failed(path) from None
        if ffmpeg.wait(SECONDS_TO_FINISH):
            raise _failed(path)
    except subprocess.TimeoutExpired:
        raise _failed(path) from None
    finally:
        ffmpeg.end()


def _failed(path: Path) -> FaceLiftError:
    return FaceLiftError(
        f"Cannot write {path}: ffmpeg failed; check that the folder is writable and the disk is not full."
    )

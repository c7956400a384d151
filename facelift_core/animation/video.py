"""The frames of a video, one after the other, by ffmpeg in a process of its own."""

from __future__ import annotations

import re
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

import cv2
import imageio_ffmpeg
import numpy as np

from ..errors import FaceLiftError, first_line
from ..processes import launch

SIDE_MAX = 1280
"""Longer side of a frame in pixels; larger videos are scaled down."""
FPS_MAX = 60
SECONDS_MAX = 600
"""Length of a video in seconds; of a longer one, the beginning is used."""
PIXELS_MAX = 40_000_000
STALLED = 60.0
"""Seconds without a frame after which ffmpeg is stopped."""
# Formats of cameras and video editors. Playlists are none: they make ffmpeg open other files and addresses.
_FORMATS = "mov,matroska,avi,mpeg,mpegts,ogg,flv,asf,gif,mxf,dv,m4v,h264,hevc"
_SAFE = ["-protocol_whitelist", "file", "-format_whitelist", _FORMATS, "-max_pixels", PIXELS_MAX]
_SCALE = (
    f"scale=w='trunc(iw*min(1,{SIDE_MAX}/max(iw,ih))/2)*2':h='trunc(ih*min(1,{SIDE_MAX}/max(iw,ih))/2)*2',"
    "setsar=1,format=yuv420p"
)
_DURATION = re.compile(r"Duration: (\d+):(\d\d):(\d\d\.?\d*)")
_HEADER = re.compile(rb"YUV4MPEG2 W(\d{1,5}) H(\d{1,5}) F(\d{1,9}):(\d{1,9})(?: [^\n]*)?\n")
_HEADER_MAX = 300


@dataclass(frozen=True)
class Video:
    """A video that can be read.

    Attributes:
        path: the file.
        seconds: its length, of which at most :data:`SECONDS_MAX` are read; 0 if the file does not tell.
    """

    path: Path
    seconds: float


@dataclass(frozen=True)
class Frame:
    """One frame.

    Attributes:
        time: seconds since the first one.
        pixels: (H, W, 3) uint8 RGB, upright, with at most 1280 pixels a side.
    """

    time: float
    pixels: np.ndarray


def open_video(path: str | Path) -> Video:
    """Look into a video file.

    Raises:
        FaceLiftError: the file is missing or no video, or ffmpeg is missing.
    """
    path = Path(path).absolute()
    if not path.is_file():
        raise FaceLiftError(f"There is no video {path}.")
    try:
        told = launch.run([_ffmpeg(), "-hide_banner", *_SAFE, "-i", f"file:{path}"], STALLED).stderr.decode(
            errors="replace"
        )
    except launch.OutOfTime:
        raise _unreadable(path) from None
    if "Video:" not in told:
        raise _unreadable(path)
    found = _DURATION.search(told)
    hours, minutes, seconds = map(float, found.groups()) if found else (0, 0, 0)
    return Video(path, 3600 * hours + 60 * minutes + seconds)


def frames(video: Video) -> Iterator[Frame]:
    """The frames of a video at its own rate, of at most 60 per second. Closing the iterator ends ffmpeg.

    Raises:
        FaceLiftError: the video contains no frame that can be read, or ffmpeg stops.
    """
    arguments = [
        _ffmpeg(), "-v", "quiet", "-nostdin", *_SAFE, "-i", f"file:{video.path}", "-t", SECONDS_MAX, "-map", "0:v:0",
        "-vf", _SCALE, "-fpsmax", FPS_MAX, "-f", "yuv4mpegpipe", "-",
    ]  # fmt: skip
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    try:
        process = launch.Process(arguments, **streams)
    except OSError as error:
        raise FaceLiftError(
            f"Cannot read {video.path}: ffmpeg cannot be started ({error.strerror or error})."
        ) from None
    watch = _Watch(process)
    try:
        with closing(_decoded(process.stdout, watch)) as decoded:
            read = 0
            for frame in decoded:
                read += 1
                yield frame
            if not read or watch.stalled:
                raise _unreadable(video.path)
    finally:
        watch.close()
        process.end()
        process.stdout.close()


def _decoded(stream: BinaryIO, watch: _Watch) -> Iterator[Frame]:
    """Frames in a stream of YUV4MPEG2."""
    with watch:
        header = _HEADER.fullmatch(stream.readline(_HEADER_MAX))
    if not header:
        return
    width, height, rate, base = map(int, header.groups())
    if width > SIDE_MAX or height > SIDE_MAX or width % 2 or height % 2 or not rate * base * width * height:
        return
    size, count = width * height * 3 // 2, 0
    while True:
        with watch:
            content = stream.read(size) if stream.readline(_HEADER_MAX).startswith(b"FRAME") else b""
        if len(content) < size:
            return
        planes = np.frombuffer(content, np.uint8).reshape(height * 3 // 2, width)
        yield Frame(float(Fraction(count * base, rate)), cv2.cvtColor(planes, cv2.COLOR_YUV2RGB_I420))
        count += 1


class _Watch:
    """Kills a process for whose next frame somebody has been waiting too long."""

    def __init__(self, process: launch.Process):
        self._process, self._closed = process, threading.Event()
        self._since: float | None = None
        self.stalled = False
        threading.Thread(target=self._run, name="FaceLift: a video's watch", daemon=True).start()

    def __enter__(self) -> None:
        self._since = time.monotonic()

    def __exit__(self, *_) -> None:
        self._since = None

    def close(self) -> None:
        self._closed.set()

    def _run(self) -> None:
        while not self._closed.wait(STALLED / 60):
            since = self._since
            if since is not None and time.monotonic() - since > STALLED:
                self.stalled = True
                self._process.kill()
                return


def _ffmpeg() -> str:
    try:
        return imageio_ffmpeg.get_ffmpeg_exe()
    except RuntimeError as error:
        raise FaceLiftError(f"Videos cannot be read: ffmpeg was not found ({first_line(error)}).") from error


def _unreadable(path: Path) -> FaceLiftError:
    return FaceLiftError(f"{path.name} cannot be read as a video; convert it to .mp4 with another program.")

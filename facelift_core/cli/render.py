"""``facelift render``: render a head to an image or a turntable video."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..diagnostics import quiet_libraries
from .console import progress_bar, say
from .options import UsageError, add_camera_arguments, check_output, device, whole_number
from .reconstruct import PICTURE_SUFFIXES, VIDEO_SUFFIXES

FRONT = 270.0
"""Azimuth of the camera in front of the face, in the convention of :mod:`facelift_core.rendering.cameras`."""


def add_parser(commands) -> None:
    parser = commands.add_parser(
        "render",
        help="render a 3D head to an image or a video",
        description="Render a head to an image, or to a turntable video.",
        allow_abbrev=False,
    )
    parser.add_argument("head", metavar="HEAD", type=Path, help="the head to render: .ply or any other format")
    parser.add_argument(
        "-o", "--output", metavar="FILE", required=True, type=Path, help="image (.png, .jpg, .webp) or video (.mp4)"
    )
    add_camera_arguments(
        parser, "camera direction: 0 front (default), 90 the head's left side, 180 back; for a video, the start"
    )
    parser.add_argument(
        "--camera",
        choices=("auto", "published"),
        default="auto",
        help="auto shows the whole head, wherever it is (default); published keeps the cameras of the model",
    )
    parser.add_argument(
        "--size", type=whole_number(16, 4096), default=512, help="width and height in pixels (default 512)"
    )
    parser.add_argument("--device", type=device, default="auto", help="auto (default), cuda, cuda:1, mps or cpu")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    suffix = options.output.suffix.lower()
    if suffix not in PICTURE_SUFFIXES + VIDEO_SUFFIXES:
        raise UsageError(f"{options.output}: the name must end with {' or '.join(PICTURE_SUFFIXES + VIDEO_SUFFIXES)}.")
    if suffix in VIDEO_SUFFIXES and options.size % 2:
        raise UsageError(f"The size of a video must be an even number of pixels, not {options.size}.")
    check_output(options.output)
    quiet_libraries()
    import torch

    from ..compute.device import nothing_left_behind, select_device
    from ..gaussians.files import read
    from ..images import to_pictures, write_picture
    from ..rendering import render
    from ..rendering.cameras import intrinsics, orbit
    from ..rendering.framing import framed
    from ..rendering.turntable import write_turntable

    azimuth, size, background = FRONT + options.azimuth, options.size, options.background
    with nothing_left_behind(), torch.no_grad():
        gaussians = read(options.head, tell=say).to_gaussians().to(select_device(options.device))
        if options.camera == "auto":
            shown = framed(gaussians)
            if shown is not gaussians:
                say("The head is not at its usual place; the camera follows it (--camera published keeps it fixed).")
            gaussians = shown
        if suffix in VIDEO_SUFFIXES:
            with progress_bar(options.output.name) as progress:
                write_turntable(
                    gaussians,
                    options.output,
                    size=size,
                    start=azimuth,
                    elevation=options.elevation,
                    background=background,
                    progress=progress,
                )
        else:
            camera = orbit(torch.tensor([azimuth]), options.elevation)
            picture = render(gaussians, camera, intrinsics(size), size, size, background)
            write_picture(to_pictures(picture)[0], options.output)
            if bool((picture == picture[0, 0, 0]).all()):
                say("The picture is empty: this camera sees nothing of the head.")
    print(f"{options.output}: {len(gaussians):,} Gaussians")
    return 0

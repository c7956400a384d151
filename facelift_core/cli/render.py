"""``facelift render``: a head to a picture or a video."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..diagnostics import quiet_libraries
from ..errors import FaceLiftError
from .console import progress_bar
from .options import UsageError, colour, device, number, whole_number
from .reconstruct import PICTURE_SUFFIXES, VIDEO_SUFFIXES

FRONT = 270.0
"""Azimuth of the camera in front of the face, in the convention of :mod:`facelift_core.rendering.cameras`."""


def add_parser(commands) -> None:
    parser = commands.add_parser(
        "render",
        help="a 3D head to a picture or a video",
        description="Render a head of Gaussians to a picture, or to a video once around it.",
        allow_abbrev=False,
    )
    parser.add_argument("head", metavar="HEAD.ply", type=Path, help="Gaussians of a head")
    parser.add_argument(
        "-o", "--output", metavar="FILE", required=True, type=Path, help="picture (.png, .jpg, .webp) or video (.mp4)"
    )
    parser.add_argument(
        "--azimuth",
        type=number(-360, 360),
        default=0.0,
        metavar="DEGREES",
        help="0 is the face (default), 90 the head's left side, 180 the back; for a video, where it starts",
    )
    parser.add_argument(
        "--elevation",
        type=number(-89, 89),
        default=0.0,
        metavar="DEGREES",
        help="of the camera above the head (default 0)",
    )
    parser.add_argument("--size", type=whole_number(16, 4096), default=512, help="side in pixels (default 512)")
    parser.add_argument("--background", type=colour, default=(1.0, 1.0, 1.0), help="name or #rrggbb (default white)")
    parser.add_argument("--device", type=device, default="auto", help="auto (default), cuda, cuda:1, mps or cpu")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    suffix = options.output.suffix.lower()
    if suffix not in PICTURE_SUFFIXES + VIDEO_SUFFIXES:
        raise UsageError(
            f"{options.output}: the name should end with {' or '.join(PICTURE_SUFFIXES + VIDEO_SUFFIXES)}."
        )
    if suffix in VIDEO_SUFFIXES and options.size % 2:
        raise UsageError(f"A video's side must be an even number of pixels, not {options.size}.")
    if options.output.is_dir() or not options.output.parent.is_dir():
        raise FaceLiftError(f"Cannot write {options.output}: the folder is missing, or the name is that of a folder.")
    quiet_libraries()
    import torch

    from ..compute.device import nothing_left_behind, select_device
    from ..gaussians.files import load
    from ..images import to_pictures, write_picture
    from ..rendering import render
    from ..rendering.cameras import intrinsics, orbit
    from ..rendering.turntable import write_turntable

    azimuth, size, background = FRONT + options.azimuth, options.size, options.background
    with nothing_left_behind(), torch.no_grad():
        gaussians = load(options.head).to(select_device(options.device))
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
    print(f"{options.output}: {len(gaussians):,} Gaussians")
    return 0

"""``facelift animate``: give a head an expression, or let it perform a face capture or a video."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ..diagnostics import quiet_libraries
from .console import progress_bar, say
from .options import UsageError, add_camera_arguments, check_output, number, whole_number
from .reconstruct import PICTURE_SUFFIXES, VIDEO_SUFFIXES

if TYPE_CHECKING:
    from ..animation import Rig
    from ..animation.take import Take

TAKE_SUFFIX = ".csv"


def add_parser(commands) -> None:
    parser = commands.add_parser(
        "animate",
        help="move the face of a 3D head",
        description="Give a head an expression, or let it perform a face capture or the face in a video.",
        epilog="Examples: facelift animate head.ply --pose mouthSmileLeft=.8,mouthSmileRight=.8 -o smile.ply; "
        "facelift animate head.ply --csv take.csv -o take.mp4; facelift animate head.ply --video me.mp4 -o take.mp4",
        allow_abbrev=False,
    )
    parser.add_argument("head", metavar="HEAD", type=Path, help="the head, as FaceLift reconstructed it")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--pose", metavar="NAME=STRENGTH,…", type=_pose, help="an expression: shapes of ARKit, strengths from 0 to 1"
    )
    source.add_argument(
        "--csv", metavar="FILE", type=Path, help="face capture of Live Link Face (.csv) or ARKit (.json)"
    )
    source.add_argument("--video", metavar="FILE", type=Path, help="video of a face that the head performs")
    parser.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        required=True,
        type=Path,
        help="video (.mp4); with --pose a head (.ply or any other format) or an image (.png, .jpg, .webp); "
        "with --video also the face capture (.csv)",
    )
    parser.add_argument(
        "--turn", metavar="DEGREES", type=number(-90, 90), help="with --pose: turn the head to its left"
    )
    parser.add_argument(
        "--neutral", type=number(0, 1), help="with --pose: how far to take back the expression of the photo (default 0)"
    )
    parser.add_argument("--fps", type=number(1, 240), default=30.0, help="frames per second of a video (default 30)")
    add_camera_arguments(parser, "camera direction: 0 front (default), 90 the head's left side, 180 back")
    parser.add_argument(
        "--size", type=whole_number(16, 4096), default=512, help="width and height in pixels (default 512)"
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    _check(options)
    check_output(options.output)
    quiet_libraries()
    if options.video is not None:
        from ..animation.video import open_video

        open_video(options.video)  # so that what is no video is refused before the head is rigged
        rig = _rig(options.head)
        take = _track(options.video, options.head, rig)
        if options.output.suffix.lower() == TAKE_SUFFIX:
            from ..animation.capture import write_csv

            write_csv(take, options.output)
            print(f"{options.output}: {len(take):,} frames")
            return 0
        return _film(options, rig, take)
    if options.csv is not None:
        from ..animation.capture import read_take

        take = read_take(options.csv)
        for note in take.notes:
            say(note)
        return _film(options, _rig(options.head), take)
    return _still(options)


def _check(options: argparse.Namespace) -> None:
    suffix = options.output.suffix.lower()
    if options.pose is None:
        if options.turn is not None or options.neutral is not None:
            raise UsageError("--turn and --neutral belong to --pose.")
        allowed = VIDEO_SUFFIXES + ((TAKE_SUFFIX,) if options.video is not None else ())
        if suffix not in allowed:
            raise UsageError(f"{options.output}: the name must end with {' or '.join(allowed)}.")
        if suffix in VIDEO_SUFFIXES and options.size % 2:
            raise UsageError(f"The size of a video must be an even number of pixels, not {options.size}.")
    elif suffix not in PICTURE_SUFFIXES:
        from ..gaussians.files import format_of

        format_of(options.output)


def _rig(head: Path) -> Rig:
    from ..animation.rigging import make_rig
    from ..gaussians.files import read

    gaussians = read(head, tell=say).to_gaussians()
    with progress_bar(head.name) as progress:
        return make_rig(gaussians, progress)


def _track(video: Path, head: Path, rig: Rig) -> Take:
    from ..animation.own_response import with_answers_of
    from ..animation.response import load_response
    from ..animation.tracking import track_video

    with progress_bar(head.name) as progress:
        response = with_answers_of(rig, load_response(), progress)
    with progress_bar(video.name) as progress:
        take = track_video(video, progress, response=response)
    for note in take.notes:
        say(note)
    return take


def _film(options: argparse.Namespace, rig: Rig, take: Take) -> int:
    from ..animation.animate import write_film

    with progress_bar(options.output.name) as progress:
        write_film(
            rig,
            take,
            options.output,
            options.fps,
            options.size,
            options.azimuth,
            options.elevation,
            options.background,
            progress,
        )
    print(f"{options.output}: {take.times[-1]:.1f} seconds")
    return 0


def _still(options: argparse.Namespace) -> int:
    import torch
    from scipy.spatial.transform import Rotation

    from ..animation.animate import animate
    from ..images import to_pictures, write_picture
    from ..rendering import render
    from ..rendering.cameras import intrinsics, orbit

    rig = _rig(options.head)
    turn = None if options.turn is None else Rotation.from_euler("z", options.turn, degrees=True).as_matrix()
    gaussians = animate(rig, options.pose, turn, options.neutral or 0.0)
    if options.output.suffix.lower() in PICTURE_SUFFIXES:
        camera = orbit(torch.tensor([270.0 + options.azimuth]), options.elevation)
        with torch.no_grad():
            picture = render(
                gaussians, camera, intrinsics(options.size), options.size, options.size, options.background
            )
        write_picture(to_pictures(picture)[0], options.output)
    else:
        gaussians.save(options.output)
    print(f"{options.output}: {len(gaussians):,} Gaussians")
    return 0


def _pose(text: str) -> dict[str, float]:
    """Parse “jawOpen=0.5,browInnerUp=1”."""
    from ..animation.rig import SHAPES

    names = {name.lower(): name for name in SHAPES}
    pose = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, _, strength = part.partition("=")
        if name.strip().lower() not in names:
            raise argparse.ArgumentTypeError(f"there is no shape “{name.strip()}”; the shapes are {', '.join(SHAPES)}")
        pose[names[name.strip().lower()]] = number(0, 2)(strength.strip() or "1")
    return pose

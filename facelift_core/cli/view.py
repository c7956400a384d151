"""``facelift view``: a head as a web page."""

from __future__ import annotations

import argparse
import io
from pathlib import Path

from ..diagnostics import quiet_libraries
from .console import say
from .options import UsageError, add_camera_arguments, check_output

POSTER_SIZE = 1024


def add_parser(commands) -> None:
    parser = commands.add_parser(
        "view",
        help="make a web page that shows a 3D head",
        description="Write one HTML file that shows a head in any browser: drag to turn it, scroll to come closer, "
        "double-click to start again. It opens from disk and needs no network.",
        allow_abbrev=False,
    )
    parser.add_argument("head", metavar="HEAD", type=Path, help="the head to show: .ply or any other format")
    parser.add_argument("-o", "--output", metavar="FILE.html", required=True, type=Path, help="the page to write")
    add_camera_arguments(parser, "where the camera starts: 0 front (default), 90 the head's left side, 180 back")
    parser.add_argument("--still", action="store_true", help="the head does not turn by itself")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    if options.output.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"{options.output}: the name must end with .html.")
    check_output(options.output)
    quiet_libraries()
    from ..gaussians.files import read
    from ..web import Look, write_page

    splats = read(options.head, tell=say)
    look = Look(
        title=options.head.stem,
        background="#" + "".join(f"{round(255 * value):02x}" for value in options.background),
        azimuth=options.azimuth,
        elevation=options.elevation,
        auto_rotate=not options.still,
        poster=_poster(splats, options),
    )
    write_page(splats, options.output, look)
    print(f"{options.output}: {len(splats):,} Gaussians, {options.output.stat().st_size / 1e6:.1f} MB")
    return 0


def _poster(splats, options: argparse.Namespace) -> bytes:
    """What the page shows at first, as a JPEG: the same picture, rendered here."""
    import numpy as np
    import torch

    from ..gaussians.transforms import transform
    from ..images import to_pictures
    from ..rendering import render
    from ..rendering.cameras import intrinsics, orbit
    from ..web import RADIUS, framing
    from .render import FRONT

    target, distance = framing(splats.positions)
    to_camera = np.diag([*[RADIUS / distance] * 3, 1.0])
    to_camera[:3, 3] = -target * RADIUS / distance
    gaussians = transform(splats, to_camera).to_gaussians()
    camera = orbit(torch.tensor([FRONT + options.azimuth]), options.elevation)
    with torch.no_grad():
        size = POSTER_SIZE
        picture = render(gaussians, camera, intrinsics(size), size, size, options.background)
    file = io.BytesIO()
    to_pictures(picture)[0].convert("RGB").save(file, "JPEG", quality=85)
    return file.getvalue()

"""``facelift relight``: show a head under other light."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..diagnostics import quiet_libraries
from .console import progress_bar, say
from .options import UsageError, check_output, color, number

FILL = 0.2
"""Light from everywhere beside lamps, unless a picture of the surroundings is given: shadows are not black."""


def add_parser(commands) -> None:
    parser = commands.add_parser(
        "relight",
        help="show a 3D head under other light",
        description="Remove the light of the photo from a head and light it with distant lamps, with a picture of the "
        "surroundings, or with both.",
        allow_abbrev=False,
    )
    parser.add_argument("head", metavar="HEAD", type=Path, help="the head to relight: .ply or any other format")
    parser.add_argument("-o", "--output", metavar="FILE", required=True, type=Path, help="head to write")
    parser.add_argument(
        "--sun",
        nargs=2,
        type=number(-360, 360),
        action="append",
        default=[],
        metavar=("AZIMUTH", "ELEVATION"),
        help="a lamp, in degrees: azimuth 0 front, 90 the head's left side, 180 back; elevation 90 above; repeat it "
        "for more lamps",
    )
    parser.add_argument(
        "--color", type=color, action="append", default=[], help="color of each --sun, in their order (default white)"
    )
    parser.add_argument(
        "--hdri", type=Path, metavar="FILE", help="equirectangular picture of the surroundings (.hdr, .png, .jpg)"
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    if not options.sun and options.hdri is None:
        raise UsageError("Without light, the head would be black; give --sun or --hdri.")
    if len(options.color) > len(options.sun):
        raise UsageError("There are more --color than --sun; give one color per lamp.")
    from ..gaussians.files import format_of, read

    format_of(options.output)
    check_output(options.output)
    quiet_libraries()
    from ..photos.colors import srgb_to_linear
    from ..relighting import estimate
    from ..relighting.environment import Environment, Sun
    from ..relighting.shading import relight

    colors = [*options.color, *[(1.0, 1.0, 1.0)] * len(options.sun)]
    suns = tuple(
        Sun.at(azimuth, elevation, tuple(srgb_to_linear(tint)))
        for (azimuth, elevation), tint in zip(options.sun, map(_array, colors), strict=False)
    )
    around = Environment.uniform((FILL,) * 3, suns)
    if options.hdri is not None:
        around = Environment.of_file(options.hdri, suns)
    gaussians = read(options.head, tell=say).to_gaussians()
    with progress_bar(options.output.name) as progress:
        reflectance = estimate(gaussians, progress)
    relight(gaussians, around, reflectance).save(options.output)
    print(f"{options.output}: {len(gaussians):,} Gaussians")
    return 0


def _array(values: tuple[float, float, float]):
    import numpy as np

    return np.asarray(values)

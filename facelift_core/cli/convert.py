"""``facelift convert``: a head in another file format."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..errors import FaceLiftError
from .console import say
from .options import UsageError


def add_parser(commands) -> None:
    parser = commands.add_parser(
        "convert",
        help="write a 3D head in another file format",
        description="Write a head, or any other Gaussians, in another file format: .ply, .spz, .glb, and others.",
        allow_abbrev=False,
    )
    parser.add_argument("head", metavar="IN", type=Path, help="the file to read")
    parser.add_argument("output", metavar="OUT", type=Path, help="the file to write; its suffix chooses the format")
    parser.add_argument(
        "--filter",
        choices=("cli", "web"),
        help="drop stray Gaussians of a head as FaceLift's command line or its web demo does (default: keep all)",
    )
    parser.add_argument(
        "--spz-version", type=int, choices=(2, 3, 4), help="version of a .spz file: 3 (default) opens everywhere"
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from ..gaussians.files import format_of, read, write

    target = format_of(options.output)
    extra = {} if options.spz_version is None else {"version": options.spz_version}
    if extra and "version" not in (target.options or {}):
        raise UsageError(f"--spz-version is for .spz files, not for {options.output}.")
    splats = read(options.head, tell=say)
    if options.filter:
        from ..gaussians import filters

        limits = filters.CLI_LIMITS if options.filter == "cli" else filters.WEB_LIMITS
        splats = splats[filters.keep_indices(splats.to_gaussians(), limits).numpy()]
        if not len(splats):
            raise FaceLiftError(f"Nothing is left of {options.head} after filtering; it is not a head of FaceLift.")
    if splats.sh_degree > target.sh_degree:
        say(f"{options.output}: {target.name} files have no view-dependent color; it was left out.")
    write(splats, options.output, **extra)
    print(f"{options.output}: {len(splats):,} Gaussians, {options.output.stat().st_size / 1e6:.1f} MB")
    return 0

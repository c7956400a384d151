"""``facelift rig``: fit the face mesh to a head and write it for other programs."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..diagnostics import quiet_libraries
from .console import progress_bar, say
from .options import check_output


def add_parser(commands) -> None:
    parser = commands.add_parser(
        "rig",
        help="write the face mesh of a 3D head, with 52 shapes",
        description="Fit a face mesh to a head and write it with 52 shapes, named as ARKit's, and five bones.",
        allow_abbrev=False,
    )
    parser.add_argument("head", metavar="HEAD", type=Path, help="the head, as FaceLift reconstructed it")
    parser.add_argument("-o", "--output", metavar="FILE", required=True, type=Path, help="mesh to write (.glb)")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from ..animation.face_files import check_suffix, write_glb

    check_suffix(options.output)
    check_output(options.output)
    quiet_libraries()
    from ..animation.fit import fit_face
    from ..gaussians.files import read

    gaussians = read(options.head, tell=say).to_gaussians()
    with progress_bar(options.head.name) as progress:
        mesh = fit_face(gaussians, progress)
    write_glb(mesh, options.output)
    print(f"{options.output}: {len(mesh.quads):,} quads, {len(mesh.shapes)} shapes")
    return 0

"""``facelift mesh``: turn a head into a mesh with a texture."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..diagnostics import quiet_libraries
from ..mesh.files import check_suffix
from .console import progress_bar
from .options import check_output, whole_number


def add_parser(commands) -> None:
    parser = commands.add_parser(
        "mesh",
        help="turn a 3D head into a mesh",
        description="Turn a head into one closed mesh with a texture.",
        allow_abbrev=False,
    )
    parser.add_argument("head", metavar="HEAD", type=Path, help="the head to turn into a mesh")
    parser.add_argument(
        "-o", "--output", metavar="FILE", required=True, type=Path, help="mesh to write (.glb, .obj, .usd, .stl, .npz)"
    )
    parser.add_argument(
        "--faces", type=whole_number(1_000, 500_000), default=50_000, help="largest number of triangles (default 50000)"
    )
    parser.add_argument(
        "--texture",
        type=int,
        choices=(512, 1024, 2048, 4096),
        default=2048,
        help="width and height of the texture in pixels (default 2048)",
    )
    parser.add_argument(
        "--bottom",
        choices=("flat", "open"),
        default="flat",
        help="close the cut below the neck with a flat face (default), or leave it open",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    check_suffix(options.output)
    check_output(options.output)
    quiet_libraries()
    from ..gaussians.files import load
    from ..mesh.head_mesh import make_mesh

    gaussians = load(options.head)
    with progress_bar(options.output.name) as progress:
        mesh = make_mesh(gaussians, options.faces, options.texture, options.bottom, progress)
    mesh.save(options.output)
    print(f"{options.output}: {len(mesh.faces):,} triangles, texture of {options.texture} pixels")
    return 0

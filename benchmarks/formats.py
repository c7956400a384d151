"""Write the table of file formats in docs/formats.md: what each keeps, how large and how fast it is, who else opens it.

    python benchmarks/formats.py HEAD.ply [--splat-transform cli.mjs] [--gsply PYTHON] [--blender PYTHON_WITH_BPY_5.3]

HEAD is any head; the table in the documentation is of `facelift reconstruct tests/data/portrait.jpg`. Times are
processor time. Pictures are compared with those of HEAD at three views of 512², by our renderer; other programs read
the file, and what they have read is rendered. Without a program, its column stays as it is.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from facelift_core.gaussians import axes
from facelift_core.gaussians.files import FORMATS, SplatArrays, read, write
from facelift_core.gaussians.transforms import transform
from facelift_core.rendering import render
from facelift_core.rendering.cameras import intrinsics, orbit

PAGE = Path(__file__).parents[1] / "docs" / "formats.md"
START, END = "<!-- table -->\n", "<!-- end of table -->"
VIEWS = torch.tensor([270.0, 315.0, 90.0])
SIZE = 512
HEADER = (
    "| | size | written in | read in | picture | splat-transform 3.7 | gsply 0.4.6 | Blender 5.3 |\n"
    "|---|---|---|---|---|---|---|---|\n"
)
KINDS = [(entry.suffix, {}) for entry in FORMATS if entry.suffix != ".spz"]
KINDS[2:2] = [(".spz", {"version": version}) for version in (2, 3, 4)]

GSPLY = """
import sys, numpy as np, gsply
path, out = sys.argv[1:]
read = gsply.read_spz if path.endswith(".spz") else gsply.sogread if path.endswith(".sog") else gsply.plyread
d = read(path)
np.savez(out, positions=d.means, sh=np.asarray(d.sh0)[:, None], log_scales=d.scales, rotations=d.quats,
         opacity_logits=np.asarray(d.opacities).reshape(-1))
"""
BLENDER = """
import sys, bpy, numpy as np
path, out = sys.argv[1:]
wm = bpy.ops.wm
readers = {"ply": wm.ply_import, "spz": wm.spz_import, "glb": bpy.ops.import_scene.gltf, "usda": wm.usd_import,
           "usdc": wm.usd_import}
for item in list(bpy.data.objects): bpy.data.objects.remove(item)
readers[path.rsplit(".", 1)[1]](filepath=path)
bpy.context.view_layer.update()
item = next(o for o in bpy.data.objects if o.type == "POINTCLOUD")
def values(name, width, field="vector"):
    data = item.data.attributes[name].data
    array = np.empty(len(data) * width, "f4")
    data.foreach_get(field, array)
    return array.reshape(-1, width)
base = values("radiance:base", 4)
np.savez(out, matrix=np.array(item.matrix_world), positions=values("position", 3), sh=base[:, None, :3],
         log_scales=np.log(values("scale", 3)), rotations=values("rotation", 4, "value"), opacities=base[:, 3])
"""


def pictures(splats: SplatArrays) -> torch.Tensor:
    """(3, 512, 512, 3) renders, front, side and back, as they are shown."""
    with torch.no_grad():
        gaussians = splats.to_gaussians()
        shots = [render(gaussians, orbit(view[None]), intrinsics(SIZE), SIZE, SIZE, (1.0, 1.0, 1.0)) for view in VIEWS]
    return torch.cat(shots).clamp(0, 1)


def decibels(found: torch.Tensor, expected: torch.Tensor) -> str:
    """PSNR of the worst view."""
    errors = (found - expected).square().mean((1, 2, 3))
    return "exact" if float(errors.max()) == 0 else f"{-10 * errors.max().log10():.1f} dB"


def timed(function: Callable) -> tuple[object, str]:
    """The result, and the least processor time of three runs."""
    times = []
    for _ in range(3):
        started = time.process_time()
        result = function()
        times.append(time.process_time() - started)
    return result, f"{min(times):.2f} s"


def by_splat_transform(program: str, path: Path, folder: Path) -> SplatArrays | None:
    if path.suffix in (".glb", ".usda", ".usdc"):
        return None
    node = ["node"] if program.endswith((".mjs", ".js")) else []
    subprocess.run([*node, program, "-q", "-w", path, folder / "back.ply"], check=True)
    found = read(folder / "back.ply")
    return transform(found, axes.Y_UP_TO_Z_UP) if path.suffix == ".spz" else found


def by_gsply(python: str, path: Path, folder: Path) -> SplatArrays | None:
    if path.suffix not in (".ply", ".spz", ".sog"):
        return None
    found = _loaded(python, GSPLY, path, folder)
    found = SplatArrays(**found)
    return transform(found, axes.Y_UP_TO_Z_UP) if path.suffix == ".spz" else found


def by_blender(python: str, path: Path, folder: Path) -> SplatArrays | None:
    if path.suffix in (".sog", ".splat") or path.name.endswith(".compressed.ply"):
        return None
    found = _loaded(python, BLENDER, path, folder)
    matrix, opacity = found.pop("matrix"), found.pop("opacities").clip(1e-9, 1 - 1e-7)
    return transform(SplatArrays(**found, opacity_logits=np.log(opacity / (1 - opacity))), matrix)


def _loaded(python: str, code: str, path: Path, folder: Path) -> dict[str, np.ndarray]:
    subprocess.run([python, "-c", code, path, folder / "found.npz"], check=True, stdout=subprocess.DEVNULL)
    with np.load(folder / "found.npz") as arrays:
        return {name: np.ascontiguousarray(arrays[name], np.float32) for name in arrays}


OTHERS: dict[str, Callable[[str, Path, Path], SplatArrays | None]] = {
    "splat_transform": by_splat_transform,
    "gsply": by_gsply,
    "blender": by_blender,
}


def row(suffix: str, options: dict, head: SplatArrays, expected: torch.Tensor, programs: dict, folder: Path) -> str:
    path = folder / f"head{suffix}"
    _, writing = timed(lambda: write(head, path, **options))
    found, reading = timed(lambda: read(path))
    version = f", version {options['version']}" if options else ""
    cells = [f"`{suffix}`{version}", f"{path.stat().st_size / 1e6:.1f} MB", writing, reading]
    cells.append(decibels(pictures(found), expected))
    for name, reader in OTHERS.items():
        if not programs[name]:
            cells.append("not tried")
            continue
        try:
            others = reader(programs[name], path, folder)
            finite = others is not None and all(np.isfinite(values).all() for values in vars(others).values())
            cells.append("no" if others is None else decibels(pictures(others), expected) if finite else "wrong values")
        except subprocess.CalledProcessError:  # the program has said why
            cells.append("refused")
    print(" | ".join(cells), flush=True)
    return f"| {' | '.join(cells)} |\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("head", type=Path)
    parser.add_argument("--splat-transform", metavar="PROGRAM")
    parser.add_argument("--gsply", metavar="PYTHON")
    parser.add_argument("--blender", metavar="PYTHON")
    options = parser.parse_args()
    programs = {name: getattr(options, name) for name in OTHERS}
    head = read(options.head)
    expected = pictures(head)
    with tempfile.TemporaryDirectory() as folder:
        rows = [row(suffix, extra, head, expected, programs, Path(folder)) for suffix, extra in KINDS]
    page = PAGE.read_text("utf-8")
    start, end = page.index(START) + len(START), page.index(END)
    caption = f"\n{len(head):,} Gaussians of spherical-harmonic degree {head.sh_degree}.\n\n"
    PAGE.write_text(page[:start] + caption + HEADER + "".join(rows) + "\n" + page[end:], "utf-8")


if __name__ == "__main__":
    main()

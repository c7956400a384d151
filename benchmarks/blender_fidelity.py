"""Compare renders of splats in Blender with the renderer of facelift_core, and print a table.

    python benchmarks/blender_fidelity.py [--full] [--bpy PATH/TO/PYTHON …] [--blender PATH/TO/BLENDER …]

Each --bpy is a Python with the bpy module, each --blender a Blender executable. The default is the Pythons that
`make test-blender` sets up. Both engines are measured. EEVEE needs OpenGL but no window; with Mesa's software OpenGL,
compiling its shaders takes a minute or two.

Both pictures are transparent, with one sample in the center of each pixel, and compared with their colors multiplied
by alpha. --mode Native is Blender 5.3's own drawing of splats, with 64 samples in Cycles and 16 in EEVEE. Without
--full a few small pictures; with it the head that mini makes of the test portrait and synthetic ones of 50,000 and
160,000 Gaussians, each by all combinations of three cameras, the object still and moved (rotated and unevenly scaled),
and both blendings: sRGB as viewers do, and linear.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

# Before PyTorch is imported: threads that wait in a loop make our own pictures minutes slow where the cores are shared.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from fidelity_sheet import sheet
from splat_references import CAMERAS, psnr, reference, synthetic_head, uneven

from facelift_core.gaussians.files import SplatArrays, read, write
from facelift_core.rendering.cameras import orbit

ROOT = Path(__file__).resolve().parents[1]
ENGINES = ("CYCLES", "EEVEE")
MODES = ("Camera Facing", "Any View")
NATIVE = "Native"
COLORS = ("sRGB", "linear")
MOVES = {"still": np.eye(4), "moved": uneven()}
TARGETS = {("CYCLES", "Camera Facing"): 60, ("CYCLES", "Any View"): 33, ("EEVEE", "Camera Facing"): 50,
           ("EEVEE", "Any View"): 48, ("CYCLES", NATIVE): 18, ("EEVEE", NATIVE): 18}  # fmt: skip
PICTURED = ("front", "moved", "sRGB")
"""The case of each head that --pictures shows."""
FEW = [PICTURED, ("side", "still", "linear")]


@dataclass(frozen=True)
class Case:
    """One image of one head, rendered with each mode and engine."""

    head: str
    view: str
    move: str
    colors: str
    size: int


def cases(heads: list[str], full: bool, size: int) -> list[Case]:
    """Return all combinations, or two for each head."""
    combinations = itertools.product(CAMERAS, MOVES, COLORS) if full else FEW
    return [Case(head, *combination, size) for head, combination in itertools.product(heads, combinations)]


def main() -> None:
    options = parse_options()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        heads = load_heads(options, folder)
        rows = []
        todo = cases(list(heads), options.full, options.size)
        for name, splats in heads.items():
            print(f"{name}: {len(splats):,} Gaussians, {options.size}² pixels", flush=True)
        references = {case: case_reference(case, heads[case.head]) for case in todo}
        programs = [(program, False) for program in options.bpy] + [(program, True) for program in options.blender]
        for number, (program, is_full) in enumerate(programs):
            for engine in options.engine or ENGINES:
                jobs = [
                    make_job(case, mode, engine, folder, f"{number}_{engine}_{mode.split()[0]}_{index}")
                    for index, case in enumerate(todo)
                    for mode in options.mode or MODES
                ]
                rows += measure(program, is_full, jobs, references, folder)
        if options.pictures:
            pictures(rows, references, options.pictures)
    summary = summarize(rows)
    if options.json:
        rows = [{key: value for key, value in row.items() if key != "out"} for row in rows]
        options.json.write_text(json.dumps({"worst": summary, "pictures": rows}, indent=1) + "\n")
    sys.exit(any(not line["reached"] for line in summary))


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--full", action="store_true", help="measure the full table of the documentation (ten minutes per Blender)"
    )
    parser.add_argument("--bpy", action="append", default=[], metavar="PYTHON")
    parser.add_argument("--blender", action="append", default=[], metavar="PROGRAM")
    parser.add_argument("--engine", action="append", choices=ENGINES)
    parser.add_argument("--mode", action="append", choices=(*MODES, NATIVE))
    parser.add_argument("--ply", type=Path, help="use this head instead of one made with mini")
    parser.add_argument(
        "--count", type=int, action="append", help="number of Gaussians of a synthetic head, instead of the defaults"
    )
    parser.add_argument("--size", type=int, help="size of the images in pixels")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--pictures", type=Path, help="folder for comparison images, one per head")
    parser.add_argument("--keep", type=Path, help="folder for intermediate files")
    options = parser.parse_args()
    options.size = options.size or (256 if options.full else 128)
    if not options.bpy and not options.blender:
        found = os.environ.get("FACELIFT_BPY_PYTHONS", "").split(os.pathsep)
        options.bpy = [p for p in found if p] or [str(p) for p in sorted(ROOT.glob(".venv-bpy-*/bin/python"))]
    if not options.bpy and not options.blender:
        parser.error("no Blender found; pass one with --bpy or --blender")
    return options


def load_heads(options: argparse.Namespace, folder: Path) -> dict[str, SplatArrays]:
    """Return the heads by name, and write each to NAME.ply in `folder`."""
    heads = {}
    if options.ply:
        heads[options.ply.stem] = read(options.ply)
    elif options.full:
        photo, made = ROOT / "tests/data/portrait.jpg", folder / "mini.ply"
        command = [sys.executable, "-m", "facelift_core", "reconstruct", photo, "-o", made, "--weights", "mini"]
        subprocess.run(command, check=True, cwd=ROOT)
        heads["mini"] = read(made)
    counts = options.count or ([50_000, 160_000] if options.full else [] if options.ply else [10_000])
    for count in counts:
        heads[f"synthetic_{count}"] = synthetic_head(count, 0)
    for name, splats in heads.items():
        write(splats, folder / f"{name}.ply")
    return heads


def case_camera(case: Case) -> dict:
    azimuth, elevation = CAMERAS[case.view]
    focal = 0.5 * case.size / math.tan(math.radians(25.0))
    return {"c2w": orbit(torch.tensor([azimuth]), elevation)[0].tolist(), "focal": focal, "size": [case.size] * 2}


def case_reference(case: Case, splats: SplatArrays) -> np.ndarray:
    return reference(splats, MOVES[case.move], case_camera(case), case.colors == "linear")


def make_job(case: Case, mode: str, engine: str, folder: Path, name: str) -> dict:
    """Return a job for blender_render.py."""
    return {
        "ply": str(folder / f"{case.head}.ply"), "matrix": MOVES[case.move].tolist(), "mode": mode, "engine": engine,
        "match_viewers": case.colors == "sRGB", "out": str(folder / f"{name}.npy"), "case": case.__dict__,
        **case_camera(case),
    }  # fmt: skip


def measure(
    program: str, is_full: bool, jobs: list[dict], references: dict[Case, np.ndarray], folder: Path
) -> list[dict]:
    """Run the jobs, print each row, and return the rows."""
    rows = []
    for job, result in zip(jobs, run_blender(program, is_full, jobs, folder), strict=True):
        case = Case(**job["case"])
        row = {
            "version": result["version"], "engine": job["engine"], "mode": job["mode"], **job["case"],
            "psnr": round(psnr(np.load(job["out"]), references[case]), 2), "seconds": round(result["seconds"], 2),
            "cpu_seconds": round(result["cpu_seconds"], 2), "out": job["out"],
        }  # fmt: skip
        rows.append(row)
        print(
            f"{row['version']:10} {row['engine']:7} {row['mode']:14} {case.head:17} {case.view:6} {case.move:6} "
            f"{case.colors:7} {row['psnr']:6.1f} dB {row['seconds']:7.1f} s ({row['cpu_seconds']:.1f} s of CPU)",
            flush=True,
        )
    return rows


def run_blender(program: str, is_full: bool, jobs: list[dict], folder: Path) -> Iterator[dict]:
    """Yield the results that blender_render.py prints, one per job.

    Args:
        is_full: whether `program` is a Blender executable; otherwise it is a Python.
    """
    script, path = str(ROOT / "benchmarks/blender_render.py"), folder / "jobs.json"
    path.write_text(json.dumps(jobs))
    arguments = ["--background", "--factory-startup", "--python", script, "--"] if is_full else [script]
    printed, results = [], 0
    with subprocess.Popen(
        [program, *arguments, str(path)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        for line in process.stdout:
            printed.append(line)
            if line.startswith("RESULT "):
                results += 1
                yield json.loads(line[7:])
    if results != len(jobs):
        sys.exit(f"{program} failed:\n{''.join(printed[-60:])}")


def summarize(rows: list[dict]) -> list[dict]:
    """Return the worst image of each version, engine, mode and head, and print them as the documentation's table."""
    worst: dict[tuple, float] = {}
    for row in rows:
        key = (row["head"], row["version"], row["engine"], row["mode"])
        worst[key] = min(worst.get(key, math.inf), row["psnr"])
    targets = {way: target for way, target in TARGETS.items() if any(key[2:] == way for key in worst)}
    print("", f"| head | Blender | {' | '.join(f'{engine}, {mode}' for engine, mode in targets)} |", sep="\n")
    print("|---" * (2 + len(targets)) + "|")
    print(f"| to be reached | | {' | '.join(map(str, targets.values()))} |")
    for head, version in dict.fromkeys(key[:2] for key in worst):
        ratios = [worst.get((head, version, *way)) for way in targets]
        print(f"| {head} | {version} | {' | '.join('' if ratio is None else f'{ratio:.1f}' for ratio in ratios)} |")
    lines = []
    for (head, version, engine, mode), ratio in worst.items():
        target = TARGETS[engine, mode]
        if ratio < target:
            print(f"MISSED: {head} in {version}, {engine}, {mode}: {ratio:.1f} of {target} dB")
        lines.append({"version": version, "engine": engine, "mode": mode, "head": head, "psnr": ratio,
                      "target": target, "reached": ratio >= target})  # fmt: skip
    return lines


def pictures(rows: list[dict], references: dict[Case, np.ndarray], folder: Path) -> None:
    """Write fidelity_HEAD.png for each head, with one line per engine and mode of the last Blender."""
    folder.mkdir(parents=True, exist_ok=True)
    for case, expected in references.items():
        if (case.view, case.move, case.colors) != PICTURED:
            continue
        shown = {}
        for row in rows:
            if row["version"] == rows[-1]["version"] and Case(**{name: row[name] for name in case.__dict__}) == case:
                shown[f"{row['engine']}, {row['mode']}, {row['psnr']:.1f} dB"] = np.load(row["out"])
        sheet(expected, shown, case.colors == "linear").save(folder / f"fidelity_{case.head}.png", optimize=True)


if __name__ == "__main__":
    main()

"""Measure import, evaluation, saving, loading and a small Cycles render of a head in Blender.

    python benchmarks/blender_import.py PYTHON_WITH_BPY … [--counts 160000 1500000] [--size 256]

Each PYTHON has the bpy package. Times are the minimum of --repeat runs, as wall time and processor time; on a busy
machine, processor time is more reliable.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from facelift_core.gaussians import files as formats

sys.path.insert(0, str(Path(__file__).parents[1]))


def synthetic(count: int) -> formats.SplatArrays:
    """Return small Gaussians on a head-sized ellipsoid, without spherical harmonics, like FaceLift's heads."""
    random = np.random.default_rng(4)
    directions = random.normal(size=(count, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    size = 1.6 / np.sqrt(count)
    fields = {
        "positions": directions * (0.5, 0.6, 0.7),
        "sh": random.normal(0.0, 0.7, (count, 1, 3)),
        "log_scales": np.log(size) + random.normal(0.0, 0.3, (count, 3)),
        "rotations": random.normal(size=(count, 4)),
        "opacity_logits": random.normal(2.0, 1.0, count),
    }
    return formats.SplatArrays(**{name: np.float32(values) for name, values in fields.items()})


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pythons", nargs="+", metavar="PYTHON", help="Python with the bpy package")
    parser.add_argument("--counts", type=int, nargs="+", default=[160_000, 1_500_000])
    parser.add_argument("--size", type=int, default=256, help="size of the render in pixels")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.inside:
        print("RESULT " + json.dumps(measure(options.inside, options.size, options.repeat)))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        for count in options.counts:
            file = Path(folder) / "head.ply"
            formats.write(synthetic(count), file)
            for python in options.pythons:
                command = [python, __file__, "-", "--inside", file, "--size", options.size, "--repeat", options.repeat]
                done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
                lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
                if done.returncode or not lines:
                    print(f"{python} failed:\n{done.stderr[-3000:]}", file=sys.stderr)
                    return 1
                show(count, file.stat().st_size, json.loads(lines[0].removeprefix("RESULT ")))
            file.unlink()
    return 0


def show(count: int, size: int, result: dict) -> None:
    print(f"\nBlender {result['blender']}, {count:,} Gaussians, .ply of {size / 2**20:.0f} MiB")
    for name, (wall, processor) in result["times"].items():
        print(f"    {name:24} {wall:7.2f} s {processor:7.2f} s processor time")
    print(f"    .blend {result['blend'] / 2**20:.0f} MiB, peak memory {result['peak'] / 2**20:.0f} MiB", flush=True)


def measure(file: Path, size: int, repeat: int) -> dict:
    """Measure one file; runs inside Blender."""
    import bpy

    from facelift_blender.reconstruct.camera import add_camera
    from facelift_blender.splats import attributes, importing, nodes, objects, scene_settings

    bpy.ops.wm.read_factory_settings(use_empty=True)
    context, scene = bpy.context, bpy.context.scene
    times: dict[str, tuple[float, float]] = {}

    def timed(name: str, work: Callable[[], object], again: Callable[[object], None] | None = None):
        """Record the time of `work`. `again` undoes it between runs; without it, there is one run."""
        for _ in range(repeat if again else 1):
            start, start_processor = time.perf_counter(), time.process_time()
            result = work()
            spent = time.perf_counter() - start, time.process_time() - start_processor
            times[name] = min(times.get(name, spent), spent)
            if again:
                again(result)
        return result

    def drop(ob: bpy.types.Object) -> None:
        cloud = ob.data
        bpy.data.objects.remove(ob)
        bpy.data.pointclouds.remove(cloud)

    drop(timed("import, first of a file", lambda: importing.import_splats(context, file)))  # makes the node groups
    timed("import, the next", lambda: importing.import_splats(context, file), drop)
    splats = timed("  reading the file", lambda: formats.read(file), lambda _: None)
    count = len(splats)
    timed("  making the points", lambda: objects.new_point_cloud("a", count), bpy.data.pointclouds.remove)
    empty = objects.new_point_cloud("a", count)
    timed("  attributes", partial(attributes.write, empty, splats), lambda _: None)
    holder = bpy.data.objects.new("a", empty)
    timed("  modifier and material", lambda: nodes.add_modifier(holder), holder.modifiers.remove)
    drop(holder)
    ob = importing.import_splats(context, file)
    scene.render.engine, scene.cycles.device, scene.cycles.samples = "CYCLES", "CPU", 1
    scene.render.resolution_x = scene.render.resolution_y = size
    scene_settings.apply(scene)
    timed("evaluation, viewport", context.view_layer.update)
    add_camera(context)
    with tempfile.TemporaryDirectory() as folder:
        blend = str(Path(folder) / "head.blend")
        timed("saving", lambda: bpy.ops.wm.save_as_mainfile(filepath=blend), lambda _: None)
        blend_size = Path(blend).stat().st_size
        modifier = nodes.find_modifier(ob)
        nodes.set_input(modifier, "Viewport As", nodes.CAMERA_FACING)
        ob.update_tag()
        timed("evaluation, camera facing", context.view_layer.update)
        scene.render.filepath = str(Path(folder) / "head.png")
        timed(f"Cycles, {size}²", lambda: bpy.ops.render.render(write_still=True))
        pixels = bpy.data.images.load(scene.render.filepath)
        assert np.ptp(np.array(pixels.pixels)) > 0.5, "the render shows nothing"
        timed("loading", lambda: bpy.ops.wm.open_mainfile(filepath=blend))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"blender": bpy.app.version_string, "times": times, "blend": blend_size, "peak": peak}


if __name__ == "__main__":
    sys.exit(main())

"""How long a large import keeps Blender's window waiting. Needs the Python with bpy to run in.

    PYTHON_WITH_BPY benchmarks/blender_large.py [--count 5000000]

Writes a synthetic .ply, imports it as a window does, and prints how long each tick of the timer took, and the first
evaluation for the viewport, in seconds of the clock and of the processor over all threads.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import bpy
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from facelift_blender.splats import loading
from facelift_core.gaussians.files import SplatArrays, write


def synthetic(count: int) -> SplatArrays:
    """Small Gaussians in a ball."""
    draw = np.random.default_rng(0)
    return SplatArrays(
        draw.normal(size=(count, 3)).astype(np.float32),
        draw.normal(size=(count, 1, 3)).astype(np.float32),
        np.full((count, 3), -6.0, np.float32),
        draw.normal(size=(count, 4)).astype(np.float32),
        draw.normal(size=count).astype(np.float32),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=5_000_000)
    count = parser.parse_args().count
    bpy.ops.wm.read_factory_settings(use_empty=True)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "large.ply"
        write(synthetic(count), path)
        print(f"Blender {bpy.app.version_string}, {count:,} Gaussians, {path.stat().st_size / 1e6:.0f} MB")
        start, ticks = time.perf_counter(), []
        loading.start(bpy.context, path, scale=1.0, up_axis="Z", at_cursor=False, place="FILE")
        while loading.active:
            time.sleep(0.05)
            before, before_processor = time.perf_counter(), time.thread_time()
            loading.tick()
            ticks.append((time.perf_counter() - before, time.thread_time() - before_processor))
        longest, processor = np.array(ticks).max(axis=0)
        print(f"imported in {time.perf_counter() - start:.1f} s, longest tick {longest:.2f} s ({processor:.2f} s)")
        for attempt in ("first", "second"):
            bpy.context.object.update_tag()
            before, before_processor = time.perf_counter(), time.process_time()
            bpy.context.view_layer.update()
            spent, processor = time.perf_counter() - before, time.process_time() - before_processor
            print(f"{attempt} evaluation for the viewport {spent:.2f} s ({processor:.2f} s)", flush=True)


if __name__ == "__main__":
    main()

"""How many times a second Blender evaluates a head whose face moves. Needs the Python with bpy to run in.

    PYTHON_WITH_BPY benchmarks/blender_animation.py [--count 160000] [--frames 24]

Every frame has other values of four shape keys and of the jaw, and all Gaussians follow. Prints seconds of the clock
and of the processor, over all threads, per frame: without the modifier Splats, then as the viewport shows it by itself
(Any View) and as FaceLift draws it (points), in each case with the face and without. With --grow, also the memory of
the process over that many frames.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from pathlib import Path

import bpy
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from facelift_blender.animation import motion_nodes, names, rigs
from facelift_blender.splats import nodes, objects
from facelift_core.animation.rig import BONES, CORNERS, SHAPES, Binding, FaceMesh, Rig
from facelift_core.gaussians.arrays import SplatArrays

ROWS, COLUMNS = 60, 85
"""Of the mesh: about as many vertices as a face mesh has."""


def synthetic(count: int) -> Rig:
    """A ball with everything that a head has, and as much of it."""
    draw = np.random.default_rng(0)
    up, around = np.meshgrid(np.linspace(-1.5, 1.5, ROWS), np.linspace(0, 2 * np.pi, COLUMNS, False), indexing="ij")
    ball = np.stack([np.cos(up) * np.cos(around), np.cos(up) * np.sin(around), np.sin(up)], -1)
    vertices = (0.5 * ball).reshape(-1, 3).astype(np.float32)
    number = np.arange(ROWS * COLUMNS).reshape(ROWS, COLUMNS)
    following = np.roll(number, -1, axis=1)
    quads = np.stack([number[:-1], following[:-1], following[1:], number[1:]], -1).reshape(-1, CORNERS).astype(np.int32)
    waves = draw.normal(size=(len(SHAPES), 3, 3)) * 6
    shapes = 0.02 * np.sin(np.einsum("vi,sij->svj", vertices, waves)).astype(np.float32)
    joints = np.zeros((len(BONES), 2, 3), np.float32)
    joints[:, 1] = [0, -0.1, 0.1]
    weights = np.zeros((len(BONES), len(vertices)), np.float32)
    weights[2] = np.clip(-vertices[:, 1], 0, 0.5) * 2
    weights[1] = 1 - weights[2]
    mesh = FaceMesh(
        vertices, quads, np.zeros((len(quads), CORNERS, 2), np.float32), shapes, np.zeros_like(vertices),
        np.zeros(len(SHAPES), np.float32), joints, weights, {},
    )  # fmt: skip
    corners = quads[draw.integers(len(quads), size=count)]
    shares = draw.dirichlet(np.ones(CORNERS), count).astype(np.float32)
    positions = np.einsum("nk,nkc->nc", shares, vertices[corners]).astype(np.float32)
    gaussians = SplatArrays(
        positions,
        draw.normal(size=(count, 1, 3)).astype(np.float32),
        np.full((count, 3), -6.0, np.float32),
        draw.normal(size=(count, 4)).astype(np.float32),
        draw.normal(2, 1, count).astype(np.float32),
    )
    return Rig(gaussians, mesh, Binding(corners, shares))


def animate(head: bpy.types.Object) -> None:
    keys = names.face_of(head).data.shape_keys.key_blocks
    for frame in (1, 10_000):
        for name in SHAPES[:4]:
            keys[name].value = 0.1 + 0.8 * (frame > 1)
            keys[name].keyframe_insert("value", frame=frame)
        jaw = names.rig_of(head).pose.bones["jaw"]
        jaw.rotation_euler.x = 0.3 * (frame > 1)
        jaw.keyframe_insert("rotation_euler", frame=frame)


def measured(frames: int, first: int = 2) -> tuple[float, float]:
    """Seconds per frame, of the clock and of the processor: of the quickest quarter, for others use the machine too."""
    scene = bpy.context.scene
    scene.frame_set(first)
    times = []
    for frame in range(first + 1, first + 1 + frames):
        before, before_processor = time.perf_counter(), time.process_time()
        scene.frame_set(frame)
        times.append((time.perf_counter() - before, time.process_time() - before_processor))
    return tuple(np.sort(times, axis=0)[: max(1, frames // 4)].mean(axis=0))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=160_000)
    parser.add_argument("--frames", type=int, default=24)
    parser.add_argument("--grow", type=int, default=0, metavar="FRAMES")
    options = parser.parse_args()
    bpy.ops.wm.read_factory_settings(use_empty=True)
    # As where FaceLift draws in the viewport, see facelift_blender.splats.viewport.state.
    setattr(bpy.types.Scene, nodes.DRAWN_PROPERTY, bpy.props.FloatProperty())
    rig = synthetic(options.count)
    scene = bpy.context.scene
    head = objects.create_splat_object(scene, rig.gaussians, "Head")
    rigs.insert(rig, head)
    animate(head)
    motion, splats = motion_nodes.find_modifier(head), nodes.find_modifier(head)
    print(f"Blender {bpy.app.version_string}, {options.count:,} Gaussians, {len(rig.mesh.vertices):,} vertices")
    for title, own, drawn in (("no splats", False, 0), ("Any View", True, 0), ("drawn points", True, 1)):
        splats.show_viewport, scene[nodes.DRAWN_PROPERTY] = own, float(drawn)
        setattr(scene, nodes.DRAWN_PROPERTY, float(drawn))
        for group in bpy.data.node_groups:
            group.update_tag()
        for moves in (True, False):
            motion.show_viewport = moves
            head.update_tag()
            clock, processor = measured(options.frames)
            times = f"{1000 * clock:6.1f} ms, {1000 * processor:6.1f} ms of processor time, {1 / clock:5.1f} a second"
            print(f"{title:13} {'with face' if moves else 'without':10} {times}", flush=True)
    motion.show_viewport = True
    for part in range(1, 5 if options.grow else 0):
        measured(options.grow // 4, part * 1000)
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        print(f"after {part * options.grow // 4} frames: {pages * resource.getpagesize() / 1e6:.0f} MB")


if __name__ == "__main__":
    main()

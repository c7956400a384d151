"""A moving face opened in another Blender, without the extension: `animation_across.py save|open FOLDER`."""

import sys
from pathlib import Path

import bpy
import numpy as np

FOLDER = Path(sys.argv[-1])
FILE, BEFORE = str(FOLDER / "face.blend"), FOLDER / "face.npz"
FRAMES = 1, 9, 20


def evaluated() -> np.ndarray:
    """(frames, N, 10) positions, scales and rotations as the scene has them."""
    found = []
    for frame in FRAMES:
        bpy.context.scene.frame_set(frame)
        cloud = bpy.data.objects["Head"].evaluated_get(bpy.context.evaluated_depsgraph_get()).data
        parts = []
        for name, value, width in (("position", "vector", 3), ("scale", "vector", 3), ("rotation", "value", 4)):
            values = np.empty(len(cloud.points) * width, np.float32)
            cloud.attributes[name].data.foreach_get(value, values)
            parts.append(values.reshape(-1, width))
        parts[2] *= np.sign(parts[2][:, :1])
        found.append(np.hstack(parts))
    return np.array(found)


def save() -> None:
    import animation

    head, _ = animation.new_head()
    scene = bpy.context.scene
    for frame, seed in ((1, 0), (20, 1)):
        animation.shape(head, animation.some_weights(seed), 0.5)
        scene.frame_set(frame)
        animation.shape(head, animation.some_weights(seed), 0.5)
        animation.posing.key_all(scene, head)
    animation.names.rig_of(head).pose.bones["jaw"].rotation_euler.x = 0.2
    animation.nodes.set_input(animation.nodes.find_modifier(head), "Viewport As", animation.nodes.POINTS)
    np.savez(BEFORE, moved=evaluated())
    bpy.ops.wm.save_as_mainfile(filepath=FILE)


def open_again() -> None:
    bpy.ops.wm.open_mainfile(filepath=FILE)
    before = np.load(BEFORE)["moved"]
    assert min(np.abs(before[a] - before[b]).max() for a, b in ((0, 1), (1, 2), (0, 2))) > 0.01, "it moves"
    np.testing.assert_allclose(evaluated(), before, atol=2e-5)


{"save": save, "open": open_again}[sys.argv[1]]()
print("ALL GOOD", flush=True)

"""Blender's own importer reads a face mesh that `facelift rig` wrote: `face_glb.py FOLDER`."""

import sys
from pathlib import Path

import bpy
import numpy as np

FOLDER = Path(sys.argv[-1])
sys.path.insert(0, str(Path(__file__).parents[2]))
from facelift_core.animation.rig import BODY, BONES, NEUTRAL, SHAPES

bpy.ops.wm.read_factory_settings(use_empty=True)
assert bpy.ops.import_scene.gltf(filepath=str(FOLDER / "face.glb")) == {"FINISHED"}
face = next(item for item in bpy.data.objects if item.type == "MESH" and item.data.shape_keys)
armature = next(item for item in bpy.data.objects if item.type == "ARMATURE")
keys = face.data.shape_keys.key_blocks
assert [key.name for key in keys][1:] == [*SHAPES, NEUTRAL], list(keys)
assert {bone.name for bone in armature.data.bones} == {BODY, *BONES}
assert len(face.data.uv_layers) == 1


def vertices() -> np.ndarray:
    bpy.context.view_layer.update()
    mesh = face.evaluated_get(bpy.context.evaluated_depsgraph_get()).data
    found = np.empty(3 * len(mesh.vertices), np.float32)
    mesh.vertices.foreach_get("co", found)
    matrix = np.array(face.matrix_world)
    return found.reshape(-1, 3) @ matrix[:3, :3].T + matrix[:3, 3]


with np.load(FOLDER / "expected.npz") as expected:
    rest, moved, weights = expected["rest"], expected["moved"], expected["weights"]
found = vertices()
of = np.array([np.abs(rest - place).sum(axis=1).argmin() for place in found])
np.testing.assert_allclose(found, rest[of], atol=1e-5)
for name, weight in zip((NEUTRAL, *SHAPES), (0.5, *weights), strict=True):
    keys[name].value = weight
np.testing.assert_allclose(vertices(), moved[of], atol=1e-5)
print("ALL GOOD", flush=True)

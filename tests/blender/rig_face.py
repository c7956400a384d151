"""The operators for faces, with the extension as people install it and a stand-in for the worker."""

import os
import sys
import tempfile
from importlib import import_module
from pathlib import Path

sys.path.insert(0, os.environ["TEST_SCRIPTS"])

import bpy
import numpy as np
from common import PACKAGE, case, error_of, finish, install

HEAD, CSV = os.environ["TEST_HEAD"], os.environ["TEST_CSV"]
FOLDER = Path(tempfile.mkdtemp())

install()
names = import_module(f"{PACKAGE}.animation.names")
takes = import_module(f"{PACKAGE}.animation.takes")
binding = import_module(f"{PACKAGE}.animation.binding")
model_space = import_module(f"{PACKAGE}.animation.model_space")
head_jobs = import_module(f"{PACKAGE}.head_jobs")
attributes = import_module(f"{PACKAGE}.splats.attributes")
bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=False)
LIFE = import_module(f"{PACKAGE}.splats.objects").head_scale(bpy.context.scene)


def files_left() -> bool:
    return any((head_jobs.folders.cache_folder() / head_jobs.FOLDER).iterdir())


def keys():
    return names.face_of(head).data.shape_keys


with case("a head gets a face, of its own size and at its own place"):
    assert not bpy.ops.facelift.rig_face.poll() and not bpy.ops.facelift.pose_face.poll()
    assert bpy.ops.facelift.import_splats(filepath=HEAD, scale=LIFE, place="FILE") == {"FINISHED"}
    head = bpy.context.object
    count = len(head.data.points)
    before = attributes.read(head.data)
    assert bpy.ops.facelift.rig_face() == {"FINISHED"}
    face, rig = names.face_of(head), names.rig_of(head)
    assert face.parent == rig.parent == head and bpy.context.object == head
    after = attributes.read(head.data)
    assert len(after) > count and (~binding.added(head.data)).sum() == count
    np.testing.assert_allclose(after.positions[:count], before.positions, atol=1e-5)
    np.testing.assert_allclose(after.log_scales[:count], before.log_scales, atol=1e-4)
    assert 0.08 < max(face.dimensions) < 0.2, face.dimensions

with case("again, with the same result"):
    assert bpy.ops.facelift.rig_face() == {"FINISHED"}
    assert len(head.data.points) == len(after) and len(bpy.data.armatures) == len(bpy.data.meshes) == 1
    assert 0.08 < max(names.face_of(head).dimensions) < 0.2

with case("every button"):
    assert bpy.ops.facelift.pose_face(expression="SMILE", strength=0.5) == {"FINISHED"}
    assert abs(keys().key_blocks["mouthSmileLeft"].value - 0.3) < 1e-6
    assert bpy.ops.facelift.key_face() == bpy.ops.facelift.blink(repeat=True) == {"FINISHED"}
    assert bpy.ops.facelift.look_at() == {"FINISHED"} and bpy.data.objects["head Look At"].parent == head
    assert bpy.ops.facelift.look_at(on=False) == bpy.ops.facelift.reset_face() == {"FINISHED"}
    assert not names.face_of(head).visible_get()
    for part in ("FACE", "BONES"):
        assert bpy.ops.facelift.show_face_part(part=part) == {"FINISHED"}
    assert names.face_of(head).visible_get() and names.rig_of(head).visible_get()
    bpy.context.view_layer.objects.active = names.face_of(head)
    assert bpy.ops.facelift.pose_face.poll()
    assert bpy.ops.facelift.pose_face(expression="BLINK") == {"FINISHED"}
    bpy.context.view_layer.objects.active = head
    keys().animation_data_clear()

with case("the expression in the panel is the one of the sliders"):
    manager = bpy.context.window_manager
    assert bpy.ops.facelift.reset_face() == {"FINISHED"} and manager.facelift_expression == "PHOTO"
    manager.facelift_expression = "BIG_SMILE"
    assert abs(keys().key_blocks["mouthSmileLeft"].value - 0.9) < 1e-6
    assert manager.facelift_expression == "BIG_SMILE"
    bpy.ops.facelift.reset_face()
    keys().key_blocks["Neutral"].value = 1
    assert manager.facelift_expression == "", "not as in the photo"
    keys().key_blocks["tongueOut"].value = 1
    assert manager.facelift_expression == ""
    for part in (names.face_of(head), names.rig_of(head)):
        bpy.context.view_layer.objects.active = part
        manager.facelift_expression = "WINK"
        assert keys().key_blocks["tongueOut"].value == 0 and keys().key_blocks["eyeBlinkLeft"].value == 1
    bpy.context.view_layer.objects.active = head
    assert bpy.ops.preferences.addon_disable(module=PACKAGE) == {"FINISHED"}
    assert not hasattr(manager, "facelift_expression")
    assert bpy.ops.preferences.addon_enable(module=PACKAGE) == {"FINISHED"}
    assert manager.facelift_expression == "WINK"

with case("a face capture, and a video"):
    bpy.context.scene.frame_set(5)
    assert bpy.ops.facelift.import_face_capture(filepath=CSV) == {"FINISHED"}
    assert keys().animation_data.action.name == "take"
    bpy.context.scene.frame_set(5 + 12)
    jaw = keys().key_blocks["jawOpen"].value
    assert abs(jaw - 0.5) < 0.01, jaw
    bpy.context.scene.frame_set(5)
    assert bpy.ops.facelift.animate_from_video(filepath="/videos/me.mp4") == {"FINISHED"}
    assert keys().animation_data.action.name == "me"
    bpy.context.scene.frame_set(5 + 12)
    assert abs(keys().key_blocks["jawOpen"].value - 0.5) < 0.01

with case("every button can be undone"):
    bpy.ops.facelift.reset_face()

    def state() -> tuple:
        found = bpy.data.objects["head"]
        face, rig = names.face_of(found), names.rig_of(found)
        keys, eye = face.data.shape_keys, rig.pose.bones["eye.L"]
        action = keys.animation_data.action.name if keys.animation_data and keys.animation_data.action else ""
        curves = len(list(takes.curves_of(keys)))
        values = tuple(round(key.value, 4) for key in keys.key_blocks)
        return values, action, curves, len(eye.constraints), len(bpy.data.objects), face.hide_get(), rig.hide_get()

    buttons = {
        "pose_face": {"expression": "SAD"},
        "reset_face": {},
        "key_face": {},
        "blink": {"repeat": True},
        "look_at": {},
        "show_face_part": {"part": "BONES"},
        "import_face_capture": {"filepath": CSV},
    }
    keys().animation_data_clear()
    bpy.ops.facelift.pose_face(expression="FROWN")
    bpy.ops.ed.undo_push(message="Frown")
    for name, arguments in buttons.items():
        before = state()
        assert getattr(bpy.ops.facelift, name)("EXEC_DEFAULT", True, **arguments) == {"FINISHED"}
        assert state() != before, f"{name} changes nothing"
        assert bpy.ops.ed.undo() == {"FINISHED"}
        assert state() == before, f"{name} is not undone"
    head = bpy.data.objects["head"]

with case("no files are left behind"):
    assert not files_left()

with case("what cannot be done is told in a sentence"):
    (FOLDER / "bad.csv").write_text("Frame,Something\n1,2\n")
    assert "no face capture" in error_of(bpy.ops.facelift.import_face_capture, filepath=str(FOLDER / "bad.csv"))
    assert "no file" in error_of(bpy.ops.facelift.import_face_capture, filepath=str(FOLDER / "missing.csv"))
    assert "no face in the video" in error_of(bpy.ops.facelift.animate_from_video, filepath="/videos/nobody.mp4")
    assert names.face_of(head).data.shape_keys.animation_data is None and not files_left()
    Path(os.environ["FAKE_RIG"]).write_bytes(b"no rig")
    assert "make the rig again" in error_of(bpy.ops.facelift.rig_face)
    assert names.face_of(head) is not None

with case("where the model has a head"):
    scene = bpy.context.scene
    ball = np.random.default_rng(0).normal(size=(5000, 3))
    ball *= np.random.default_rng(1).random((5000, 1)) ** 0.33 * 0.9 / np.linalg.norm(ball, axis=1, keepdims=True)
    other = bpy.data.objects.new("Other", None)

    def found(positions, **placing):
        for key, value in placing.items():
            other[key] = value
        return model_space.from_model(other, scene, positions)

    np.testing.assert_allclose(found(ball), np.eye(4))
    np.testing.assert_allclose(found(ball * LIFE), np.diag([LIFE, LIFE, LIFE, 1]))
    matrix = found(ball * 5 + [7, 8, 9])
    assert abs(matrix[0, 0] - 5) < 0.5 and np.abs(matrix[:3, 3] - [7, 8, 9]).max() < 1
    matrix = found(ball * 0.4 + [0, 0, 0.3], facelift_placing=(0.4, 0.3))
    np.testing.assert_allclose(matrix, [[0.4, 0, 0, 0], [0, 0.4, 0, 0], [0, 0, 0.4, 0.3], [0, 0, 0, 1]])
    assert abs(found(ball * 5 + [7, 8, 9], facelift_placing=(0.4, 0.3))[0, 0] - 5) < 0.5, "moved since"

finish()

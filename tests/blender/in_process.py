"""The job inside Blender's own Python, where PyTorch can be imported: from the folder TEST_PACKAGES."""

import os
import sys
import tempfile
import threading
import time
from importlib import import_module

sys.path.insert(0, os.environ["TEST_SCRIPTS"])

sys.path.append(os.environ["TEST_PACKAGES"])  # at the end: Blender's own NumPy is the one its modules need

import bpy
from common import PACKAGE, PHOTO, addon_utils, case, error_of, finish, install, preferences

FAST = {
    "weights": os.environ["TEST_WEIGHTS"],
    "steps": 2,
    "crop": False,
    "matting": "none",
    "likeness": "off",
    "device": "cpu",
}
SOON = 120.0


def session():
    return import_module(f"{PACKAGE}.reconstruct.session")


def start(**changes):
    """A job that is in the middle of its views."""
    (job,) = session().submit(bpy.context, [str(PHOTO)], **{**FAST, "steps": 900, **changes})
    deadline = time.monotonic() + SOON
    while not job.message.startswith("Step 2"):
        assert time.monotonic() < deadline and not job.over, job.error
        session().pump()
        time.sleep(0.01)
    return job


install()
preferences().in_process = True

with case("reconstruct without another process"):
    assert bpy.ops.facelift.reconstruct(filepath=str(PHOTO), **FAST) == {"FINISHED"}
    head = bpy.context.view_layer.objects.active
    assert head.type == "POINTCLOUD" and len(head.data.points) > 300
    assert session().session.runner._worker is None and "torch" in sys.modules
    assert bpy.ops.facelift.check_runtime() == {"FINISHED"}

with case("the next one finds the models loaded; releasing lets go of them"):
    assert bpy.ops.facelift.reconstruct(filepath=str(PHOTO), **FAST) == {"FINISHED"}
    assert session().session.last.head.summary["timings"]["load"] < 0.1
    assert bpy.ops.facelift.release_memory() == {"FINISHED"}
    deadline = time.monotonic() + SOON
    while session().session.runner.holds_models:
        assert time.monotonic() < deadline
        time.sleep(0.05)

with case("errors are sentences"):
    wrong = {**FAST, "weights": tempfile.mkdtemp()}
    assert "does not hold FaceLift weights" in error_of(bpy.ops.facelift.reconstruct, filepath=str(PHOTO), **wrong)

with case("cancel within a step"):
    job = start()
    deadline = time.monotonic() + SOON
    bpy.ops.facelift.cancel(job=job.id)
    while not job.over:
        assert time.monotonic() < deadline
        session().pump()
        time.sleep(0.01)
    assert job.state == "cancelled" and not job.folder.exists()

with case("a render and a new file meanwhile"):
    job = start(steps=40)
    scene = bpy.context.scene
    scene.render.engine, scene.render.resolution_x, scene.render.resolution_y = "CYCLES", 16, 16
    scene.cycles.samples = 1
    bpy.ops.render.render()
    bpy.ops.wm.read_homefile(use_empty=True)
    deadline = time.monotonic() + SOON
    while not job.over or session().session.arrived:
        assert time.monotonic() < deadline
        session().pump()
        time.sleep(0.01)
    assert job.state == "done" and [left.folder for left in session().session.left] == [job.folder]

with case("disabling meanwhile ends the thread"):
    job = start()
    addon_utils.disable(PACKAGE)
    assert job.state == "cancelled"
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("FaceLift")]
    addon_utils.enable(PACKAGE, default_set=True)
    preferences().in_process = True

start()  # and Blender quits in the middle of it
finish()

"""The main way, for real: install, reconstruct through the worker, save, reload, export, import."""

import os
import sys
import tempfile
import time
from importlib import import_module

sys.path.insert(0, os.environ["TEST_SCRIPTS"])

import bpy
import numpy as np
from common import (
    PACKAGE,
    PHOTO,
    addon_utils,
    case,
    error_of,
    finish,
    install,
    last_head,
    no_space,
    preferences,
    session,
    timer,
)

WEIGHTS = os.environ["TEST_WEIGHTS"]
FAST = {"weights": WEIGHTS, "steps": 2, "crop": False, "matting": "none", "likeness": "off", "device": "cpu"}


def arrays(ob) -> dict[str, np.ndarray]:
    """Every attribute of a point cloud, as it is in memory."""
    sizes = {"FLOAT": 1, "BOOLEAN": 1, "INT": 1, "FLOAT_VECTOR": 3, "FLOAT_COLOR": 4, "QUATERNION": 4, "FLOAT4": 4}
    names = {"FLOAT_VECTOR": "vector", "FLOAT4": "vector", "FLOAT_COLOR": "color"}
    found = {}
    for attribute in ob.data.attributes:
        values = np.zeros(len(attribute.data) * sizes[attribute.data_type], np.float32)
        attribute.data.foreach_get(names.get(attribute.data_type, "value"), values)
        found[attribute.name] = values
    return found


with case("install"):
    before = set(sys.modules)
    install()
    assert not {"torch", "transformers", "diffusers", "cv2"} & (set(sys.modules) - before)

with case("enabling leaves all that is slow for later"):
    addon_utils.disable(PACKAGE)
    for name in [name for name in sys.modules if name.startswith(PACKAGE)]:
        del sys.modules[name]
    before = set(sys.modules)
    start = time.process_time()
    addon_utils.enable(PACKAGE)
    print(f"   {1000 * (time.process_time() - start):.0f} ms", flush=True)
    slow = {"torch", "transformers", "diffusers", "cv2", "huggingface_hub", "PIL", "zipfile", "email", "urllib.request"}
    assert not slow & (set(sys.modules) - before), slow & (set(sys.modules) - before)

with case("bad arguments are told in a sentence"):
    assert "no photo" in error_of(bpy.ops.facelift.reconstruct, filepath="/nowhere/anna.jpg")
    assert "Choose a portrait" in error_of(bpy.ops.facelift.reconstruct)
    preferences().runtime_python = "/nowhere/python"
    assert "Cannot start /nowhere/python" in error_of(bpy.ops.facelift.reconstruct, filepath=str(PHOTO), **FAST)
    assert "no Python at" in error_of(bpy.ops.facelift.check_runtime)
    preferences().runtime_python = ""

with case("reconstruct"):
    scene = bpy.context.scene
    scene.cursor.location = (1.0, 2.0, 3.0)
    assert bpy.ops.facelift.reconstruct(filepath=str(PHOTO), seed=9, **FAST) == {"FINISHED"}
    head = bpy.context.view_layer.objects.active
    assert head.type == "POINTCLOUD" and head.select_get() and head.name == PHOTO.stem
    assert tuple(head.location) == (1.0, 2.0, 3.0)
    assert head["facelift_photo"] == PHOTO.name and head["facelift_seed"] == "9"
    assert [c.name for c in head.users_collection] == ["FaceLift"]
    for key in ("facelift_portrait", "facelift_views"):
        image = head[key]
        assert image.packed_file is not None and image.size[0] > 0
    before = arrays(head)
    assert len(before["position"]) > 300 and np.isfinite(before["position"]).all()
    names = sorted(before)
    print(f"   {len(head.data.points)} points: {names}", flush=True)

with case("the next one finds the models loaded"):
    start = time.monotonic()
    assert bpy.ops.facelift.reconstruct(filepath=str(PHOTO), **FAST) == {"FINISHED"}
    again = bpy.context.view_layer.objects.active
    folders = import_module(f"{PACKAGE}.jobs.folders")
    assert again != head and last_head().summary["timings"]["load"] < 1.0
    assert [c.name for c in again.users_collection] == ["FaceLift"]

with case("likeness"):
    assert last_head().summary["request"]["likeness"] == "off"
    assert bpy.context.scene.facelift.likeness == "photo"
    bpy.context.scene.facelift.likeness = "refined"
    (job,) = session().submit(bpy.context, [str(PHOTO)], **{k: v for k, v in FAST.items() if k != "likeness"})
    assert job.request.likeness == "refined"
    timer().jobs.cancel(job)
    while not job.over:
        timer().tick()
        time.sleep(0.01)
    bpy.context.scene.facelift.likeness = "photo"

with case("the portrait is cut out, painted in, and used"):
    edits = import_module(f"{PACKAGE}.reconstruct.edits")
    look_up = session().subject_of_scene
    own = bpy.context.scene.facelift
    assert "Choose a portrait" in error_of(bpy.ops.facelift.edit_cutout)
    own.photo, own.crop, own.matting = str(PHOTO), False, "none"
    subject = look_up(bpy.context)
    assert bpy.ops.facelift.show_cutout() == {"FINISHED"} and session().session.cutouts.known(subject) is not None
    assert bpy.ops.facelift.edit_cutout() == {"FINISHED"}
    image = edits.image_of(subject)
    assert image.packed_file is not None and image.size[0] >= 512 and not edits.edited(image)
    assert bpy.ops.facelift.edit_cutout() == {"FINISHED"} and edits.image_of(subject) == image, "no second one"
    assert bpy.ops.facelift.reconstruct(**FAST) == {"FINISHED"}
    assert session().session.last.request.cutout == "", "nothing was painted"
    plain = last_head().portrait.read_bytes()
    pixels = np.empty(image.size[0] * image.size[1] * 4, np.float32)
    image.pixels.foreach_get(pixels)
    colours = pixels.reshape(-1, 4)[:, :3].copy()
    pixels.reshape(image.size[1], -1, 4)[image.size[1] // 2 :, :, 3] = 0.0  # Blender's first row is the lowest
    image.pixels.foreach_set(pixels)
    assert edits.look_again() and edits.edited(image) and edits.preview(image).is_file()
    assert bpy.ops.facelift.reconstruct(**FAST) == {"FINISHED"}
    assert session().session.last.request.cutout.startswith(session().session.last.request.folder)
    assert last_head().portrait.read_bytes() != plain
    written = bpy.data.images.load(session().session.last.request.cutout)
    found = np.empty_like(pixels)
    written.pixels.foreach_get(found)
    assert np.abs(found - pixels).max() < 1 / 500, "also the colours of what is not seen"
    bpy.data.images.remove(written)
    own.matting = "auto"
    assert edits.image_of(look_up(bpy.context)) is None, "it is of another cut-out"
    own.matting = "none"

with case("what was painted is in the saved file"):
    folder = tempfile.mkdtemp()
    bpy.ops.wm.save_as_mainfile(filepath=f"{folder}/painted.blend")
    bpy.ops.wm.open_mainfile(filepath=f"{folder}/painted.blend")
    image = edits.image_of(look_up(bpy.context))
    assert edits.edited(image)
    image.pixels.foreach_get(found)
    assert np.abs(found - pixels).max() < 1 / 500
    assert bpy.ops.facelift.reconstruct(**FAST) == {"FINISHED"} and session().session.last.request.cutout
    assert bpy.ops.facelift.reset_cutout() == {"FINISHED"} and edits.image_of(look_up(bpy.context)) is None
    assert bpy.ops.facelift.reconstruct(**FAST) == {"FINISHED"} and not session().session.last.request.cutout
    bpy.context.scene.facelift.photo = ""
    head = next(ob for ob in bpy.data.objects if ob.type == "POINTCLOUD" and ob.get("facelift_seed") == "9")

with case("weights that are none"):
    assert "does not contain FaceLift weights" in error_of(
        bpy.ops.facelift.reconstruct, filepath=str(PHOTO), **{**FAST, "weights": tempfile.mkdtemp()}
    )

with case("the disk is full"):
    objects, jobs = len(bpy.data.objects), set(folders.jobs_folder().iterdir())
    with no_space(2000):  # of the worker, too, which begins anew in here
        timer().jobs.release()
        assert "Cannot write" in error_of(bpy.ops.facelift.reconstruct, filepath=str(PHOTO), **FAST)
        timer().jobs.release()
    assert len(bpy.data.objects) == objects and set(folders.jobs_folder().iterdir()) == jobs

with case("save and reload"):
    folder = tempfile.mkdtemp()
    name, path = head.name, f"{folder}/head.blend"
    bpy.ops.wm.save_as_mainfile(filepath=path)
    bpy.ops.wm.open_mainfile(filepath=path)
    head = bpy.data.objects[name]
    after = arrays(head)
    assert sorted(after) == names
    for attribute in names:
        assert np.array_equal(before[attribute].view(np.uint32), after[attribute].view(np.uint32)), attribute
    assert head["facelift_views"].packed_file is not None

with case("export and import"):
    bpy.context.view_layer.objects.active = head
    for ob in bpy.context.view_layer.objects:
        ob.select_set(ob == head)
    assert bpy.ops.facelift.export_splats(filepath=f"{folder}/head.ply") == {"FINISHED"}
    assert bpy.ops.facelift.import_splats(filepath=f"{folder}/head.ply") == {"FINISHED"}
    imported = bpy.context.view_layer.objects.active
    assert imported != head and imported.type == "POINTCLOUD"
    assert len(imported.data.points) == len(head.data.points)

finish()

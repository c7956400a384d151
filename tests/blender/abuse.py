"""What people do while a job runs, and what goes wrong around it; with the fake worker as the runtime.

Each case ends in a clear message and a Blender that can be used: the last one reconstructs once more.
"""

import os
import sys
import tempfile
import time
from importlib import import_module
from pathlib import Path

sys.path.insert(0, os.environ["TEST_SCRIPTS"])

import bpy
from common import PACKAGE, PHOTO, addon_utils, case, error_of, finish, gone, install, preferences

install()
folders = import_module(f"{PACKAGE}.job.folders")
core = import_module(f"{PACKAGE}.core")


def session():
    return import_module(f"{PACKAGE}.reconstruct.session")


def start(photo=PHOTO, mode="good", stage="views"):
    """A job that has come to `stage`."""
    os.environ["FAKE_MODE"] = mode
    session().session.runner.release()
    job = session().submit(bpy.context, str(photo))
    deadline = time.monotonic() + 30
    while job.stage != stage and not job.over:
        assert time.monotonic() < deadline
        session().pump()
        time.sleep(0.01)
    return job


def pump_until_over(job):
    deadline = time.monotonic() + 30
    while not job.over or job in session().session.arrived:
        assert time.monotonic() < deadline, session().session.waiting_for
        session().pump()
        time.sleep(0.01)


def heads():
    return [ob for ob in bpy.data.objects if ob.type == "POINTCLOUD"]


def worker_pid():
    return session().session.runner._worker.pid


with case("new file while a job runs: the head stays as a file and is offered"):
    job = start()
    bpy.ops.wm.read_homefile(use_empty=True)
    pump_until_over(job)
    assert job.state == "done" and heads() == []
    assert [left.folder for left in session().session.left] == [job.folder]
    assert bpy.ops.facelift.import_head(folder=str(job.folder)) == {"FINISHED"}
    assert len(heads()) == 1 and session().session.left == []

with case("an offered head whose files are gone"):
    job = start()
    bpy.ops.wm.read_homefile(use_empty=True)
    pump_until_over(job)
    bpy.ops.facelift.clear_cache()
    assert session().session.left == []
    assert "reconstruct it again" in error_of(bpy.ops.facelift.import_head, folder=str(job.folder))

with case("an offered head that is damaged"):
    job = start()
    bpy.ops.wm.read_homefile(use_empty=True)
    pump_until_over(job)
    job.head.head.write_bytes(job.head.head.read_bytes()[:-1000])
    assert "head.ply" in error_of(bpy.ops.facelift.import_head, folder=str(job.folder))
    assert heads() == []
    assert bpy.ops.facelift.dismiss_head(folder=str(job.folder)) == {"FINISHED"} and session().session.left == []

with case("the scene is deleted while its job runs"):
    scene = bpy.data.scenes.new("another")
    job = start()
    first = bpy.context.scene
    bpy.context.window.scene = scene
    bpy.data.scenes.remove(first)
    pump_until_over(job)
    assert job.state == "done" and heads() == [] and len(session().session.left) == 1
    bpy.ops.facelift.clear_cache()

with case("saving, rendering and undo while a job runs"):
    bpy.ops.wm.read_homefile(use_empty=False)
    job = start()
    bpy.ops.wm.save_as_mainfile(filepath=str(Path(tempfile.mkdtemp()) / "while.blend"))
    scene = bpy.context.scene
    scene.render.engine, scene.render.resolution_x, scene.render.resolution_y = "CYCLES", 16, 16
    scene.cycles.samples = 1
    bpy.ops.render.render()
    bpy.ops.ed.undo_push(message="before")
    bpy.ops.mesh.primitive_cube_add()
    bpy.ops.ed.undo_push(message="cube")
    if bpy.ops.ed.undo.poll():
        bpy.ops.ed.undo()
    pump_until_over(job)
    assert job.state == "done" and len(heads()) == 1, "saving as another name is the same file still"

with case("the head is deleted, and imported again"):
    bpy.data.objects.remove(heads()[0])
    session().pump()
    assert bpy.ops.facelift.import_head(folder=str(job.folder)) == {"FINISHED"} and len(heads()) == 1

with case("Edit Mode: the head waits for Object Mode"):
    bpy.ops.object.select_all(action="DESELECT")
    cube = next(ob for ob in bpy.data.objects if ob.type == "MESH")
    bpy.context.view_layer.objects.active = cube
    bpy.ops.object.mode_set(mode="EDIT")
    count = len(heads())
    job = start()
    deadline = time.monotonic() + 30
    while not session().session.arrived:
        assert time.monotonic() < deadline
        session().pump()
        time.sleep(0.01)
    assert "Object Mode" in session().session.waiting_for and len(heads()) == count
    bpy.ops.object.mode_set(mode="OBJECT")
    pump_until_over(job)
    assert len(heads()) == count + 1 and session().session.waiting_for == ""

with case("cancel by the button"):
    job = start(mode="stays in gaussians", stage="gaussians")
    assert bpy.ops.facelift.cancel(job=job.id) == {"FINISHED"}
    pump_until_over(job)
    assert job.state == "cancelled" and not job.folder.exists()

with case("a queue of two, and the photo of the second is deleted"):
    photo = Path(tempfile.mkdtemp()) / "short.png"
    photo.write_bytes(PHOTO.read_bytes())
    first = start()
    second = session().submit(bpy.context, str(photo))
    photo.unlink()
    pump_until_over(first)
    pump_until_over(second)
    assert first.state == "done" and second.state == "failed" and "photo" in second.error

with case("kill -9 of the worker"):
    job = start(mode="stays in views")
    os.kill(worker_pid(), 9)
    pump_until_over(job)
    assert job.state == "failed" and "killed" in job.error
    os.environ["FAKE_MODE"] = "dies in views"
    session().session.runner.release()
    assert "exit code 3" in error_of(bpy.ops.facelift.reconstruct, filepath=str(PHOTO))

with case("a worker that prints garbage"):
    os.environ["FAKE_MODE"] = "garbage"
    session().session.runner.release()
    assert "not FaceLift's" in error_of(bpy.ops.facelift.reconstruct, filepath=str(PHOTO))

with case("unicode and very long names"):
    os.environ["FAKE_MODE"] = "good"
    session().session.runner.release()
    folder = Path(tempfile.mkdtemp()) / "Фото für 田中さん" / ("x" * 150)
    folder.mkdir(parents=True)
    for name in ("Zoë Müller 😀.png", "n" * 240 + ".png"):
        photo = folder / name
        photo.write_bytes(PHOTO.read_bytes())
        assert bpy.ops.facelift.reconstruct(filepath=str(photo)) == {"FINISHED"}
        ob = bpy.context.view_layer.objects.active
        assert ob.name and photo.stem.startswith(ob.name.split(".")[0][:20]), ob.name
        assert ob["facelift_photo"] == name

with case("no camera"):
    readiness = import_module(f"{PACKAGE}.reconstruct.readiness")
    bpy.context.scene.camera = None
    assert readiness.shows_splats(bpy.context.scene)
    lines = readiness.before_rendering(bpy.context)
    assert [line.operator for line in lines if "camera" in line.text] == ["facelift.add_camera"]
    assert bpy.ops.facelift.add_camera() == {"FINISHED"} and bpy.context.scene.camera is not None
    assert not any("no camera" in line.text for line in readiness.before_rendering(bpy.context))

with case("every line of what is missing names an operator that exists"):
    for line in [*readiness.before_running(bpy.context), *readiness.before_rendering(bpy.context)]:
        if line.operator:
            category, name = line.operator.split(".")
            assert name in dir(getattr(bpy.ops, category)), line

with case("weights and runtime that are missing are lines with buttons"):
    bpy.context.scene.facelift.weights = "/nowhere"
    lines = [line for line in readiness.before_running(bpy.context) if "/nowhere" in line.text]
    assert len(lines) == 1 and lines[0].stops
    bpy.context.scene.facelift.weights = ""
    known, variable = preferences().runtime_python, os.environ.pop("FACELIFT_PYTHON")
    lines = [line for line in readiness.before_running(bpy.context) if line.operator == "facelift.choose_runtime"]
    assert lines and lines[0].stops
    assert "no runtime" in error_of(bpy.ops.facelift.reconstruct, filepath=str(PHOTO))
    os.environ["FACELIFT_PYTHON"] = variable

with case("photos: several chosen, the Image Editor's, one that is none"):
    own = bpy.context.scene.facelift
    files = [{"name": PHOTO.name}, {"name": "two.png"}]
    assert bpy.ops.facelift.choose_photos(directory=str(PHOTO.parent), files=files) == {"FINISHED"}
    assert own.photo == str(PHOTO) and [Path(p.path).name for p in own.more_photos] == ["two.png"]
    bpy.ops.facelift.remove_photo(index=0)
    assert len(own.more_photos) == 0
    painted = bpy.data.images.new("my: painting", 8, 8)
    assert bpy.ops.facelift.use_editor_image(image=painted.name) == {"FINISHED"}
    assert Path(own.photo).read_bytes().startswith(b"\x89PNG") and "my_painting" in Path(own.photo).name
    reference = bpy.data.objects.new("dropped", None)
    reference.empty_display_type, reference.data = "IMAGE", bpy.data.images.load(str(PHOTO))
    bpy.context.collection.objects.link(reference)
    bpy.context.view_layer.objects.active = reference
    reference.select_set(True)
    assert bpy.ops.facelift.use_editor_image() == {"FINISHED"} and Path(own.photo).stem == PHOTO.stem
    bpy.data.objects.remove(reference)
    empty = bpy.data.images.new("none", 8, 8)
    empty.source, empty.filepath = "FILE", "/nowhere.png"
    assert "cannot be used" in error_of(bpy.ops.facelift.use_editor_image, image=empty.name)

with case("presets and steps are one thing"):
    own.preset = "FAST"
    assert own.steps == 12
    own.steps = 33
    assert own.preset == "CUSTOM"
    own.preset = "QUALITY"
    assert own.steps == 50

with case("system information"):
    text = import_module(f"{PACKAGE}.reconstruct.system_information").system_information(bpy.context)
    assert bpy.app.version_string in text and "Runtime:" in text and PHOTO.name not in text

with case("disabling while a job runs ends the worker; enabling again works"):
    job = start(mode="stays in views")
    pid, began = worker_pid(), time.monotonic()
    addon_utils.disable(PACKAGE)
    assert gone(pid) and time.monotonic() - began < 10
    assert not hasattr(bpy.types.Scene, "facelift")
    os.environ["FAKE_MODE"] = "good"
    addon_utils.enable(PACKAGE, default_set=True)
    assert bpy.ops.facelift.reconstruct(filepath=str(PHOTO)) == {"FINISHED"}

with case("a cache that cannot be written to"):
    blocked = Path(tempfile.mkdtemp()) / "cache"
    blocked.write_text("not a folder")
    before, os.environ["XDG_CACHE_HOME"] = os.environ["XDG_CACHE_HOME"], str(blocked)
    assert error_of(bpy.ops.facelift.reconstruct, filepath=str(PHOTO))
    assert folders.size() == 0 and session().look_for_left() is None
    os.environ["XDG_CACHE_HOME"] = before

with case("the runtime's folder is deleted"):
    runtime = Path(os.environ["FACELIFT_PYTHON"])
    moved = runtime.rename(runtime.with_name("moved"))
    session().session.runner.release()
    assert "Cannot start" in error_of(bpy.ops.facelift.reconstruct, filepath=str(PHOTO))
    moved.rename(runtime)

with case("after all that, once more"):
    count = len(heads())
    assert bpy.ops.facelift.reconstruct(filepath=str(PHOTO)) == {"FINISHED"}
    assert len(heads()) == count + 1

if "quit" in sys.argv:
    job = start(mode="stays in views")
    print(f"worker {worker_pid()}", flush=True)
finish()

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
from common import (
    PACKAGE,
    PHOTO,
    addon_utils,
    case,
    error_of,
    finish,
    gone,
    install,
    no_memory,
    no_space,
    preferences,
    session,
    timer,
)

install()
folders = import_module(f"{PACKAGE}.jobs.folders")
READ_ONLY = "/proc"  # where also the superuser may make no file


def set_mode(mode):
    """Of the next worker."""
    os.environ["FAKE_MODE"] = mode
    timer().jobs.release()


def start(photo=PHOTO, mode="good", stage="views"):
    """A job that has come to `stage`."""
    set_mode(mode)
    (job,) = session().submit(bpy.context, [str(photo)])
    deadline = time.monotonic() + 30
    while job.stage != stage and not job.over:
        assert time.monotonic() < deadline
        timer().tick()
        time.sleep(0.01)
    return job


def pump_until_over(job):
    deadline = time.monotonic() + 30
    while not job.over or job in session().session.arrived:
        assert time.monotonic() < deadline, session().session.waiting_for
        timer().tick()
        time.sleep(0.01)


def heads():
    return [ob for ob in bpy.data.objects if ob.type == "POINTCLOUD"]


def worker_pid():
    return timer().jobs._lanes["reconstruct"]._worker.pid


with case("new file while a job runs: the head stays as a file and is offered"):
    job = start()
    bpy.ops.wm.read_homefile(use_empty=True)
    pump_until_over(job)
    assert job.state == "done" and heads() == []
    assert [left.folder for left in session().session.left] == [Path(job.request.folder)]
    assert bpy.ops.facelift.import_head(folder=job.request.folder) == {"FINISHED"}
    assert len(heads()) == 1 and session().session.left == []

with case("an offered head whose files are gone"):
    job = start()
    bpy.ops.wm.read_homefile(use_empty=True)
    pump_until_over(job)
    bpy.ops.facelift.clear_cache()
    assert session().session.left == []
    assert "reconstruct it again" in error_of(bpy.ops.facelift.import_head, folder=job.request.folder)

with case("an offered head that is damaged"):
    job = start()
    bpy.ops.wm.read_homefile(use_empty=True)
    pump_until_over(job)
    session().head_of(job).head.write_bytes(session().head_of(job).head.read_bytes()[:-1000])
    assert "head.ply" in error_of(bpy.ops.facelift.import_head, folder=job.request.folder)
    assert heads() == []
    assert bpy.ops.facelift.dismiss_head(folder=job.request.folder) == {"FINISHED"} and session().session.left == []

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
    assert bpy.ops.ed.undo() == {"FINISHED"}
    pump_until_over(job)
    assert job.state == "done" and len(heads()) == 1, "saving as another name is the same file still"

with case("undo and redo after the head has come"):
    bpy.ops.ed.undo_push(message="head")
    bpy.ops.mesh.primitive_cube_add()
    bpy.ops.ed.undo_push(message="cube")
    bpy.ops.ed.undo()
    assert len(heads()) == 1 and heads()[0]["facelift_views"].packed_file is not None
    bpy.ops.ed.redo()
    assert len(heads()) == 1

with case("the head is deleted, and imported again"):
    bpy.data.objects.remove(heads()[0])
    timer().tick()
    assert bpy.ops.facelift.import_head(folder=job.request.folder) == {"FINISHED"} and len(heads()) == 1

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
        timer().tick()
        time.sleep(0.01)
    assert "Object Mode" in session().session.waiting_for and len(heads()) == count
    bpy.ops.object.mode_set(mode="OBJECT")
    pump_until_over(job)
    assert len(heads()) == count + 1 and session().session.waiting_for == ""

with case("the head is deleted by another add-on in the moment it comes in"):

    def delete_heads(scene, *_):
        for ob in heads():
            bpy.data.objects.remove(ob)

    bpy.app.handlers.depsgraph_update_post.append(delete_heads)
    job = start()
    pump_until_over(job)
    bpy.app.handlers.depsgraph_update_post.remove(delete_heads)
    assert heads() == [] and job.state in ("done", "failed"), job.error
    assert bpy.ops.facelift.import_head(folder=job.request.folder) == {"FINISHED"} and len(heads()) == 1
    bpy.context.view_layer.update()

with case("the collection of heads is excluded from the view layer"):
    layer = next(c for c in bpy.context.view_layer.layer_collection.children if c.name.startswith("FaceLift"))
    layer.exclude = True
    count = len(heads())
    job = start()
    pump_until_over(job)
    assert job.state == "done" and len(heads()) == count + 1, job.error
    layer.exclude = False

for stage in ("start", "load", "align", "views", "gaussians"):
    with case(f"cancel by the button: {stage}"):
        job = start(mode="silent" if stage == "start" else f"stays in {stage}", stage=stage)
        assert bpy.ops.facelift.cancel(job=job.id) == {"FINISHED"}
        pump_until_over(job)
        assert job.state == "cancelled" and not Path(job.request.folder).exists()

with case("cancel of a job that waits, and of all"):
    first = start(mode="stays in views")
    second, third = session().submit(bpy.context, [str(PHOTO)] * 2)
    bpy.ops.facelift.cancel(job=second.id)
    pump_until_over(second)
    assert (first.state, second.state, third.state) == ("running", "cancelled", "waiting")
    bpy.ops.facelift.cancel()
    pump_until_over(first)
    pump_until_over(third)
    assert (first.state, third.state) == ("cancelled", "cancelled")

with case("a queue of two, and the photo of the second is deleted"):
    photo = Path(tempfile.mkdtemp()) / "short.png"
    photo.write_bytes(PHOTO.read_bytes())
    first = start()
    (second,) = session().submit(bpy.context, [str(photo)])
    photo.unlink()
    pump_until_over(first)
    pump_until_over(second)
    assert first.state == "done" and second.state == "failed" and "photo" in second.error

with case("a queue with a photo that does not exist starts nothing"):
    own, count = bpy.context.scene.facelift, len(timer().jobs.active())
    own.photo = str(PHOTO)
    own.more_photos.add().path = "/nowhere/second.png"
    assert "/nowhere/second.png" in error_of(bpy.ops.facelift.reconstruct)
    assert len(timer().jobs.active()) == count and len(own.more_photos) == 1
    own.more_photos[0].path = str(PHOTO)
    before = len(heads())
    assert bpy.ops.facelift.reconstruct() == {"FINISHED"}
    assert len(heads()) == before + 2 and len(own.more_photos) == 0

with case("kill -9 of the worker"):
    job = start(mode="stays in views")
    os.kill(worker_pid(), 9)
    pump_until_over(job)
    assert job.state == "failed" and "killed" in job.error
    set_mode("dies in views")
    assert "exit code 3" in error_of(bpy.ops.facelift.reconstruct, filepath=str(PHOTO))

with case("a worker that prints garbage"):
    set_mode("garbage")
    assert "was not understood" in error_of(bpy.ops.facelift.reconstruct, filepath=str(PHOTO))

with case("unicode and very long names"):
    set_mode("good")
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
    lines = readiness.before_running(bpy.context)
    assert [line.stops for line in lines if line.operator == "facelift.install_runtime"] == [True]
    assert [line.stops for line in lines if line.operator == "facelift.choose_runtime"] == [False]
    assert "needs PyTorch" in error_of(bpy.ops.facelift.reconstruct, filepath=str(PHOTO))
    os.environ["FACELIFT_PYTHON"] = variable

with case("photos: several chosen, the Image Editor's, one that is none"):
    own = bpy.context.scene.facelift
    files = [{"name": PHOTO.name}, {"name": "two.png"}]
    assert bpy.ops.facelift.choose_photos(directory=str(PHOTO.parent), files=files) == {"FINISHED"}
    assert own.photo == str(PHOTO) and [Path(p.path).name for p in own.more_photos] == ["two.png"]
    bpy.ops.facelift.remove_photo(index=0)
    assert len(own.more_photos) == 0
    painted = bpy.data.images.new("my: painting", 8, 8)
    painted.use_fake_user = True  # also in the file that is saved and opened below
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

with case("a preset is stored by its name"):
    presets = import_module(f"{PACKAGE}.presets")
    own.preset = "FAST"
    assert own.steps == 8 and presets.of_request(own) == {"preset": "fast", "steps": 0}
    own.preset = "CUSTOM"
    assert own.steps == 8 and presets.of_request(own) == {"preset": "quality", "steps": 8}
    own.preset = "QUALITY"
    assert own.steps == 50 and presets.of_request(own) == {"preset": "quality", "steps": 0}
    own.steps = 8
    assert own.preset == "CUSTOM" and presets.of_request(own) == {"preset": "quality", "steps": 8}, "not Fast's solver"
    (job,) = session().submit(bpy.context, [str(PHOTO)])
    assert (job.request.preset, job.request.steps) == ("quality", 8)
    pump_until_over(job)
    file = str(Path(tempfile.mkdtemp()) / "custom.blend")
    bpy.ops.wm.save_as_mainfile(filepath=file)
    own.preset = "BALANCED"
    bpy.ops.wm.open_mainfile(filepath=file)
    own = bpy.context.scene.facelift
    assert (own.preset, own.steps) == ("CUSTOM", 8)

with case("the preset of a file that stored only a number of steps"):
    for steps, preset in ((10, "BALANCED"), (8, "FAST"), (50, "QUALITY"), (33, "CUSTOM")):
        own.own_preset, own.own_steps = "", steps
        assert (own.preset, own.steps) == (preset, steps)
    own.own_preset, own.own_steps = "", 0
    preferences().default_preset = "BALANCED"
    assert (own.preset, own.steps) == ("BALANCED", 10), "a new scene"
    preferences().default_preset = "QUALITY"

with case("system information"):
    text = import_module(f"{PACKAGE}.setup.system_information").system_information(bpy.context)
    assert bpy.app.version_string in text and "PyTorch:" in text and PHOTO.name not in text

with case("disabling while a job runs ends the worker; enabling again works"):
    job = start(mode="stays in views")
    pid = worker_pid()
    addon_utils.disable(PACKAGE)
    assert gone(pid)
    assert not hasattr(bpy.types.Scene, "facelift")
    os.environ["FAKE_MODE"] = "good"
    addon_utils.enable(PACKAGE, default_set=True)
    assert bpy.ops.facelift.reconstruct(filepath=str(PHOTO)) == {"FINISHED"}

with case("a cache that cannot be written to is replaced by a temporary one"):
    blocked = Path(tempfile.mkdtemp()) / "cache"
    blocked.write_text("not a folder")
    before = os.environ["XDG_CACHE_HOME"]
    for place in (str(blocked), READ_ONLY):
        os.environ["XDG_CACHE_HOME"] = place
        assert bpy.ops.facelift.reconstruct(filepath=str(PHOTO)) == {"FINISHED"}
        assert not str(folders.cache_folder()).startswith(place)
    assert blocked.read_text() == "not a folder"
    os.environ["XDG_CACHE_HOME"] = before

with case("export to a read-only folder, onto a folder, and to a full disk"):
    bpy.ops.object.select_all(action="DESELECT")
    bpy.context.view_layer.objects.active = heads()[0]
    heads()[0].select_set(True)
    folder = Path(tempfile.mkdtemp())
    (folder / "taken.ply").mkdir()
    assert "Cannot write" in error_of(bpy.ops.facelift.export_splats, filepath=f"{READ_ONLY}/head.ply")
    assert "Cannot write" in error_of(bpy.ops.facelift.export_splats, filepath=str(folder / "taken.ply"))
    target = folder / "head.ply"
    target.write_text("what was there before")
    with no_space(1000):
        assert "Cannot write" in error_of(bpy.ops.facelift.export_splats, filepath=str(target))
    assert target.read_text() == "what was there before" and len(list(folder.iterdir())) == 2
    assert bpy.ops.facelift.export_splats(filepath=str(target)) == {"FINISHED"}

with case(".ply files that are wrong, or promise more than there is"):
    good, count = target.read_bytes(), len(heads())
    end = good.index(b"end_header")
    header, number = good[:end], good.split(b"element vertex ")[1].split()[0]
    wrong = {
        "mesh": b"ply\nformat ascii 1.0\nelement vertex 1\nproperty float x\nend_header\n0\n",
        "no ply": PHOTO.read_bytes(),
        "empty": b"",
        "cut": good[:-100],
        "huge": header.replace(number, b"9" * 15) + good[end:],
        "endless header": header + b"comment x\n" * 200_000,
    }
    for name, content in wrong.items():
        (folder / f"{name}.ply").write_bytes(content)
        assert f"{name}.ply" in error_of(bpy.ops.facelift.import_splats, filepath=str(folder / f"{name}.ply")), name
    with open(folder / "sparse.ply", "wb") as file:  # as large as it says: 64 GiB of zeros that take no disk
        row = (len(good) - end - len(b"end_header\n")) // int(number)
        file.write(header.replace(number, str(2**36 // row).encode()) + b"end_header\n")
        file.truncate(file.tell() + 2**36)
    with no_memory(8 * 2**30):
        assert "not enough memory" in error_of(bpy.ops.facelift.import_splats, filepath=str(folder / "sparse.ply"))
    (folder / "sparse.ply").unlink()
    assert "does not exist" in error_of(bpy.ops.facelift.import_splats, filepath=str(folder / "none.ply"))
    assert len(heads()) == count

with case("the runtime's folder is deleted"):
    runtime = Path(os.environ["FACELIFT_PYTHON"])
    moved = runtime.rename(runtime.with_name("moved"))
    timer().jobs.release()
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

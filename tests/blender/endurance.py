"""Many heads, undo, cancels, saving and loading in one Blender, with a real worker; counts what is left of them."""

import os
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, os.environ["TEST_SCRIPTS"])

import bpy
from common import PHOTO, case, finish, install, session, timer

SHARE = float(os.environ["TEST_SHARE"])
FAST = {"weights": os.environ["TEST_WEIGHTS"], "steps": 1, "crop": False, "matting": "none", "likeness": "off",
        "device": "cpu"}  # fmt: skip
MB_MORE = 60
"""What Blender and its allocator may keep after many heads."""
install()


def times(count):
    return max(3, round(count * SHARE))


def counted():
    """Memory of this process in MB, file descriptors, threads, temporary files, data-blocks, memory of the worker."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    worker = timer().jobs._lanes["reconstruct"]._worker
    theirs = Path(f"/proc/{worker.pid}/status").read_text() if worker is not None else "VmRSS: 0"
    blocks = sum(
        len(getattr(bpy.data, name)) for name in ("pointclouds", "images", "materials", "node_groups", "objects")
    )
    return {
        "MB": int(status["VmRSS"].split()[0]) // 1024,
        "files open": len(os.listdir("/proc/self/fd")),
        "threads": int(status["Threads"]),
        "temporary files": len(os.listdir(tempfile.gettempdir())),
        "data-blocks": blocks,
        "MB of the worker": int(theirs.split("VmRSS:")[1].split()[0]) // 1024,
    }


def make_and_delete():
    assert bpy.ops.facelift.reconstruct(filepath=str(PHOTO), **FAST) == {"FINISHED"}
    for ob in [ob for ob in bpy.data.objects if ob.type == "POINTCLOUD"]:
        bpy.data.objects.remove(ob)
    bpy.ops.outliner.orphans_purge(do_recursive=True)


def compare(what, count, work):
    for _ in range(3):
        work()
    before = counted()
    for _ in range(count):
        work()
    after = counted()
    print(f"COUNTED {count} × {what}: " + ", ".join(f"{n} {before[n]} → {after[n]}" for n in before), flush=True)
    for name in before:
        more = MB_MORE if name.startswith("MB") else 2 if name == "threads" else 0
        assert after[name] <= before[name] + more, (what, name, before, after)


def undo_and_redo():
    bpy.ops.ed.undo_push(message="a")
    head = bpy.data.objects.new("a", bpy.data.pointclouds.new("a")) if hasattr(bpy.data, "pointclouds") else None
    if head is not None:
        bpy.context.collection.objects.link(head)
    bpy.ops.ed.undo_push(message="b")
    for _ in range(3):
        if bpy.ops.ed.undo.poll():
            bpy.ops.ed.undo()
        timer().tick()
        if bpy.ops.ed.redo.poll():
            bpy.ops.ed.redo()
        timer().tick()
    for ob in list(bpy.data.objects):
        bpy.data.objects.remove(ob)
    bpy.ops.outliner.orphans_purge(do_recursive=True)


def cancel():
    (job,) = session().submit(bpy.context, [str(PHOTO)])
    timer().tick()
    time.sleep(0.2)
    timer().jobs.cancel(job)
    deadline = time.monotonic() + 60
    while not job.over:
        assert time.monotonic() < deadline
        timer().tick()
        time.sleep(0.01)
    assert job.state in ("cancelled", "done"), job.state


def save_and_load():
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "a.blend")
        bpy.ops.wm.save_as_mainfile(filepath=path)
        bpy.ops.wm.open_mainfile(filepath=path)
        bpy.ops.wm.read_homefile(use_empty=True)


with case("heads"):
    compare("head", times(50), make_and_delete)
with case("undo and redo"):
    compare("undo and redo", times(50), undo_and_redo)
with case("cancel"):
    compare("cancel", times(20), cancel)
with case("save and load"):
    compare("save and load", times(30), save_and_load)
finish()

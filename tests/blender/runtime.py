"""From an empty user folder to a head: the real zip, *Install PyTorch* as pip is configured here, then mini.

TEST_BASE_PYTHON, if set, is what makes the runtime in place of Blender's own Python.
"""

import os
import sys
import time
from importlib import import_module
from pathlib import Path

sys.path.insert(0, os.environ["TEST_SCRIPTS"])

import bpy
from common import PACKAGE, PHOTO, case, error_of, finish, install, preferences, timer

BASE = os.environ.get("TEST_BASE_PYTHON", "")
DATA = Path(os.environ["XDG_DATA_HOME"])

with case("install the zip; there is no runtime"):
    install()
    location = import_module(f"{PACKAGE}.facelift_core.environment.location")
    readiness = import_module(f"{PACKAGE}.reconstruct.readiness")
    folder = location.default_folder()
    assert DATA in folder.parents and not folder.exists()
    first = next(line for line in readiness.before_running(bpy.context) if line.stops)
    assert first.operator == "facelift.install_runtime"
    assert "Install PyTorch" in error_of(bpy.ops.facelift.reconstruct, filepath=str(PHOTO))

with case("without consent, without online access"):
    if bpy.app.online_access:
        assert "consent" in error_of(bpy.ops.facelift.install_runtime)
    assert "online access is off" in error_of(bpy.ops.facelift.install_runtime, consent=True)
    assert any(m.operator == "extensions.userpref_allow_online" for m in readiness.before_running(bpy.context))
    assert not folder.exists(), "nothing is written before"
    bpy.context.preferences.system.use_online_access = True
    assert "consent" in error_of(bpy.ops.facelift.install_runtime)
    assert not folder.exists()

with case("install"):
    start = time.monotonic()
    assert bpy.ops.facelift.install_runtime(consent=True, python=BASE) == {"FINISHED"}
    made = location.read(folder)
    assert made.complete and made.notes == [] and not (folder / "downloads").exists()
    job = timer().jobs.latest("runtime")
    assert job.fraction == 1.0 and job.lines and (folder / "install.log").stat().st_size > 1000
    print(f"   {time.monotonic() - start:.0f} s, {job.lines[-1]}", flush=True)
    assert preferences().worker().python == location.python_in(folder)
    assert [m for m in readiness.before_running(bpy.context) if m.stops] == []

with case("reconstruct with it"):
    steps = int(os.environ.get("TEST_STEPS", "4"))
    assert bpy.ops.facelift.reconstruct(filepath=str(PHOTO), steps=steps, device="cpu") == {"FINISHED"}
    head = bpy.context.view_layer.objects.active
    assert head.type == "POINTCLOUD"
    print(f"   {len(head.data.points)} points", flush=True)

with case("a file is lost: repair"):
    lost = next(folder.glob("lib/python*/site-packages/einops/einops.py"))
    lost.unlink()
    assert bpy.ops.facelift.repair_runtime() == {"FINISHED"}
    assert lost.is_file() and location.read(folder).complete

with case("remove"):
    (folder / "mine.txt").write_text("not of the runtime")
    assert bpy.ops.facelift.remove_runtime() == {"FINISHED"}
    assert [p.name for p in folder.iterdir()] == ["mine.txt"]
    assert "nothing to remove" in error_of(bpy.ops.facelift.remove_runtime)

finish()

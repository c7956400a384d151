"""The released weights from inside Blender: the real zip, a hub on this machine, an empty user folder."""

import os
import sys
from importlib import import_module
from pathlib import Path

sys.path.insert(0, os.environ["TEST_SCRIPTS"])

import bpy
from common import PACKAGE, PHOTO, case, error_of, finish, install, last_head, preferences, timer

DATA = Path(os.environ["XDG_DATA_HOME"])
FAST = {"filepath": str(PHOTO), "steps": 1, "crop": False, "matting": "none", "likeness": "off", "device": "cpu"}

with case("install the zip; the weights are not there"):
    install()
    before = set(sys.modules)
    readiness = import_module(f"{PACKAGE}.reconstruct.readiness")
    of_package = import_module(f"{PACKAGE}.setup.preferences")
    store = of_package.store()
    assert DATA in store.folder.parents and not store.folder.exists()
    assert [m for m in readiness.before_running(bpy.context) if "weights" in m.text] == [], "mini is the default"
    preferences().default_weights = "RELEASED"
    lines = [m for m in readiness.before_running(bpy.context) if m.operator == "facelift.get_weights"]
    assert len(lines) == 1 and lines[0].stops
    assert "facelift weights download" in error_of(bpy.ops.facelift.reconstruct, **FAST)
    preferences().default_weights = "MINI"

with case("without online access, without consent"):
    bpy.context.preferences.system.use_online_access = False
    assert "online access is off" in error_of(bpy.ops.facelift.get_weights, accept=True)
    bpy.context.preferences.system.use_online_access = True
    assert "read and accepted" in error_of(bpy.ops.facelift.get_weights)
    assert not store.original.exists()

with case("get them"):
    assert bpy.ops.facelift.get_weights(accept=True) == {"FINISHED"}
    job = timer().jobs.latest("weights")
    assert job.state == "done" and "are ready" in job.result["message"], job.error
    assert store.converted.is_dir() and not store.original.exists(), "the originals go by default"
    assert preferences().default_weights == "RELEASED"
    assert [m for m in readiness.before_running(bpy.context) if m.stops] == []

with case("reconstruct with them"):
    assert bpy.ops.facelift.reconstruct(**FAST) == {"FINISHED"}
    assert last_head().summary["request"]["weights"] == str(store.converted)
    assert not {"torch", "huggingface_hub"} & (set(sys.modules) - before)

with case("verify, take the licence back, accept it again"):
    assert bpy.ops.facelift.verify_weights() == {"FINISHED"}
    assert bpy.ops.facelift.revoke_licence() == {"FINISHED"}
    assert any(m.operator == "facelift.get_weights" for m in readiness.before_running(bpy.context))
    assert of_package.weights(bpy.context, "") == "released"
    assert bpy.ops.facelift.get_weights(accept=True) == {"FINISHED"}
    assert of_package.weights(bpy.context, "") == str(store.converted)

with case("damage is found"):
    unet = store.converted / "mvdiffusion/pipeckpts/unet/diffusion_pytorch_model.safetensors"
    content = bytearray(unet.read_bytes())
    content[-1] ^= 1
    unet.write_bytes(content)
    assert "has changed" in error_of(bpy.ops.facelift.verify_weights)

with case("remove"):
    assert bpy.ops.facelift.remove_weights() == {"FINISHED"}
    assert not store.folder.exists() and preferences().default_weights == "MINI"

with case("import a zip into a folder of one's own, without network"):
    bpy.context.preferences.system.use_online_access = False
    preferences().weights_store = str(DATA / "elsewhere")
    source = os.environ["TEST_COPY"]
    assert "read and accepted" in error_of(bpy.ops.facelift.get_weights, source=source)
    assert "does not exist" in error_of(bpy.ops.facelift.get_weights, source=f"{source}.none", accept=True)
    assert bpy.ops.facelift.get_weights(source=source, accept=True) == {"FINISHED"}
    folder = Path(of_package.weights(bpy.context, "released"))
    assert DATA / "elsewhere" in folder.parents and (folder / "manifest.json").is_file()

finish()

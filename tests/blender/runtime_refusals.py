"""What the runtime's buttons refuse, each in a sentence, and nothing of it downloads or leaves a usable half."""

import os
import sys
from importlib import import_module
from pathlib import Path

sys.path.insert(0, os.environ["TEST_SCRIPTS"])

import bpy
from common import PACKAGE, case, error_of, finish, install, preferences, timer

DATA = Path(os.environ["XDG_DATA_HOME"])
WHEELS = Path(os.environ["TEST_WHEELS"])
BASE = os.environ["TEST_BASE_PYTHON"]
# As PyTorch would, these would answer at once that nobody is there.
os.environ.update(PIP_CONFIG_FILE=os.devnull, PIP_INDEX_URL="http://127.0.0.1:9/simple", PIP_RETRIES="0")
for name in ("PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS"):
    os.environ.pop(name, None)

install()
location = import_module(f"{PACKAGE}.facelift_core.environment.location")
readiness = import_module(f"{PACKAGE}.reconstruct.readiness")
folder = location.default_folder()


def lines():
    return readiness.before_running(bpy.context)


with case("no consent, no online access: nothing is written"):
    bpy.context.preferences.system.use_online_access = False
    online, install = lines()[:2]
    assert online.operator == "extensions.userpref_allow_online" and not online.stops
    assert install.operator == "facelift.install_runtime" and install.stops and not install.works
    assert "online access is off" in error_of(bpy.ops.facelift.install_runtime, consent=True)
    bpy.context.preferences.system.use_online_access = True
    assert lines()[0].operator == "facelift.install_runtime" and lines()[0].works
    assert "agree to the download" in error_of(bpy.ops.facelift.install_runtime)
    assert "extensions.userpref_allow_online" not in [line.operator for line in lines()]
    assert DATA in folder.parents and not folder.exists()

with case("a Python that is none"):
    assert "not a working Python" in error_of(bpy.ops.facelift.install_runtime, consent=True, python=str(WHEELS))

with case("an index that cannot be reached"):
    said = error_of(bpy.ops.facelift.install_runtime, consent=True, python=BASE)
    assert "127.0.0.1 cannot be reached" in said, said
    assert timer().jobs.latest("runtime").lines and not location.read(folder).complete
    assert "is incomplete" in lines()[0].text and preferences().worker() is None

with case("a folder that lacks wheels; online access is not needed for it"):
    bpy.context.preferences.system.use_online_access = False
    said = error_of(bpy.ops.facelift.install_runtime_from_folder, directory=str(WHEELS))
    assert "lacks wheels for Python" in said and "diffusers==" in said and "torch==" not in said, said
    assert "online access is off" in error_of(bpy.ops.facelift.repair_runtime)
    assert preferences().worker() is None

with case("removing takes what is ours"):
    (folder / "mine.txt").write_text("not of the runtime")
    assert bpy.ops.facelift.remove_runtime() == {"FINISHED"}
    assert [path.name for path in folder.iterdir()] == ["mine.txt"]
    assert "nothing to remove" in error_of(bpy.ops.facelift.remove_runtime)
    assert "nothing to repair" in error_of(bpy.ops.facelift.repair_runtime)
    assert any("needs PyTorch" in line.text for line in lines())

finish()

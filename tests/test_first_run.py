"""From an empty user folder to a finished head by the commands alone, each step interrupted once.

The packages are the real ones and come from where pip is configured to get them (hundreds of megabytes, or gigabytes
for a machine with a graphics card), so this runs only when FACELIFT_TEST_SETUP is set. The weights are the small ones
of the goldens, from a hub on this machine.
"""

import importlib.util
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from local_hub import LocalHub, repository_of

from facelift_core.environment import location, pip, remove
from facelift_core.gaussians.files import load
from facelift_core.weights.catalogue import VARIABLE

GOLDENS = Path(__file__).parent / "goldens"
GSLRM = "gslrm/ckpt_0000000000021125.pt"

pytestmark = [
    pytest.mark.skipif(not os.environ.get("FACELIFT_TEST_SETUP"), reason="FACELIFT_TEST_SETUP is not set"),
    pytest.mark.skipif(sys.platform == "win32", reason="interrupts by signals of POSIX"),
]


class Machine:
    """A person's account on which nothing of FaceLift is but the unpacked zip; Python has no packages."""

    def __init__(self, folder: Path):
        spec = importlib.util.spec_from_file_location("build_extension", Path(__file__).parents[1] / "build.py")
        build = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(build)
        build.stage(folder / "program")
        self.home = folder / "home ü"
        self.home.mkdir()
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("FACELIFT", "HF_", "XDG_"))}
        self.environment = {
            **kept,
            "PYTHONPATH": str(folder / "program"),
            "XDG_DATA_HOME": str(self.home / "data"),
            "XDG_CACHE_HOME": str(self.home / "cache"),
        }
        self.runtime = self.home / "data" / "facelift" / "runtime"

    def start(self, *arguments: object) -> subprocess.Popen:
        return subprocess.Popen(
            [sys._base_executable, "-m", "facelift_core", *map(str, arguments)],
            env=self.environment,
            cwd=self.home,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, *arguments: object, code: int = 0) -> str:
        process = self.start(*arguments)
        said, _ = process.communicate(timeout=3600)
        assert process.returncode == code and "Traceback" not in said, said[-4000:]
        return said

    def interrupt(self, sign: int, until, *arguments: object) -> None:
        """Start the command and send it `sign` once `until` answers true."""
        process = self.start(*arguments)
        while not until():
            assert process.poll() is None, process.stdout.read()[-4000:]
            time.sleep(0.05)
        process.send_signal(sign)
        process.communicate(timeout=600)


def test_from_an_empty_user_folder_to_a_head(tmp_path, weights_folder):
    machine = Machine(tmp_path)
    assert "facelift setup" in machine.run("reconstruct", GOLDENS / "input.png", "-o", "head.ply", code=1)
    assert "use --yes to install" in machine.run("setup", code=1)
    assert not (machine.home / "data").exists()

    log = machine.runtime / remove.LOG

    def said(*words: str) -> bool:
        return log.exists() and all(word in log.read_text(encoding="utf-8") for word in words)

    machine.interrupt(signal.SIGKILL, lambda: said("Collecting diffusers"), "setup", "--yes")
    assert not location.read(machine.runtime).complete
    assert "run “facelift setup” to install" in machine.run("reconstruct", "me.jpg", "-o", "head.ply", code=1)
    machine.interrupt(signal.SIGINT, lambda: said("Installing collected packages: "), "setup", "--yes")
    assert not location.read(machine.runtime).complete
    done = machine.run("setup", "--yes")
    assert "installed and tested" in done and location.read(machine.runtime).complete
    assert not (machine.runtime / pip.DOWNLOADS).exists()

    with LocalHub(repository_of(weights_folder)) as hub:
        machine.environment |= hub.environment | {VARIABLE: str(hub.write_catalogue(tmp_path / "catalogue.json"))}
        assert "licence" in machine.run("weights", "download", code=1).lower()
        hub.stall[GSLRM] = [10_000]
        machine.interrupt(signal.SIGKILL, lambda: hub.stalling > 0, "weights", "download", "--accept-licence")
        hub.stall.clear()
        machine.run("weights", "download", "--accept-licence")
        assert any(ranges for ranges in hub.asked_for(GSLRM)), "the second download goes on from the first one's bytes"

    arguments = ["--weights", "released", "--steps", "2", "--no-crop", "--matting", "none", "--device", "cpu"]
    machine.run("reconstruct", GOLDENS / "input.png", "-o", machine.home / "head.ply", *arguments)
    assert len(load(machine.home / "head.ply")) > 100
    machine.run("setup", "--remove", "--yes")
    assert not machine.runtime.exists()

"""Fixtures of several modules of tests: small checkpoints, a fake runtime, the extension in Blenders.

What tests import by name is in modules of their own: `conftest` would be the nearest folder's, or another's.
"""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import blenders
import pytest
from checkpoints import GOLDENS, copy_checkpoint

sys.path.insert(0, str(Path(__file__).parent.parent))  # for facelift_blender, which nobody installs

# Before PyTorch is imported: threads that wait in a loop make small networks minutes slow where the cores are shared.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# Likewise: without a card, Triton's kernels run by its interpreter, where it is installed.
if shutil.which("nvidia-smi") is None:
    os.environ.setdefault("TRITON_INTERPRET", "1")

# Shells start background jobs with SIGINT ignored, and children would inherit that; the tests of Ctrl-C need it.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def weights_folder(tmp_path_factory) -> Path:
    """A checkpoint to read only."""
    return copy_checkpoint(tmp_path_factory.mktemp("weights"))


@pytest.fixture
def own_weights_folder(tmp_path) -> Path:
    """A checkpoint that the test may damage."""
    (tmp_path / "own").mkdir()
    return copy_checkpoint(tmp_path / "own")


@pytest.fixture(autouse=True)
def own_folders(tmp_path_factory, monkeypatch) -> None:
    """Nothing of a test's ends in the user's folders, and nothing in them changes a test."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path_factory.mktemp("data")))


@pytest.fixture
def fake(tmp_path, monkeypatch) -> Path:
    """A runtime's Python that is the fake worker."""
    import fake_runtime

    monkeypatch.setenv("FAKE_HEAD", str(fake_runtime.HEAD))
    monkeypatch.setenv("FAKE_PICTURE", str(fake_runtime.PICTURE))
    monkeypatch.setenv("FAKE_CUTOUT", str(fake_runtime.write_cutout(tmp_path / "cutout.png")))
    return fake_runtime.make_python(tmp_path / "runtime" / "bin" / "python")


@pytest.fixture
def jobs() -> Iterator:
    """A job queue, which leaves no process behind."""
    from fake_runtime import gone

    from facelift_blender.jobs.queue import Queue

    made = Queue()
    yield made
    workers = [worker for lane in made._lanes.values() if (worker := lane._worker) is not None]
    made.shutdown()
    assert all(gone(worker.pid) for worker in workers) and not made.active()


@pytest.fixture(scope="session")
def package(tmp_path_factory) -> Path:
    """The extension's zip, valid for every Blender at hand."""
    return blenders.load_build().build(tmp_path_factory.mktemp("dist"), blenders.PYTHONS)


@pytest.fixture(params=blenders.PYTHONS or [None], ids=blenders.name)
def blender(request, package, tmp_path) -> Callable[..., str]:
    """Run a script of tests/blender in one Blender's Python with an empty user folder; returns what it printed."""
    python = request.param
    scripts = Path(__file__).parent / "blender"

    def run(
        script: str, *arguments: str, runtime: Path | str = blenders.WORKER, minutes: float = 9.0, **variables: str
    ) -> str:
        environment = {
            **os.environ,
            "BLENDER_USER_RESOURCES": str(tmp_path / "user"),
            "XDG_DATA_HOME": str(tmp_path / "data"),  # neither a runtime nor weights of this machine's user
            "FACELIFT_PYTHON": str(runtime),
            "TEST_ZIP": str(package),
            "TEST_PHOTO": str(GOLDENS / "input.png"),
            "TEST_SCRIPTS": str(scripts),
            **variables,
        }
        (tmp_path / "user").mkdir(exist_ok=True)
        done = subprocess.run(
            [python, scripts / script, *arguments],
            env=environment,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=60 * minutes,
        )
        said = done.stdout + done.stderr
        assert done.returncode == 0 and "ALL GOOD" in done.stdout, said[-6000:]
        return said

    return run

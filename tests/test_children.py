"""Every process that is ever started: none imports what another user planted, and only one function makes them."""

import ast
import os
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import planted
import pytest
from checkpoints import GOLDENS

from facelift_core.environment import check, install, pip, pythons, smoke_test
from facelift_core.errors import FaceLiftError
from facelift_core.gaussians.arrays import SplatArrays
from facelift_core.gaussians.files import read, write
from facelift_core.photos import apart
from facelift_core.processes import launch
from facelift_core.processes.client import Worker
from facelift_core.processes.protocol import Ready
from facelift_core.rendering.turntable import write_turntable

ROOT = Path(__file__).parents[1]
PICTURE = GOLDENS / "input.png"
OS_STARTERS = ("system", "popen", "fork", "forkpty", "startfile", "posix_spawn")


def starts(path: Path) -> list[str]:
    """The calls in a module that start a process, and imports that could."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            owner, name = node.value.id, node.attr
            if owner == "subprocess" and name in ("Popen", "run", "call", "check_call", "check_output"):
                found.append(f"subprocess.{name}")
            if owner == "os" and (name in OS_STARTERS or name.startswith(("exec", "spawn"))):
                found.append(f"os.{name}")
        elif isinstance(node, ast.ImportFrom) and node.module in ("subprocess", "multiprocessing"):
            found.append(f"from {node.module}")
        elif isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name in ("multiprocessing", "pty", "imageio")]
    return found


@pytest.mark.parametrize("package", ["facelift_core", "facelift_blender"])
def test_one_module_starts_processes(package):
    allowed = {ROOT / "facelift_core" / "processes" / "launch.py"}
    training = ROOT / "facelift_core" / "training"  # forks itself, and is not part of the extension
    files = [path for path in (ROOT / package).rglob("*.py") if path not in allowed and training not in path.parents]
    assert len(files) > 20
    assert {str(path): calls for path in files if (calls := starts(path))} == {}
    calls = starts(*allowed)
    assert calls.count("subprocess.Popen") == 1 and calls.count("os.execve") == 1, calls


@pytest.mark.parametrize("package", ["facelift_core", "facelift_blender"])
def test_every_python_is_isolated(package):
    """Nothing but :func:`launch.isolated` writes a command line of Python."""
    for path in (ROOT / package).rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        if path.name != "launch.py":
            assert 'str(python), "-' not in text and '"-I"' not in text, path


@pytest.fixture
def hostile(tmp_path, monkeypatch) -> Path:
    """The trace of what is planted wherever Python might look."""
    trace, variables = planted.plant(tmp_path)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path / "cwd")
    monkeypatch.setattr("tempfile.tempdir", variables["TMPDIR"])
    return trace


def test_the_planted_modules_are_hostile(hostile):
    subprocess.run([sys._base_executable, "-c", "import csv, threading"], check=False, capture_output=True)
    subprocess.run(
        [sys._base_executable, "-S", "-c", "import csv"], check=False, capture_output=True, cwd=hostile.parent
    )
    assert hostile.exists()


CHILDREN = {
    "quick check": lambda folder: check.quick_check(Path(sys.executable)),
    "the choice of a Python": lambda folder: pythons.unfit(Path(sys._base_executable)),
    "probe": lambda folder: install._probe(Path(sys.executable)),
    "pip's settings": lambda folder: pip.has_own_index(Path(sys.executable), folder),
    "pip": lambda folder: run_pip(folder),
    "a module of ours": lambda folder: launch.ask(launch.command(sys.executable, "environment.pins"), 60.0),
    "venv": lambda folder: launch.run(launch.isolated(sys._base_executable, "-m", "venv", folder / "env"), 120.0),
    "worker": lambda folder: start_worker(),
    "photo": lambda folder: apart.decode(PICTURE.read_bytes(), "photo.png"),
    "usd": lambda folder: read_usd(folder / "head.usda"),
    "ffmpeg": lambda folder: write_turntable(head().to_gaussians(), folder / "a.mp4", frames=2, size=16),
    "trial": lambda folder: smoke_test.run(Path(sys.executable), folder, "cpu", lambda _: None, lambda: False),
}


SLOW = ("venv", "trial")


def head() -> SplatArrays:
    return SplatArrays(*(np.ones(shape, np.float32) for shape in ((4, 3), (4, 1, 3), (4, 3), (4, 4), (4,))))


def read_usd(path: Path) -> None:
    write(head(), path)
    assert len(read(path)) == 4


def run_pip(folder: Path) -> None:
    sources = pip.Sources(wheels=folder)
    with pytest.raises(FaceLiftError):
        pip.install(Path(sys.executable), folder, ["nothing"], sources, (25, 1), lambda _: None, lambda: False)


def start_worker() -> None:
    worker = Worker(Path(sys.executable))
    try:
        assert any(isinstance(message[1], Ready) for _ in range(600) if (message := worker.receive(0.1)))
        worker.request("runtime", "1", {"do": "nonsense"})
        assert worker.receive(60.0) is not None
    finally:
        worker.stop(20.0)


@pytest.mark.parametrize(
    "child", [pytest.param(child, marks=pytest.mark.slow if child in SLOW else ()) for child in CHILDREN]
)
def test_no_child_imports_what_was_planted(hostile, tmp_path, child):
    (tmp_path / "folder").mkdir()
    CHILDREN[child](tmp_path / "folder")
    assert not hostile.exists(), hostile.read_text()
    left = {path.name for path in (tmp_path / "tmp").iterdir()} - {"__pycache__"}
    left -= {f"{name}.py" for name in planted.NAMES}
    assert not left, "temporary files were left"


LOOK = "import json, os, stat, sys, tempfile; print(json.dumps([os.getcwd(), stat.S_IMODE(os.stat('.').st_mode), "
LOOK += "os.listdir('.'), tempfile.gettempdir(), sys.flags.isolated, sys.path, sorted(os.environ)]))"


@pytest.mark.skipif(sys.platform == "win32", reason="permissions of POSIX")
def test_a_child_has_a_private_empty_folder_that_goes_with_it(monkeypatch):
    monkeypatch.setenv("PYTHONHASHSEED", "0")
    folder, mode, files, temporary, isolated, path, variables = launch.ask(
        launch.isolated(sys.executable, "-c", LOOK), 60
    )
    assert mode == 0o700 and files == [] and temporary == folder and isolated
    assert not {"", ".", folder, os.getcwd()} & set(path) and "PYTHONHASHSEED" not in variables
    assert not os.path.exists(folder)
    process = launch.Process(launch.isolated(sys.executable, "-c", "input()"), stdin=subprocess.PIPE)
    own = Path(process._remove_folder.peek()[2][0])
    assert stat.S_IMODE(own.stat().st_mode) == 0o700
    process.end()
    assert not own.exists() and process.returncode == -9

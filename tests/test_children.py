"""Every process that is ever started: none imports what another user planted, and only one function makes them."""

import ast
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from facelift_core.environment import check, install, pip, pythons
from facelift_core.errors import FaceLiftError
from facelift_core.processes import launch
from facelift_core.processes.client import Worker
from facelift_core.processes.protocol import Ready

ROOT = Path(__file__).parents[1]
PLANTED = ("threading", "csv", "json", "random", "logging", "numpy", "torch", "pip", "sitecustomize", "usercustomize")
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
    """Modules that leave a trace when they are imported, wherever Python might look for some."""
    trace = tmp_path / "executed"
    for place in ("cwd", "tmp", "path"):
        folder = tmp_path / place
        folder.mkdir()
        for name in PLANTED:
            (folder / f"{name}.py").write_text(f"open({str(trace)!r}, 'a').write({place + ' ' + name!r} + chr(10))\n")
    user = tmp_path / "user" / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
    user.mkdir(parents=True)
    (user / "usercustomize.py").write_text(f"open({str(trace)!r}, 'a').write('usercustomize')\n")
    monkeypatch.chdir(tmp_path / "cwd")
    for name in ("TMPDIR", "TEMP", "TMP"):
        monkeypatch.setenv(name, str(tmp_path / "tmp"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "path"))
    monkeypatch.setenv("PYTHONSTARTUP", str(tmp_path / "path" / "random.py"))
    monkeypatch.setenv("PYTHONUSERBASE", str(tmp_path / "user"))
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
}


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


@pytest.mark.parametrize("child", CHILDREN)
def test_no_child_imports_what_was_planted(hostile, tmp_path, child):
    (tmp_path / "folder").mkdir()
    CHILDREN[child](tmp_path / "folder")
    assert not hostile.exists(), hostile.read_text()
    left = {path.name for path in (tmp_path / "tmp").iterdir()} - {f"{name}.py" for name in PLANTED} - {"__pycache__"}
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

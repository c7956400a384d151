"""Portraits are for their owner alone, files are on the disk before they get their name, Ctrl-C is no traceback."""

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

import facelift_core as fl
from facelift_core import files, user_dirs
from facelift_core.errors import FaceLiftError
from facelift_core.jobs import cutout, handlers, reconstruct
from facelift_core.weights.named import find_weights

PICTURE = Path(__file__).parent / "goldens" / "input.png"
posix = pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")


def open_to_others(folder: Path) -> list[Path]:
    return [path for path in (folder, *folder.rglob("*")) if path.is_dir() and path.stat().st_mode & 0o077]


@posix
def test_jobs_are_private(weights_folder):
    before = os.umask(0o022)
    try:
        job = user_dirs.cache_folder() / "jobs" / "a"
        wanted = reconstruct.Request(str(PICTURE), str(job), str(weights_folder), "cpu", steps=1, likeness="off")
        wanted = reconstruct.Request(**{**vars(wanted), "crop": False, "matting": "none"})
        models = reconstruct.Models()
        reconstruct.run(wanted, lambda event: None, lambda: False, models)
        cut = user_dirs.cache_folder() / "cutouts"
        cut.mkdir(mode=0o755)  # from an earlier version
        cutout.run(cutout.Request(str(PICTURE), str(cut / "a.png"), crop=False, matting="none"), print, bool, models)
    finally:
        os.umask(before)
    assert (job / reconstruct.HEAD).is_file() and (cut / "a.png").is_file()
    assert open_to_others(user_dirs.cache_folder()) == []


@posix
def test_a_private_folder_leaves_other_folders_alone(tmp_path):
    tmp_path.chmod(0o755)
    made = files.private_folder(tmp_path / "a" / "b")
    assert stat.S_IMODE(made.stat().st_mode) == stat.S_IMODE(made.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755


def test_bytes_are_on_the_disk_before_the_name(tmp_path, monkeypatch):
    calls = []
    for name in ("fsync", "replace"):
        call = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *a, name=name, call=call: calls.append(name) or call(*a))
    with files.replacing(tmp_path / "a.txt") as temporary:
        temporary.write_text("a")
    assert calls[:2] == ["fsync", "replace"]


@pytest.mark.parametrize("weights", ["", " ", "a\0b"])
def test_weights_without_a_name(weights):
    with pytest.raises(fl.FaceLiftError, match="give “mini”"):
        find_weights(weights)


INTERRUPTED = """
import builtins, os, signal, sys
sys.argv[1:] = ["info"]
before = builtins.__import__
def importing(name, *arguments, **named):
    if {name!r} in name:
        os.kill(os.getpid(), signal.SIGINT)
    return before(name, *arguments, **named)
builtins.__import__ = importing
from facelift_core.__main__ import main
sys.exit(main())
"""


@posix
@pytest.mark.parametrize("module", ["argparse", "diagnostics", "torch"])
def test_ctrl_c_while_importing(module):
    environment = {**os.environ, "PYTHONPATH": str(Path(fl.__file__).parents[1])}
    program = INTERRUPTED.format(name=module)
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode in (130, -signal.SIGINT) and "Traceback" not in done.stderr, done.stderr
    assert done.stderr.strip() == "facelift: Interrupted; no incomplete files were left behind."


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes of POSIX")
def test_only_files_are_replaced(tmp_path):
    """Devices and pipes stay what they are, also behind links: “-o /dev/null” must not replace /dev/null."""
    os.mkfifo(tmp_path / "pipe.ply")
    (tmp_path / "link.ply").symlink_to("pipe.ply")
    (tmp_path / "loop.ply").symlink_to("loop.ply")
    for name, match in {
        "pipe": "a pipe",
        "link": "a pipe",
        "loop": "link to itself",
        "nul\0": "name of a file",
    }.items():
        with pytest.raises(FaceLiftError, match=match), files.replacing(tmp_path / f"{name}.ply") as temporary:
            temporary.write_bytes(b"never")
    assert stat.S_ISFIFO((tmp_path / "pipe.ply").stat().st_mode)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link.ply", "loop.ply", "pipe.ply"]


def test_a_name_that_no_file_can_have_gets_a_sentence(tmp_path):
    request = {"photo": "a" * 5000, "folder": str(tmp_path)}
    failed = handlers.run("reconstruct", request, print, bool, reconstruct.Models())
    assert failed.message.endswith("too long.") and len(failed.message) < 300, failed.message[:300]

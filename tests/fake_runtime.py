"""A runtime whose Python is ``blender/fake_worker.py``, jobs for it, and a look at processes."""

import os
import stat
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from facelift_blender.jobs import folders
from facelift_blender.jobs.job import Job, Usual, WorkerSettings
from facelift_blender.jobs.lane import Lane
from facelift_blender.jobs.queue import Queue
from facelift_core.jobs.reconstruct import Request

HERE = Path(__file__).parent
HEAD = HERE / "goldens" / "post" / "cli.ply"
PICTURE = HERE / "goldens" / "input.png"
SOON = 120.0
"""A bound for machines that are busy; everything takes a second or two."""


def make_python(python: Path) -> Path:
    """The fake worker as a program that can be started."""
    python.parent.mkdir(parents=True, exist_ok=True)
    python.write_text(f"#!{sys.executable}\n" + (HERE / "blender" / "fake_worker.py").read_text())
    python.chmod(python.stat().st_mode | stat.S_IXUSR)
    return python


def write_cutout(path: Path) -> Path:
    """A disc of the picture's colours, which are there outside of it, too, where nothing is seen."""
    with Image.open(PICTURE) as picture:
        cutout = picture.convert("RGB").resize((512, 512))
    y, x = np.mgrid[:512, :512]
    cutout.putalpha(Image.fromarray(np.where(np.hypot(y - 256, x - 256) < 200, 255, 0).astype(np.uint8)))
    cutout.save(path)
    return path


def worker(python: Path, idle_seconds: float = 60.0) -> WorkerSettings:
    """What heads and cut-outs are made with."""
    return WorkerSettings(python, idle_seconds=idle_seconds)


def submit(
    jobs: Queue, python: Path, photo: Path = PICTURE, idle_seconds: float = 60.0, usually=Usual, **settings
) -> Job:
    """A head, as Blender's session submits it; `settings` are the request's."""
    folder = folders.new_folder()
    request, runs_it = Request(str(photo), str(folder), **settings), worker(python, idle_seconds)
    check = folders.check_end(folder)
    return jobs.submit(Job("reconstruct", photo.stem, request, runs_it, check=check, usually=usually))


def follow(jobs: Queue, *wanted: Job, until: Callable[[Job], bool] | None = None) -> list[str]:
    """Poll until `wanted` are over, or until(job) of the first; returns the names of the events' classes seen."""
    seen, deadline = [], time.monotonic() + SOON
    while not (until(wanted[0]) if until else all(job.over for job in wanted)):
        assert time.monotonic() < deadline, f"nothing happens any more after {seen[-3:]}"
        seen += [type(event).__name__ for _, event in jobs.poll()]
        time.sleep(0.01)
    return seen


def folder_of(job: Job) -> Path:
    return Path(job.request.folder)


def lane_of(jobs: Queue, name: str = "reconstruct") -> Lane:
    return jobs._lanes[name]


def pid_of(jobs: Queue, name: str = "reconstruct") -> int:
    """Of the worker, once it is there."""
    while (worker := lane_of(jobs, name)._worker) is None:
        time.sleep(0.01)
    return worker.pid


def gone(pid: int, seconds: float = 10.0) -> bool:
    """Whether the process ends in time; one that only waits to be collected has ended."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        state = Path(f"/proc/{pid}/stat")
        try:
            if Path("/proc").is_dir():
                if not state.exists() or state.read_text().rsplit(")", 1)[1].split()[0] == "Z":
                    return True
            else:
                os.kill(pid, 0)
        except OSError:
            return True
        time.sleep(0.05)
    return False

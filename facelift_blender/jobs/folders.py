"""Where jobs keep their files. A finished head stays there until someone clears the cache, whatever Blender does."""

from __future__ import annotations

import json
import os
import shutil
import time
import uuid
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from facelift_core import user_dirs
from facelift_core.jobs import reconstruct as _job
from facelift_core.processes.protocol import Done, Event, Failed

CLAIMED = "imported"


@dataclass(frozen=True)
class Finished:
    """A head that a job has made.

    Attributes:
        folder: of the job.
        summary: what the job told at its end, see :func:`facelift_core.jobs.reconstruct.run`.
        claimed: it has been brought into a file.
    """

    folder: Path
    summary: dict[str, Any]
    claimed: bool

    @property
    def name(self) -> str:
        return Path(self.summary["photo"]).stem

    @property
    def head(self) -> Path:
        return self.folder / _job.HEAD

    @property
    def portrait(self) -> Path:
        return self.folder / _job.PORTRAIT

    @property
    def cutout(self) -> Path:
        return self.folder / _job.CUTOUT

    @property
    def views(self) -> Path:
        return self.folder / _job.VIEWS


def cache_folder() -> Path:
    return user_dirs.cache_folder()


def jobs_folder() -> Path:
    return cache_folder() / "jobs"


def cutouts_folder() -> Path:
    return cache_folder() / "cutouts"


def new_folder() -> Path:
    """A name that sorts by time and is free of whatever the photo is called; the job makes the folder."""
    return jobs_folder() / f"{time.strftime('%Y%m%d-%H%M%S')}-{uuid.uuid4().hex[:8]}"


def read(folder: Path) -> Finished | None:
    """The head in `folder`, or None if there is no whole one."""
    try:
        summary = json.loads((folder / _job.RESULT).read_text(encoding="utf-8"))
        whole = isinstance(summary["photo"], str) and (folder / _job.HEAD).is_file()
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return Finished(folder, summary, (folder / CLAIMED).exists()) if whole else None


def check_end(folder: Path) -> Callable[[Event], Event]:
    """For a job's ``check``: its last event, if it is true; without a head its folder goes."""

    def check(event: Event) -> Event:
        if isinstance(event, Done) and read(folder) is None:
            event = Failed(f"The finished head is not in {folder}; run it again.")
        if not isinstance(event, Done):
            remove(folder)
        return event

    return check


def finished() -> list[Finished]:
    """All heads in the cache, the newest first."""
    try:
        folders = sorted((entry for entry in jobs_folder().iterdir() if entry.is_dir()), reverse=True)
    except OSError:
        return []
    return [head for folder in folders if (head := read(folder))]


def unclaimed() -> list[Finished]:
    """Heads that were finished when there was no place for them, the newest first."""
    return [head for head in finished() if not head.claimed]


def claim(folder: Path) -> None:
    """Note that the head is in a file now; that this cannot be noted is no reason to fail."""
    with suppress(OSError):
        (folder / CLAIMED).touch()


def size() -> int:
    """Bytes in the cache."""
    total = 0
    for folder, _, files in os.walk(cache_folder()):
        for name in files:
            try:
                total += os.lstat(os.path.join(folder, name)).st_size
            except OSError:
                continue
    return total


def clear(keep: Collection[Path] = ()) -> None:
    """Remove what is in the cache except the folders `keep`, those of jobs that have not ended."""
    for entry in _entries(cache_folder()):
        if entry == jobs_folder():
            for folder in _entries(entry):
                if folder not in keep:
                    remove(folder)
        else:
            remove(entry)


def remove(path: Path) -> None:
    """As far as that is allowed; what stays is counted by :func:`size` and can be removed another time."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
        return
    with suppress(OSError):
        path.unlink()


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []

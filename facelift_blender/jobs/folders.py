"""Job folders in the cache. A finished head stays until the cache is cleared, even if Blender quits or crashes."""

from __future__ import annotations

import os
import shutil
import time
import uuid
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from facelift_core import bounded_json, user_dirs
from facelift_core.jobs import reconstruct as _job
from facelift_core.processes.protocol import Done, Event, Failed

CLAIMED = "imported"


@dataclass(frozen=True)
class Finished:
    """A finished head.

    Attributes:
        folder: folder of the job.
        summary: result of the job, see :func:`facelift_core.jobs.reconstruct.run`.
        claimed: whether the head has been imported or dismissed.
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
    """A new path whose name sorts by time and does not depend on the photo's name. The job creates the folder."""
    return jobs_folder() / f"{time.strftime('%Y%m%d-%H%M%S')}-{uuid.uuid4().hex[:8]}"


def read(folder: Path) -> Finished | None:
    """The head in `folder`, or None if there is no complete one."""
    try:
        summary = bounded_json.read(folder / _job.RESULT)
        whole = isinstance(summary["photo"], str) and (folder / _job.HEAD).is_file()
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return Finished(folder, summary, (folder / CLAIMED).exists()) if whole else None


def check_end(folder: Path) -> Callable[[Event], Event]:
    """A job's ``check``: turns Done into Failed if the head is missing; without a head, removes the folder."""

    def check(event: Event) -> Event:
        if isinstance(event, Done) and read(folder) is None:
            event = Failed(f"The finished head is missing from {folder}; reconstruct it again.")
        if not isinstance(event, Done):
            remove(folder)
        return event

    return check


def finished() -> list[Finished]:
    """All heads in the cache, newest first."""
    try:
        folders = sorted((entry for entry in jobs_folder().iterdir() if entry.is_dir()), reverse=True)
    except OSError:
        return []
    return [head for folder in folders if (head := read(folder))]


def unclaimed() -> list[Finished]:
    """Finished heads that have been neither imported nor dismissed, newest first."""
    return [head for head in finished() if not head.claimed]


def claim(folder: Path) -> None:
    """Mark the head as imported. Write errors are ignored."""
    with suppress(OSError):
        (folder / CLAIMED).touch()


def size() -> int:
    """Size of the cache in bytes."""
    total = 0
    for folder, _, files in os.walk(cache_folder()):
        for name in files:
            try:
                total += os.lstat(os.path.join(folder, name)).st_size
            except OSError:
                continue
    return total


def clear(keep: Collection[Path] = ()) -> None:
    """Empty the cache, except for the job folders in `keep`, which belong to jobs that have not ended."""
    for entry in _entries(cache_folder()):
        if entry == jobs_folder():
            for folder in _entries(entry):
                if folder not in keep:
                    remove(folder)
        else:
            remove(entry)


def remove(path: Path) -> None:
    """Remove a file or folder and ignore errors; whatever remains still counts in :func:`size`."""
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

"""Cut-outs cached as files, and which cut-out to make next."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from facelift_core import __version__, bounded_json
from facelift_core.files import private_folder
from facelift_core.jobs.cutout import Request

from ..jobs import folders
from ..jobs.job import DONE, FAILED, Job, WorkerSettings
from ..jobs.queue import Queue

DEBOUNCE = 0.6
"""Seconds a photo must stay selected before its cut-out is made, while the user types a path or tries settings."""
KEPT = 60
SAMPLE = 1 << 18
"""Bytes at the beginning and end of a photo that identify it."""


@dataclass(frozen=True)
class Subject:
    """A photo with the settings that determine its cut-out.

    Attributes:
        photo: image file.
        crop, matting: as in :class:`facelift_core.jobs.cutout.Request`.
        key: identifies the photo's content and the settings, independent of the file's location.
    """

    photo: Path
    crop: bool
    matting: str
    key: str


@dataclass(frozen=True)
class Known:
    """A finished cut-out: a PNG with transparency, its thumbnail, and remarks for the user."""

    cutout: Path
    preview: Path
    notes: tuple[str, ...]


def subject_of(photo: Path, crop: bool, matting: str) -> Subject | None:
    """The subject for `photo`; None if there is no such file."""
    try:
        found = photo.stat()
        if not photo.is_file():
            return None
        content = _fingerprint(photo, found.st_mtime_ns, found.st_size)
    except (OSError, ValueError):
        return None
    key = hashlib.sha1(f"{content} {crop} {matting}".encode()).hexdigest()[:20]
    return Subject(photo, crop, matting, key)


@lru_cache(maxsize=256)
def _fingerprint(photo: Path, modified: int, size: int) -> str:
    with open(photo, "rb") as file:
        content = hashlib.sha1(file.read(SAMPLE))
        file.seek(max(0, size - SAMPLE))
        content.update(file.read(SAMPLE))
    return f"{size} {content.hexdigest()}"


def _files(subject: Subject) -> tuple[Path, Path, Path]:
    """Paths of the cut-out, preview and notes (written last). Includes the version, because results may differ."""
    name = f"{subject.key}-{__version__}"
    folder = folders.cutouts_folder()
    return folder / f"{name}.png", folder / f"{name}_preview.png", folder / f"{name}.json"


@dataclass
class CutOuts:
    """Finds and makes cut-outs. Call every method from the main thread; all return at once.

    Attributes:
        jobs: queue that cut-out jobs are submitted to.
        problems: why a photo could not be cut out, by the subject's key.
    """

    jobs: Queue
    problems: dict[str, str] = field(default_factory=dict)
    _asked: dict[str, Job] = field(default_factory=dict)
    _looked_at: tuple[Subject, float] | None = None

    def known(self, subject: Subject) -> Known | None:
        """The finished cut-out of `subject`, or None."""
        cutout, preview, notes = _files(subject)
        try:
            told = bounded_json.read(notes)
        except (OSError, ValueError):
            return None
        if not (isinstance(told, list) and cutout.is_file() and preview.is_file()):
            return None
        return Known(cutout, preview, tuple(map(str, told)))

    def making(self, subject: Subject) -> bool:
        return subject.key in self._asked

    @property
    def waiting(self) -> bool:
        """Whether a photo is being shown whose cut-out has not been requested yet."""
        return self._looked_at is not None

    def look(self, subject: Subject, now: float) -> None:
        """Note that the panel shows `subject`; :meth:`tick` requests its cut-out after DEBOUNCE seconds."""
        if self._looked_at is None or self._looked_at[0] != subject:
            self._looked_at = subject, now

    def look_away(self) -> None:
        self._looked_at = None

    def tick(self, worker: WorkerSettings, now: float) -> None:
        if self._looked_at is not None and now - self._looked_at[1] >= DEBOUNCE:
            self.ask(self._looked_at[0], worker)

    def ask(self, subject: Subject, worker: WorkerSettings) -> Job:
        """Submit a job for the cut-out now, unless there is one already."""
        self._looked_at = None
        self.problems.pop(subject.key, None)
        if subject.key not in self._asked:
            cutout, preview, _ = _files(subject)
            request = Request(str(subject.photo), str(cutout), str(preview), subject.crop, subject.matting)
            job = Job("cutout", subject.photo.stem, request, worker, lambda job, _: self._heard(subject, job))
            self._asked[subject.key] = self.jobs.submit(job)
        return self._asked[subject.key]

    def _heard(self, subject: Subject, job: Job) -> None:
        if not job.over:
            return
        del self._asked[subject.key]
        if job.state == DONE:
            _keep(subject, job.notes)
        elif job.state == FAILED:
            self.problems[subject.key] = job.error

    def learn(self, job: Job) -> None:
        """Store the cut-out that a reconstruction made on the way."""
        request = job.request
        subject = subject_of(Path(request.photo), request.crop, request.matting)
        if subject is None or request.cutout or not (job.cutout and job.preview) or self.known(subject) is not None:
            return
        cutout, preview, _ = _files(subject)
        with suppress(OSError):
            private_folder(cutout.parent)
            shutil.copyfile(job.cutout, cutout)
            shutil.copyfile(job.preview, preview)
            _keep(subject, job.notes)


def _keep(subject: Subject, notes: tuple[str, ...]) -> None:
    """Write the notes, which mark the cut-out as complete, and remove the oldest beyond KEPT."""
    with suppress(OSError):
        _files(subject)[2].write_text(json.dumps(notes, ensure_ascii=False), encoding="utf-8")
        kept = sorted(folders.cutouts_folder().glob("*.json"), key=os.path.getmtime, reverse=True)
        for old in kept[KEPT:]:
            for file in folders.cutouts_folder().glob(f"{old.stem}*"):
                folders.remove(file)

"""What an installation would do, to be shown before: folder, Python, build of PyTorch, sizes."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from ..errors import FaceLiftError
from . import location, machine, pip, pythons
from . import torch_build as builds
from .pins import pins

MARGIN = 500 * 2**20


@dataclass(frozen=True)
class Plan:
    """What :func:`.install.install` would do.

    Attributes:
        folder: the environment's.
        python: what makes it.
        build: of PyTorch.
        sources: where packages come from.
        requirements: names with versions, PyTorch's without its build.
        free: bytes free on the folder's disk.
        note: what should be known about the choice of the build, or "".
        resumes: something of it is there already.
    """

    folder: Path
    python: Path
    build: builds.Build
    sources: pip.Sources
    requirements: tuple[str, ...]
    free: int
    note: str = ""
    resumes: bool = False

    @property
    def needed(self) -> int:
        """Bytes that have to be free: downloads and what is unpacked of them."""
        return MARGIN if self.resumes else self.build.download + self.build.disk + MARGIN

    @property
    def text(self) -> str:
        """All of it in a few sentences."""
        torch = next(line for line in self.requirements if line.startswith("torch")).replace("==", " ")
        size = f"about {size_text(self.build.disk)} on the disk, {size_text(self.free)} free"
        load = (
            ""
            if self.sources.wheels
            else f"Download: {'at most' if self.resumes else 'about'} {size_text(self.build.download)}; "
        )
        return (
            f"{torch} ({self.build.label}) and {len(self.requirements) - 1} packages that go with it, into "
            f"{self.folder}. {load}{size}."
        )


def make_plan(
    folder: Path | None = None,
    python: Path | None = None,
    build: str = "auto",
    sources: pip.Sources | None = None,
) -> Plan:
    """Look at machine and disk. Nothing is written or downloaded.

    Args:
        folder: where to; None: where it is, or the user's data folder.
        python: to make it with; None: this one, or one of the system's.
        build: "auto" or a name of :data:`.builds.BUILDS`.

    Raises:
        FaceLiftError: this machine, folder or Python will not do.
    """
    folder = location.folder_for(folder)
    sources = sources or pip.Sources()
    if sources.wheels is not None and not sources.wheels.is_dir():
        raise FaceLiftError(f"There is no folder {sources.wheels} with wheels; choose another one.")
    made = location.read(folder)
    chosen, note = builds.choose(machine.detect(), build)
    return Plan(
        folder,
        pythons.choose(python, avoid=folder),
        chosen,
        sources,
        tuple(pins().values()),
        _free(folder),
        note,
        resumes=made is not None and (made.complete or (folder / pip.DOWNLOADS).exists()),
    )


def _free(folder: Path) -> int:
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    try:
        return shutil.disk_usage(folder).free
    except OSError as error:
        raise FaceLiftError(f"There is no disk for {folder}: {error.strerror or error}.") from None


def size_text(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"

"""Plan an installation, to show it before it starts: folder, Python, PyTorch build, sizes."""

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
class InstallPlan:
    """What :func:`.install.install` will do.

    Attributes:
        folder: folder of the environment.
        python: the Python that creates it.
        build: the PyTorch build.
        sources: where packages come from.
        requirements: requirement specifiers; the one for PyTorch does not name its build.
        free: free bytes on the folder's disk.
        note: a remark on the choice of the build, or "".
        resumes: whether the folder holds an earlier installation, finished or interrupted.
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
        """Bytes of free disk space required: the downloads, and the packages unpacked from them."""
        return MARGIN if self.resumes else self.build.download + self.build.disk + MARGIN

    @property
    def text(self) -> str:
        """A summary of the plan in a few sentences."""
        torch = next(line for line in self.requirements if line.startswith("torch")).replace("torch==", "PyTorch ")
        size = f"about {size_text(self.build.disk)} on disk, {size_text(self.free)} free"
        load = (
            ""
            if self.sources.wheels
            else f"Download: {'at most' if self.resumes else 'about'} {size_text(self.build.download)}; "
        )
        return f"{torch} ({self.build.label}) and what else FaceLift needs, into {self.folder}. {load}{size}."


def plan_installation(
    folder: Path | None = None,
    python: Path | None = None,
    build: str = "auto",
    sources: pip.Sources | None = None,
) -> InstallPlan:
    """Plan an installation for this machine. Does not write or download anything.

    Args:
        folder: target folder; None for the present runtime folder or the user's data folder.
        python: the Python that creates the environment; None for this one or one on the system.
        build: "auto" or the name of a build in :data:`.torch_build.BUILDS`.
        sources: where packages come from; None for pip's own settings.

    Raises:
        FaceLiftError: this machine, folder or Python cannot be used.
    """
    folder = location.folder_for(folder)
    sources = sources or pip.Sources()
    if sources.wheels is not None and not sources.wheels.is_dir():
        raise FaceLiftError(f"The wheels folder {sources.wheels} does not exist; choose another one.")
    made = location.read(folder)
    chosen, note = builds.choose(machine.detect(), build)
    return InstallPlan(
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
        raise FaceLiftError(f"Cannot read the free disk space of {folder}: {error.strerror or error}.") from None


def size_text(count: int) -> str:
    """Format a number of bytes, such as "7.0 GB" or "412 MB"."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"

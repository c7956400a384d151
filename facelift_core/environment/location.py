"""Find the runtime folder, and read and write its marker file.

The marker is written before anything else, so a folder without one is not ours. It says that the runtime is complete
only after the smoke test has passed.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

from .. import bounded_json
from .. import user_dirs as cache
from ..errors import FaceLiftError
from ..files import replacing
from .pins import pins

VARIABLE = "FACELIFT_PYTHON"
MARKER = "facelift-runtime.json"
LOCK = "facelift-runtime.lock"
POINTER = "runtime-folder.txt"
SUBFOLDER = "facelift-runtime"


@dataclass(frozen=True)
class Installation:
    """The content of a runtime folder's marker file.

    Attributes:
        folder: the folder that the runtime was installed into.
        complete: whether the installation finished and passed the smoke test.
        version: version of FaceLift that installed it.
        requirements: the installed requirement specifiers.
        build: PyTorch build, a name in :data:`.torch_build.BUILDS`.
        python: the Python that created the environment.
        notes: notes of the smoke test for the user.
    """

    folder: str
    complete: bool
    version: str = ""
    requirements: list[str] = field(default_factory=list)
    build: str = ""
    python: str = ""
    notes: list[str] = field(default_factory=list)

    @property
    def outdated(self) -> bool:
        """Whether this FaceLift requires other versions."""
        return _bare(self.requirements) != _bare(pins().values())


@dataclass(frozen=True)
class Found:
    """A Python to compute with, and a display name for where that choice comes from."""

    python: Path
    source: str


def default_folder() -> Path:
    """Return the default runtime folder, shared by all Blender versions and the command line."""
    return cache.data_folder() / "runtime"


def chosen_folder() -> Path:
    """Return the folder of the last installation, else the default folder."""
    with suppress(OSError):
        folder = Path((cache.data_folder() / POINTER).read_text(encoding="utf-8").strip())
        if (folder / MARKER).is_file():
            return folder
    return default_folder()


def remember(folder: Path | None) -> None:
    """Make :func:`chosen_folder` return `folder`, or the default folder if None.

    Raises:
        FaceLiftError: the user's data folder cannot be written to.
    """
    pointer = cache.data_folder() / POINTER
    if folder is None or folder == default_folder():
        with suppress(OSError):
            pointer.unlink()
        return
    with replacing(pointer) as temporary:
        pointer.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(str(folder), encoding="utf-8")


def folder_for(chosen: Path | None) -> Path:
    """Return the folder to install into: `chosen`, or a subfolder of it if it holds other files.

    Raises:
        FaceLiftError: `chosen` or the subfolder is a file, or both hold other files.
    """
    folder = (chosen_folder() if chosen is None else cache.expanded(chosen)).absolute()
    for place in (folder, folder / SUBFOLDER):
        if place.exists() and not place.is_dir():
            raise FaceLiftError(f"{place} is a file; choose a folder for PyTorch.")
        if read(place) is not None or _is_empty(place):
            return place
    raise FaceLiftError(f"{folder} holds other files; choose an empty folder for PyTorch.")


def read(folder: Path) -> Installation | None:
    """Read the marker file of a folder; None if the folder is not ours."""
    try:
        data = bounded_json.read(folder / MARKER)
        return Installation(**{f.name: data[f.name] for f in fields(Installation)})
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError):
        # There is a marker, but it is damaged.
        return Installation(str(folder), complete=False) if (folder / MARKER).is_file() else None


def write(folder: Path, made: Installation) -> None:
    """Write the marker file atomically. Raises FaceLiftError if it cannot be written."""
    with replacing(folder / MARKER) as temporary:
        folder.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps(asdict(made), indent=2, ensure_ascii=False), encoding="utf-8")


def python_in(path: Path) -> Path:
    """Return the Python of the environment `path`, or `path` itself if it is not a folder.

    Symbolic links are not resolved, because resolving them would leave the environment.
    """
    if not path.is_dir():
        return path
    candidates = [
        path / "bin" / "python",
        path / "bin" / "python3",
        path / "Scripts" / "python.exe",
        path / "python.exe",
    ]
    fallback = candidates[2 if sys.platform == "win32" else 0]
    return next((c for c in candidates if c.exists() or c.is_symlink()), fallback)


def find(preference: str = "") -> Found | None:
    """Find the Python to compute with.

    In this order: `preference`, the environment variable FACELIFT_PYTHON, the installed runtime. The first that is set
    is used, even if it does not work, so that a wrong setting is not ignored silently. An incomplete runtime does not
    count.
    """
    if preference.strip():
        return Found(python_in(cache.expanded(preference.strip())), "the preferences")
    if os.environ.get(VARIABLE, "").strip():
        return Found(python_in(cache.expanded(os.environ[VARIABLE].strip())), VARIABLE)
    folder = chosen_folder()
    made = read(folder)
    python = python_in(folder)
    if made.complete if made is not None else python.is_file():
        return Found(python, "the runtime folder")
    return None


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Context manager that locks the runtime folder. The system releases the lock when the process ends.

    Raises:
        FaceLiftError: another process holds the lock, or the folder cannot be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        stream = open(folder / LOCK, "a+b")
    except OSError as error:
        raise FaceLiftError(f"Cannot write to {folder}: {error.strerror or error}; choose another folder.") from None
    with stream:
        try:
            _lock(stream)
        except BlockingIOError:
            raise FaceLiftError(f"Another FaceLift is changing {folder}; wait until it has finished.") from None
        yield


def _lock(stream) -> None:
    if sys.platform == "win32":
        import msvcrt

        try:
            stream.seek(0)
            msvcrt.locking(stream.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            raise BlockingIOError from None
        return
    import fcntl

    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:  # the file system does not support locks: continue without one
        pass


def _is_empty(folder: Path) -> bool:
    if not folder.exists():
        return True
    return all(entry.name in (LOCK, ".DS_Store", "desktop.ini") for entry in folder.iterdir())


def _bare(requirements) -> set[str]:
    """Strip the build tag from PyTorch's version."""
    return {line.partition("+")[0] if line.startswith("torch==") else line for line in requirements}

"""Where the runtime is, and the file in its folder that tells whether it is whole.

That file is written before anything else, so that a folder without it is not ours, and says that the runtime is
complete only after the trial run.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

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
class Made:
    """What a folder of ours says of itself.

    Attributes:
        folder: where it was made.
        complete: installed to the end and tried out.
        version: of FaceLift that made it.
        requirements: what was asked for.
        build: of PyTorch, a name of :data:`.builds.BUILDS`.
        python: the one it was made with.
        notes: what the trial run found.
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
        """Whether this FaceLift asks for other versions."""
        return _bare(self.requirements) != _bare(pins().values())


@dataclass(frozen=True)
class Found:
    """A Python to compute with and where that choice comes from, for people."""

    python: Path
    source: str


def default_folder() -> Path:
    """One for all Blender versions and the command line."""
    return cache.data_folder() / "runtime"


def chosen_folder() -> Path:
    """Where the runtime was installed last, else the default."""
    with suppress(OSError):
        folder = Path((cache.data_folder() / POINTER).read_text(encoding="utf-8").strip())
        if (folder / MARKER).is_file():
            return folder
    return default_folder()


def remember(folder: Path | None) -> None:
    """Have :func:`chosen_folder` answer `folder`; None: the default.

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
    """The folder to install into when a person has chosen `chosen`: a new one in it if it holds other things.

    Raises:
        FaceLiftError: it is no folder, or one that holds a subfolder of that name with other things.
    """
    folder = (chosen_folder() if chosen is None else chosen.expanduser()).absolute()
    for place in (folder, folder / SUBFOLDER):
        if place.exists() and not place.is_dir():
            raise FaceLiftError(f"{place} is a file; choose a folder for the runtime.")
        if read(place) is not None or _is_empty(place):
            return place
    raise FaceLiftError(f"{folder} holds other files; choose an empty folder for the runtime.")


def read(folder: Path) -> Made | None:
    """What the folder says of itself; None if it is not ours."""
    try:
        data = json.loads((folder / MARKER).read_text(encoding="utf-8"))
        return Made(**{f.name: data[f.name] for f in fields(Made)})
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError):
        # Ours by its name, but of nothing it says could be relied on.
        return Made(str(folder), complete=False) if (folder / MARKER).is_file() else None


def write(folder: Path, made: Made) -> None:
    """Raises FaceLiftError if it cannot be written."""
    with replacing(folder / MARKER) as temporary:
        folder.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps(asdict(made), indent=2, ensure_ascii=False), encoding="utf-8")


def python_in(path: Path) -> Path:
    """`path`, or the Python of the environment if it is the folder of one. Links stay: they are the environment."""
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
    """The Python of the preferences, else of the environment variable FACELIFT_PYTHON, else the installed runtime.

    The first that is set is taken, also where it is wrong: what a person has set is not passed over in silence.
    A runtime of ours that is not complete is none.
    """
    if preference.strip():
        return Found(python_in(Path(preference.strip()).expanduser()), "the preferences")
    if os.environ.get(VARIABLE, "").strip():
        return Found(python_in(Path(os.environ[VARIABLE].strip()).expanduser()), VARIABLE)
    folder = chosen_folder()
    made = read(folder)
    python = python_in(folder)
    if made.complete if made is not None else python.is_file():
        return Found(python, "the runtime folder")
    return None


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep others from changing the runtime; the system lets go of it however this process ends.

    Raises:
        FaceLiftError: someone is at it, or the folder cannot be written to.
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
            raise FaceLiftError(f"Another FaceLift is working on {folder}; wait for its end.") from None
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
    except OSError:  # a file system without locks: better unlocked than not at all
        pass


def _is_empty(folder: Path) -> bool:
    if not folder.exists():
        return True
    return all(entry.name in (LOCK, ".DS_Store", "desktop.ini") for entry in folder.iterdir())


def _bare(requirements) -> set[str]:
    """Without the part of PyTorch's version that names its build."""
    return {line.partition("+")[0] if line.startswith("torch==") else line for line in requirements}

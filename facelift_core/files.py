"""Atomic writes: write to a temporary name, bring the bytes to the disk, then rename. Reads of shipped data files."""

from __future__ import annotations

import hashlib
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .errors import FaceLiftError


def read_shipped(path: Path, sha256: str, purpose: str) -> bytes:
    """Read a file that comes with FaceLift.

    Args:
        path: the file.
        sha256: its checksum, hexadecimal.
        purpose: what it does, as a verb phrase for error messages, such as "finds the features of the face".

    Raises:
        FaceLiftError: the file is missing or has another checksum.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise FaceLiftError(f"{path.name}, which {purpose}, is missing; reinstall FaceLift.") from error
    if hashlib.sha256(content).hexdigest() != sha256:
        raise FaceLiftError(f"{path.name}, which {purpose}, is damaged; reinstall FaceLift.")
    return content


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Context manager that replaces `path` atomically.

    Yields a temporary path in the same folder. If the block succeeds, the temporary file is renamed to `path`; if it
    raises, the temporary file is deleted. The temporary name keeps the suffix of `path`, because many writers choose
    the format by it. A symbolic link stays, and the file that it points to is replaced. The block may create a folder
    instead of a file; a folder can replace only an empty folder. Devices and pipes are never replaced.

    Raises:
        FaceLiftError: the file cannot be written, for example because the folder is missing or the disk is full.
    """
    path = Path(path)
    target = target_of(path)
    temporary = target.with_name(f".{path.stem[:40]}.{uuid.uuid4().hex[:8]}{path.suffix}")
    try:
        yield temporary
        put(temporary, target)
    except OSError as error:
        raise FaceLiftError(f"Cannot write {path}: {error.strerror or error}.") from error
    finally:
        with suppress(OSError):  # the parent folder itself may be the problem
            shutil.rmtree(temporary) if temporary.is_dir() else temporary.unlink()


def target_of(path: Path) -> Path:
    """Return the file to replace, behind symbolic links.

    Raises:
        FaceLiftError: it is a device or a pipe, its links lead back to themselves, or no file has such a name.
    """
    if "\0" in str(path):
        raise FaceLiftError(f"{str(path)!r} is not the name of a file.")
    target = Path(os.path.realpath(path)) if path.is_symlink() else path
    if target.is_symlink():
        raise FaceLiftError(f"Cannot write {path}: it is a link to itself.")
    if target.exists() and not target.is_file() and not target.is_dir():
        raise FaceLiftError(f"Cannot write {path}: it is a device or a pipe, not a file.")
    return target


def put(temporary: Path, path: Path) -> None:
    """Give a complete file or folder its final name once its bytes are on the disk, so that no crash leaves half of it.

    Raises:
        OSError: it cannot be renamed, or the disk is full.
    """
    if temporary.is_file():
        with open(temporary, "r+b") as file:
            os.fsync(file.fileno())
    os.replace(temporary, path)
    if os.name == "posix":
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        except OSError:  # some file systems cannot
            pass
        finally:
            os.close(folder)


def private_folder(folder: Path) -> Path:
    """Create a folder, and the missing ones above it, that only its owner can read (mode 0700), and return it.

    An existing folder is closed to others, too.

    Raises:
        OSError: it cannot be created.
    """
    for missing in reversed([each for each in (folder, *folder.parents) if not each.exists()]):
        missing.mkdir(mode=0o700, exist_ok=True)
    folder.mkdir(exist_ok=True)  # raises if it is a file
    if os.name == "posix" and folder.stat().st_mode & 0o077 and folder.stat().st_uid == os.getuid():
        folder.chmod(0o700)
    return folder

"""Atomic writes: write to a temporary name, then rename."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .errors import FaceLiftError


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Context manager that replaces `path` atomically.

    Yields a temporary path in the same folder. If the block succeeds, the temporary file is renamed to `path`; if it
    raises, the temporary file is deleted. The temporary name keeps the suffix of `path`, because many writers choose
    the format by it. The block may create a folder instead of a file; a folder can replace only an empty folder.

    Raises:
        FaceLiftError: the file cannot be written, for example because the folder is missing or the disk is full.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.stem[:40]}.{uuid.uuid4().hex[:8]}{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        raise FaceLiftError(f"Cannot write {path}: {error.strerror or error}.") from error
    finally:
        with suppress(OSError):  # the parent folder itself may be the problem
            shutil.rmtree(temporary) if temporary.is_dir() else temporary.unlink()

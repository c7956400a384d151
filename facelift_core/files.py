"""Files and folders that appear whole or not at all."""

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
    """A temporary name beside `path` to write to; it takes the place of `path` if the block ends well.

    The temporary name keeps the suffix, because writers choose their format by it. It may also become a folder, which
    replaces nothing but an empty one.

    Raises:
        FaceLiftError: the folder is missing or read-only, the disk is full; nothing is left behind.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.stem[:40]}.{uuid.uuid4().hex[:8]}{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        raise FaceLiftError(f"Cannot write {path}: {error.strerror or error}.") from error
    finally:
        with suppress(OSError):  # the folder itself may be what is wrong
            shutil.rmtree(temporary) if temporary.is_dir() else temporary.unlink()

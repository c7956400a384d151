"""Find damaged packages: pip was killed while unpacking them, or files were deleted or changed later.

An installed package has a ``.dist-info`` folder whose RECORD lists its files. pip considers a package installed if
that folder exists; without it, pip installs the package again over the existing files.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

BLOCK = 1 << 20


def site_packages(environment: Path) -> list[Path]:
    """Return the ``site-packages`` folders of an environment."""
    return [p for pattern in ("lib/python*/site-packages", "Lib/site-packages") for p in environment.glob(pattern)]


def installed(environment: Path) -> Iterator[Path]:
    """Yield the ``.dist-info`` folders of all installed packages."""
    for folder in site_packages(environment):
        yield from sorted(folder.glob("*.dist-info"))


def name_of(info: Path) -> str:
    """Return name and version of a package, such as "torch 2.13.0"."""
    return info.stem.replace("-", " ")


def damaged(environment: Path, contents: bool, check: Callable[[str], None] = lambda name: None) -> list[Path]:
    """Return the ``.dist-info`` folders of damaged packages.

    Args:
        contents: also compare the checksums of all files, which takes as long as reading them.
        check: called with the name of each package before it is checked.
    """
    found = []
    for info in installed(environment):
        check(name_of(info))
        if not _whole(info, contents):
            found.append(info)
    return found


def forget(infos: list[Path]) -> None:
    """Delete ``.dist-info`` folders, so that pip installs these packages again."""
    for info in infos:
        shutil.rmtree(info, ignore_errors=True)


def sweep(environment: Path) -> None:
    """Delete what a killed pip had set aside: files and folders whose names begin with ~."""
    for folder in site_packages(environment):
        for entry in folder.glob("~*"):
            if entry.is_dir():
                shutil.rmtree(entry, ignore_errors=True)
            else:
                with suppress(OSError):
                    entry.unlink()


def _whole(info: Path, contents: bool) -> bool:
    try:
        with open(info / "RECORD", encoding="utf-8", newline="") as stream:
            rows = [row for row in csv.reader(stream) if row]
    except (OSError, ValueError):
        return False
    if not (info / "METADATA").is_file() or not rows:
        return False
    for path, digest, size in (row[:3] for row in rows if len(row) >= 3):
        if not digest or path.endswith(".pyc"):
            continue  # RECORD itself, and bytecode that Python may recompile
        file = info.parent / path
        try:
            if size and file.stat().st_size != int(size):
                return False
        except (OSError, ValueError):
            return False
        if contents and not _same(file, digest):
            return False
    return True


def _same(file: Path, digest: str) -> bool:
    kind, _, expected = digest.partition("=")
    try:
        found = hashlib.new(kind)
        with open(file, "rb") as stream:
            while block := stream.read(BLOCK):
                found.update(block)
    except (OSError, ValueError):
        return False
    return base64.urlsafe_b64encode(found.digest()).rstrip(b"=").decode() == expected

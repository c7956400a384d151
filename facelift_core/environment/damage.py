"""Installed packages that are not whole: killed in the middle of unpacking, or with files lost or changed since.

An installed package has a ``.dist-info`` folder with a RECORD of its files. pip believes a package is there as soon
as that folder is; without it, it installs the package again over what there is.
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
    """Where the environment's packages are."""
    return [p for pattern in ("lib/python*/site-packages", "Lib/site-packages") for p in environment.glob(pattern)]


def installed(environment: Path) -> Iterator[Path]:
    """The ``.dist-info`` folders."""
    for folder in site_packages(environment):
        yield from sorted(folder.glob("*.dist-info"))


def name_of(info: Path) -> str:
    """Name and version of the package, such as "torch 2.13.0"."""
    return info.stem.replace("-", " ")


def damaged(environment: Path, contents: bool, check: Callable[[str], None] = lambda name: None) -> list[Path]:
    """The ``.dist-info`` folders of packages that are not whole.

    Args:
        contents: also compare what is in the files, which takes as long as reading them.
        check: called with each package's name before it is looked at.
    """
    found = []
    for info in installed(environment):
        check(name_of(info))
        if not _whole(info, contents):
            found.append(info)
    return found


def forget(infos: list[Path]) -> None:
    """Make pip believe that these are not installed, and remove what it has put aside while replacing others."""
    for info in infos:
        shutil.rmtree(info, ignore_errors=True)


def sweep(environment: Path) -> None:
    """Remove what a killed pip has put aside: folders whose names begin with ~."""
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
            continue  # RECORD itself, and what Python may make anew
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

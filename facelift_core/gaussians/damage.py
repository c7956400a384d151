"""What readers of Gaussian files share: one sentence for every kind of damage, and limits on what files may ask for."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from ..errors import FaceLiftError

MAX_EXPANSION = 1000
"""Compressed files may unpack to this many times their size. Real ones reach 20."""

MALFORMED = (LookupError, TypeError, AttributeError, ValueError, ArithmeticError)
"""What the use of values raises that are missing, or not of the expected kind, size or shape."""


class Damaged(Exception):
    """Says what is wrong with the file; the message follows the file name in a sentence."""


class MissingModule(FaceLiftError):
    """This Python lacks a module that the file needs; the runtime has it.

    Attributes:
        module: the module's name.
    """

    def __init__(self, path: Path, module: str) -> None:
        super().__init__(f"{path} needs the Python package “{module}”, which is not installed here.")
        self.module = module


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Context manager that turns whatever goes wrong while `path` is read into a FaceLiftError of one sentence."""
    try:
        if not path.is_file():
            raise Damaged("is not a file" if path.exists() else "does not exist")
        if path.stat().st_size == 0:
            raise Damaged("is empty")
        yield
    except Damaged as problem:
        raise FaceLiftError(f"{path} {problem}.") from None
    except OSError as error:
        raise FaceLiftError(f"Cannot read {path}: {error.strerror or error}.") from error
    except MemoryError:
        raise FaceLiftError(f"There is not enough memory to read {path}.") from None
    except ValueError as error:
        if "null byte" in str(error):  # such a path does not reach the file system
            raise FaceLiftError(f"{str(path)!r} is not the name of a file.") from None
        raise


def needed(path: Path, module: str) -> ModuleType:
    """Import `module` to read or write `path`.

    Raises:
        MissingModule: this Python lacks it.
    """
    try:
        return importlib.import_module(module)
    except ImportError:
        raise MissingModule(path, module.split(".")[0]) from None


def check_expansion(unpacked: int, packed: int) -> None:
    """Raise Damaged if `packed` bytes cannot reasonably hold `unpacked` bytes."""
    if unpacked > MAX_EXPANSION * packed:
        raise Damaged(f"is damaged: it announces {unpacked:,} bytes of data, too many for its size")

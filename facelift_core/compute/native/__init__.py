"""C++ kernels for training and refinement, compiled at first use and called through ctypes.

Each ``<name>.cpp`` in this folder is a shared library of plain C functions. The compiled file is cached in the user's
cache folder; its name contains a hash of the source, the flags and the compiler, so it is recompiled only after a
change.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import logging
import os
import platform
from pathlib import Path

import numpy as np

from ...errors import FaceLiftError
from ...files import private_folder, replacing
from ...processes import launch
from ...user_dirs import cache_folder

logger = logging.getLogger(__name__)

FLAGS = ("-O3", "-march=native", "-ffast-math", "-fno-finite-math-only", "-fopenmp", "-fPIC", "-shared", "-std=c++17")
COMPILE_SECONDS = 600.0


def compiler() -> str:
    """Return the path of the C++ compiler: ``$CXX``, g++ or clang++, the first that exists.

    Raises:
        FaceLiftError: no compiler was found.
    """
    for name in (os.environ.get("CXX"), "g++", "clang++"):
        found = launch.program(name) if name else None
        if found:
            return found
    raise FaceLiftError("No C++ compiler was found; install g++ (on Debian: “apt install g++”) or set CXX.")


@functools.cache
def load(name: str) -> ctypes.CDLL:
    """Load the library built from ``<name>.cpp``, and compile it first if it is not in the cache.

    Raises:
        FaceLiftError: there is no such source, no compiler, or the compiler failed.
    """
    source = Path(__file__).with_name(f"{name}.cpp")
    if not source.is_file():
        raise FaceLiftError(f"The source file {name}.cpp is missing; reinstall facelift-blender.")
    command = compiler()
    key = "\n".join([source.read_text(encoding="utf-8"), *FLAGS, command, platform.node(), platform.machine()])
    target = cache_folder() / "native" / f"{name}-{hashlib.sha256(key.encode()).hexdigest()[:16]}.so"
    if not target.exists():
        private_folder(target.parent)
        _compile(command, source, target)
    return ctypes.CDLL(str(target))


@functools.cache
def available(name: str) -> bool:
    """Return whether :func:`load` succeeds on this machine."""
    try:
        load(name)
    except (FaceLiftError, OSError) as error:
        logger.info("%s runs in PyTorch instead, which is slower: %s", name, error)
        return False
    return True


def pointer(array: np.ndarray, dtype: type) -> ctypes.c_void_p:
    """Return the address of a C-contiguous array of exactly this dtype, which the caller must keep alive."""
    if array.dtype != dtype or not array.flags.c_contiguous:
        raise TypeError(f"native code needs contiguous {np.dtype(dtype)}, not {array.dtype} {array.strides}")
    return ctypes.c_void_p(array.ctypes.data)


def _compile(command: str, source: Path, target: Path) -> None:
    with replacing(target) as temporary:  # atomic, because two processes may compile at once
        done = launch.run([command, *FLAGS, "-o", temporary.absolute(), source.absolute()], COMPILE_SECONDS)
        if done.returncode != 0:
            last = (done.stderr.decode(errors="replace").strip().splitlines() or ["no message"])[-1]
            raise FaceLiftError(f"{command} could not compile {source.name}: {last}")

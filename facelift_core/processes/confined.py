"""Read what others wrote in a process of its own, with limits of memory and time, whose crash does not reach ours.

:func:`run` is our side; the module that it names calls :func:`serve`.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from .. import bounded_json
from ..errors import FaceLiftError
from . import launch

WAIT = 4.0
"""The process may take this many times as long by the clock as on the processor, because others use that as well."""
ANSWER_MAX = 1 << 20
_FEW_THREADS = {"OPENBLAS_NUM_THREADS": "1", "PXR_WORK_THREAD_LIMIT": "1", "MALLOC_ARENA_MAX": "1"}
"""Each thread reserves address space, which is limited."""


class OutOfMemory(FaceLiftError):
    """The process has reached its limit of memory."""


class Crashed(FaceLiftError):
    """The process ended without an answer."""


def run(
    module: str, task: Mapping[str, Any], content: bytes = b"", *, seconds: float, memory: int
) -> tuple[dict[str, Any], bytes]:
    """Have `facelift_core.<module>`, which calls :func:`serve`, work on a task, and return what it answers.

    Args:
        module: the module.
        task: what it is to do, as JSON.
        content: bytes for it.
        seconds: processor time that it may take.
        memory: address space that it may take, in bytes, where the system can limit it.

    Raises:
        FaceLiftError: the module's own, or the process cannot be started.
        OutOfTime, OutOfMemory, Crashed: for the caller to say in a sentence of its own.
    """
    about = {"task": task, "bytes": len(content), "seconds": seconds, "memory": memory}
    done = launch.run(
        launch.command(sys.executable, module),
        WAIT * seconds,
        json.dumps(about).encode() + b"\n" + content,
        _FEW_THREADS,
        subprocess.DEVNULL,
    )
    line, _, found = done.stdout.partition(b"\n")
    if done.returncode or not line:
        out_of_time = sys.platform != "win32" and done.returncode in (-signal.SIGXCPU, -signal.SIGKILL)
        raise (launch.OutOfTime if out_of_time else Crashed)(f"exit code {done.returncode}.")
    answer = bounded_json.parse(line, ANSWER_MAX)
    if "problem" in answer:
        raise FaceLiftError(answer["problem"])
    if "out of memory" in answer:
        raise OutOfMemory("out of memory.")
    return answer, found


def serve(work: Callable[[dict[str, Any], bytes], tuple[dict[str, Any], bytes]]) -> None:
    """Read one task from standard input, call `work` with it and its bytes, and write what it returns."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # nothing that a library prints gets between
    about = bounded_json.parse(sys.stdin.buffer.readline(), ANSWER_MAX)
    content = sys.stdin.buffer.read(about["bytes"])
    _limit(about["seconds"], about["memory"])
    try:
        answer, found = work(about["task"], content)
    except MemoryError:
        answer, found = {"out of memory": True}, b""
    except FaceLiftError as error:
        ran_out = isinstance(error.__cause__, MemoryError)
        answer, found = {"out of memory": True} if ran_out else {"problem": str(error)}, b""
    answers.write(json.dumps(answer).encode() + b"\n")
    answers.write(found)
    answers.close()


def _limit(seconds: float, memory: int) -> None:
    with suppress(ImportError):  # Windows has no such limits
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        with suppress(ValueError, OSError):  # macOS does not limit address space
            resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
        resource.setrlimit(resource.RLIMIT_CPU, (int(seconds + 1), int(seconds + 1) + 2))

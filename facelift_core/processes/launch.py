"""Start child processes: this ``facelift_core`` in another Python, and programs whose output is read line by line.

:class:`Process` makes every child of this package. Its Python never imports from a folder that somebody else may write
to: it is isolated (``-I``), without variables for Python, and its working directory is empty and private.
"""

from __future__ import annotations

import os
import queue
import shutil
import signal
import site
import subprocess
import sys
import tempfile
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from .. import bounded_json
from ..errors import FaceLiftError, first_line

FOLDER = Path(__file__).parents[1]
Changes = Mapping[str, str | None]
_NONE: Changes = {}

BOOTSTRAP = """
import importlib.util, runpy, sys
folder, module, *arguments = sys.argv[1:]
spec = importlib.util.spec_from_file_location(
    "facelift_core", folder + "/__init__.py", submodule_search_locations=[folder]
)
sys.modules["facelift_core"] = package = importlib.util.module_from_spec(spec)
spec.loader.exec_module(package)
sys.argv = [module, *arguments]
runpy.run_module(module, run_name="__main__", alter_sys=True)
"""
"""Runs a module of this ``facelift_core`` in a Python that may lack the package or have another version of it. Adds no
folder to ``sys.path``, so that no other modules are imported by accident."""


def isolated(python: Path | str, *arguments: object) -> list[str]:
    """Return a command line of `python` that ignores PYTHON… variables, the user's packages, and the current folder.

    The Python of this process keeps the user's packages if this process has them, because we may be one of them.
    """
    ours = site.ENABLE_USER_SITE and str(python) == sys.executable
    return [str(python), *(("-E", "-P") if ours else ("-I",)), "-X", "utf8", *map(str, arguments)]


def command(python: Path | str, module: str, *arguments: object) -> list[str]:
    """Return the command line that runs ``facelift_core.<module>`` in `python`."""
    return isolated(python, "-c", BOOTSTRAP, FOLDER, f"facelift_core.{module}", *arguments)


def environment(offline: bool | None = True) -> dict[str, str]:
    """Return our environment variables, without those that configure Blender's own Python.

    Args:
        offline: keep the model libraries off the network; None leaves that to the user's HF_HUB_OFFLINE.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    kept.update(PYTHONSAFEPATH="1", PYTHONNOUSERSITE="1", PYTHONUTF8="1")  # for what the child itself starts
    if offline is not None:
        kept.update(dict.fromkeys(("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"), "1" if offline else "0"))
    return kept


def program(name: str) -> str | None:
    """Return the absolute path of a program on the search path, or None. The current folder does not count."""
    found = shutil.which(name)
    return found if found is not None and os.path.isabs(found) else None


class Process(subprocess.Popen):
    """A child without a window, out of reach of our Ctrl-C, in an empty folder of its own (mode 0700).

    The folder is also the child's folder for temporary files. :meth:`end` deletes it, and so does the end of this
    process, so what a killed child leaves is deleted too.

    Args:
        arguments: the command line.
        offline: see :func:`environment`.
        changes: changes to :func:`environment`; None removes a variable.
        streams: stdin, stdout, stderr as of ``subprocess.Popen``.

    Raises:
        OSError: the process cannot be started.
    """

    def __init__(
        self, arguments: Sequence[object], offline: bool | None = True, changes: Changes = _NONE, **streams: Any
    ):
        own = tempfile.mkdtemp(prefix="facelift-")
        self._remove_folder = weakref.finalize(self, shutil.rmtree, own, ignore_errors=True)
        env = {**environment(offline), **dict.fromkeys(("TMPDIR", "TEMP", "TMP"), own), **changes}
        env = {name: value for name, value in env.items() if value is not None}
        if sys.platform == "win32":
            apart = {"creationflags": subprocess.CREATE_NO_WINDOW | subprocess.BELOW_NORMAL_PRIORITY_CLASS}
        else:
            apart = {"start_new_session": True}
        super().__init__(list(map(str, arguments)), env=env, cwd=own, **streams, **apart)

    def end(self) -> None:
        """Kill the process, if it still runs, and, except on Windows, the processes it has started."""
        if self.poll() is None:
            with suppress(OSError):
                self.kill() if sys.platform == "win32" else os.killpg(self.pid, signal.SIGKILL)
        self.wait()
        self._remove_folder()


class OutOfTime(FaceLiftError):
    """A process has not ended in time and was killed."""


def run(
    arguments: Sequence[object],
    seconds: float,
    said: bytes | None = None,
    changes: Changes = _NONE,
    stderr: int = subprocess.PIPE,
) -> subprocess.CompletedProcess[bytes]:
    """Run a process to its end. `said` is its standard input; see :class:`Process` for `changes`.

    Raises:
        FaceLiftError: it cannot be started.
        OutOfTime: it has not ended after `seconds` and was killed.
    """
    streams = {"stdin": subprocess.DEVNULL if said is None else subprocess.PIPE, "stdout": subprocess.PIPE}
    try:
        with Process(arguments, changes=changes, stderr=stderr, **streams) as process:
            try:
                answer = process.communicate(said, timeout=seconds)
            finally:
                process.end()
    except subprocess.TimeoutExpired:
        raise OutOfTime(f"no answer within {seconds:.0f} seconds.") from None
    except (OSError, ValueError) as error:
        raise FaceLiftError(f"{getattr(error, 'strerror', None) or first_line(error)}.") from None
    return subprocess.CompletedProcess(arguments, process.returncode, *answer)


def ask(arguments: Sequence[object], seconds: float) -> Any:
    """Run a process and return the JSON that it prints or, if that fails, a string that says why."""
    try:
        answer = run(arguments, seconds)
    except FaceLiftError as error:
        return str(error)
    try:
        return bounded_json.parse(answer.stdout)
    except ValueError:
        words = answer.stderr.decode(errors="replace").strip().splitlines()
        return words[-1] if words else f"exit code {answer.returncode}."


def become(arguments: Sequence[str]) -> int:
    """Continue as another program in the current folder, which relative paths refer to. Returns only on Windows.

    Raises:
        OSError: the program cannot be started.
    """
    if sys.platform == "win32":
        return subprocess.call(arguments, env=environment(offline=None))
    os.execve(arguments[0], arguments, environment(offline=None))


class Child:
    """A child process whose stdout and stderr are read together, line by line.

    Use it as a context manager, which kills the process on exit.

    Args:
        arguments, changes: as of :class:`Process`.
        said: text to write to its standard input, which then stays open; None for no standard input.

    Raises:
        FaceLiftError: the process cannot be started.
    """

    def __init__(self, arguments: Sequence[object], changes: Changes = _NONE, said: str | None = None):
        self._lines: queue.Queue[str | None] = queue.Queue()
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        streams["stdin"] = subprocess.DEVNULL if said is None else subprocess.PIPE
        try:
            self._process = Process(arguments, offline=False, changes=changes, **streams)
        except OSError as error:
            raise FaceLiftError(f"Cannot start {arguments[0]}: {error.strerror or error}.") from None
        threading.Thread(target=self._read, name="FaceLift: a child's lines", daemon=True).start()
        if said is not None:
            with suppress(OSError):
                self._process.stdin.write(said.encode())
                self._process.stdin.flush()

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *_) -> None:
        self._process.end()
        if self._process.stdin is not None:
            with suppress(OSError):
                self._process.stdin.close()

    @property
    def pid(self) -> int:
        return self._process.pid

    def follow(self, each: Callable[[str | None], None], tick: float = 0.2) -> int:
        """Call `each` with every line, and with None after every `tick` seconds without one. Return the exit code."""
        while True:
            try:
                line = self._lines.get(timeout=tick)
            except queue.Empty:
                each(None)
                continue
            if line is None:
                return self._process.wait()
            each(line)

    def _read(self) -> None:
        with self._process.stdout as lines:
            for line in lines:
                self._lines.put(line.decode(errors="replace").rstrip())
        self._lines.put(None)

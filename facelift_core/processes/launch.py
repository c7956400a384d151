"""Run this ``facelift_core`` in another Python, and run child processes whose output is read line by line."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..errors import FaceLiftError

FOLDER = Path(__file__).parents[1]

BOOTSTRAP = """
import importlib.util, runpy, sys
sys.path[:] = [entry for entry in sys.path if entry]
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


def command(python: Path | str, module: str, *arguments: str) -> list[str]:
    """Return the command line that runs ``facelift_core.<module>`` in `python`."""
    return [str(python), "-c", BOOTSTRAP, str(FOLDER), f"facelift_core.{module}", *arguments]


def environment(offline: bool | None = True) -> dict[str, str]:
    """Return our environment variables, without those that configure Blender's own Python.

    Args:
        offline: keep the model libraries off the network; None leaves that to the user's HF_HUB_OFFLINE.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    kept["PYTHONIOENCODING"] = "utf-8"
    if offline is not None:
        kept.update(dict.fromkeys(("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"), "1" if offline else "0"))
    return kept


def apart() -> dict[str, Any]:
    """Return arguments of ``subprocess.Popen`` for a process without a window and out of reach of our Ctrl-C."""
    if sys.platform == "win32":
        return {"creationflags": subprocess.CREATE_NO_WINDOW | subprocess.BELOW_NORMAL_PRIORITY_CLASS}
    return {"start_new_session": True}


def ask(arguments: Sequence[str], seconds: float) -> Any:
    """Run a process and return the JSON that it prints or, if that fails, a string that says why."""
    try:
        answer = subprocess.run(
            arguments,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=seconds,
            env=environment(),
            **apart(),
        )
    except subprocess.TimeoutExpired:
        return f"no answer within {seconds:.0f} seconds."
    except OSError as error:
        return f"{error.strerror or error}."
    try:
        return json.loads(answer.stdout)
    except ValueError:
        words = answer.stderr.decode(errors="replace").strip().splitlines()
        return words[-1] if words else f"exit code {answer.returncode}."


class Child:
    """A child process whose stdout and stderr are read together, line by line.

    Use it as a context manager, which kills the process on exit.

    Args:
        arguments: the command line.
        env: the environment variables.
        said: text to write to its standard input, which then stays open; None for no standard input.

    Raises:
        FaceLiftError: the process cannot be started.
    """

    def __init__(self, arguments: Sequence[str], env: Mapping[str, str], said: str | None = None):
        self._lines: queue.Queue[str | None] = queue.Queue()
        try:
            self._process = subprocess.Popen(
                list(map(str, arguments)),
                stdin=subprocess.DEVNULL if said is None else subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=dict(env),
                cwd=tempfile.gettempdir(),
                **apart(),
            )
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
        self.kill()

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

    def kill(self) -> None:
        """Kill the process and, except on Windows, the processes it has started."""
        if self._process.poll() is None:
            with suppress(OSError):
                if sys.platform == "win32":
                    self._process.kill()
                else:
                    os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        if self._process.stdin is not None:
            with suppress(OSError):
                self._process.stdin.close()

    def _read(self) -> None:
        with self._process.stdout as lines:
            for line in lines:
                self._lines.put(line.decode(errors="replace").rstrip())
        self._lines.put(None)

"""For scripts that run inside Blender's Python, each in a process of its own with an empty user folder."""

import os
import resource
import sys
import time
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

import bpy

addon_utils = import_module("addon_utils")  # there only once bpy is
PACKAGE = "bl_ext.user_default.facelift"
PHOTO = Path(os.environ["TEST_PHOTO"])


def install() -> None:
    """The real zip, as a person installs it."""
    result = bpy.ops.extensions.package_install_files(
        filepath=os.environ["TEST_ZIP"], repo="user_default", enable_on_install=True, overwrite=True
    )
    assert result == {"FINISHED"} and PACKAGE in bpy.context.preferences.addons


def preferences():
    return bpy.context.preferences.addons[PACKAGE].preferences


def session():
    return import_module(f"{PACKAGE}.reconstruct.session")


def timer():
    """The extension's job queue is its ``jobs``."""
    return import_module(f"{PACKAGE}.jobs.timer")


def last_head():
    """What the last job made."""
    return session().head_of(session().session.last)


def error_of(operator, **arguments) -> str:
    """The sentence with which `operator` refuses; it must refuse, and without a traceback."""
    try:
        result = operator(**arguments)
    except RuntimeError as error:
        assert "Traceback" not in str(error), error
        return str(error)
    raise AssertionError(f"{operator} returned {result}")


def gone(pid: int, seconds: float = 10.0) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        state = Path(f"/proc/{pid}/stat")
        if not state.exists() or state.read_text().rsplit(")", 1)[1].split()[0] == "Z":
            return True
        time.sleep(0.05)
    return False


@contextmanager
def limit(kind, most):
    before = resource.getrlimit(kind)
    resource.setrlimit(kind, (most, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(kind, before)


def no_space(most):
    """No file of this process, or of one that it starts, grows beyond `most` bytes."""
    return limit(resource.RLIMIT_FSIZE, most)


def no_memory(more):
    """This process gets at most `more` bytes beyond what it has."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return limit(resource.RLIMIT_AS, pages * resource.getpagesize() + more)


@contextmanager
def case(name: str):
    """One case of several in a script; its name is in the output if it fails."""
    print(f"-- {name}", flush=True)
    yield


def finish() -> None:
    """Without waiting for what Blender frees at its end."""
    print("ALL GOOD", flush=True)
    sys.exit(0)

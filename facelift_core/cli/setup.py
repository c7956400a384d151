"""``facelift setup``: the environment with PyTorch, made, checked, repaired or removed."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from pathlib import Path

from ..environment import check, install, location, pip, remove
from ..environment import torch_build as builds
from ..environment.install_plan import make_plan
from ..errors import FaceLiftError
from ..processes import launch
from ..processes.protocol import Emit, Event, Progress
from .console import say
from .options import UsageError

EPILOG = """\
pip's own settings hold, too: PIP_INDEX_URL, PIP_EXTRA_INDEX_URL, HTTPS_PROXY, pip.conf. An installation that was
interrupted goes on where it stopped when the command is given again."""


def add_parser(commands) -> None:
    parser = commands.add_parser(
        "setup",
        help="install PyTorch and what else is needed",
        description="Make the environment with PyTorch in which FaceLift computes, in a folder of its own.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--check", metavar="PYTHON", nargs="?", const="", help="only tell whether this Python would do")
    what.add_argument("--repair", action="store_true", help="compare every file and install again what is damaged")
    what.add_argument("--remove", action="store_true", help="remove the environment")
    parser.add_argument("--folder", type=Path, help="where to (default: the user's data folder)")
    parser.add_argument("--python", type=Path, help="the Python 3.11 to 3.13 to make it with (default: this one)")
    names = sorted({build.name for each in builds.BUILDS.values() for build in each})
    parser.add_argument(
        "--build", choices=("auto", *names), default="auto", help="of PyTorch (default: what fits the graphics card)"
    )
    parser.add_argument("--wheels", metavar="FOLDER", type=Path, help="install from this folder, without internet")
    parser.add_argument("--index-url", metavar="URL", default="", help="package index in place of PyPI and PyTorch's")
    parser.add_argument("--proxy", metavar="URL", default="", help="as http://name:password@host:port")
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask before downloading")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    if options.check is not None:
        return _check(options.check)
    if options.wheels is not None and (options.index_url or options.proxy):
        raise UsageError("--wheels needs no internet: leave out --index-url and --proxy.")
    if options.remove:
        return _remove(options)
    sources = pip.Sources(options.index_url, options.proxy, options.wheels and options.wheels.absolute())
    plan = make_plan(options.folder, options.python, _build(options), sources)
    say(plan.text)
    if plan.note:
        say(plan.note)
    if not options.yes and not _agreed("Install this?"):
        raise FaceLiftError("Nothing was installed; --yes installs without asking.")
    with _shown() as emit:
        made = install.install(plan, emit, lambda: False, repair=options.repair)
    for note in made.notes:
        say(note)
    print(f"{location.python_in(plan.folder)}: {plan.build.label}, installed and tried out")
    return 0


def hand_over(arguments: list[str]) -> int | None:
    """Run the command line `arguments` in the runtime if this Python has no PyTorch; None if it has.

    Raises:
        FaceLiftError: there is no PyTorch anywhere.
    """
    import importlib.util

    if importlib.util.find_spec("torch") is not None:
        return None
    found = location.find()
    if found is None or location.python_in(found.python) == Path(sys.executable):
        raise FaceLiftError("This Python has no PyTorch; “facelift setup” installs it in a folder of its own.")
    command = launch.command(found.python, "__main__", *arguments)
    environment = launch.environment(offline=None)
    if sys.platform == "win32":
        import subprocess

        return subprocess.call(command, env=environment)
    try:
        os.execve(command[0], command, environment)
    except OSError as error:
        raise FaceLiftError(f"The runtime's Python {command[0]} cannot be started: {error.strerror}.") from None


def _build(options: argparse.Namespace) -> str:
    """What was asked for; for a repair, what is there."""
    if options.repair and options.build == "auto":
        made = location.read(location.folder_for(options.folder))
        return made.build or "auto" if made is not None else "auto"
    return options.build


def _check(text: str) -> int:
    found = location.find(text)
    if found is None:
        raise FaceLiftError("No runtime is installed; “facelift setup” does it.")
    result = check.thorough_check(found.python)
    source = "" if text else f" (from {found.source})"
    print(f"{found.python}{source}: Python {result.python or 'unknown'}")
    if result.packages:
        print(", ".join(f"{name} {version}" for name, version in result.packages.items()))
    for note in result.notes:
        print(note)
    if result.problems:
        raise FaceLiftError(" ".join(result.problems))
    print("It can run FaceLift.")
    return 0


def _remove(options: argparse.Namespace) -> int:
    folder = (options.folder or location.chosen_folder()).absolute()
    if not options.yes and not _agreed(f"Remove the runtime in {folder}?"):
        raise FaceLiftError("Nothing was removed; --yes removes without asking.")
    others = remove.uninstall(folder)
    print(f"{folder}: removed" + (f", except what is not of the runtime: {', '.join(others)}" if others else ""))
    return 0


def _agreed(question: str) -> bool:
    """Whether a person says yes; without one to ask, nobody has."""
    if not sys.stdin.isatty():
        return False
    try:
        return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        return False


class _shown:
    """Shows an installation: one line that changes on a terminal, else a line for each step and each tenth."""

    def __enter__(self) -> Emit:
        self._terminal = sys.stderr.isatty()
        self._step: tuple[str, int] = ("", 0)
        return self._show

    def __exit__(self, *_) -> None:
        if self._terminal:
            print("\r\033[K", end="", file=sys.stderr, flush=True)

    def _show(self, event: Event) -> None:
        if not isinstance(event, Progress):
            return
        rest = f", about {time.strftime('%H:%M:%S', time.gmtime(event.left))} left" if event.left else ""
        line = f"{100 * event.fraction:3.0f} % {event.message}{rest}"
        if self._terminal:
            width = shutil.get_terminal_size().columns - 1
            print(f"\r\033[K{line[:width]}", end="", file=sys.stderr, flush=True)
            return
        step = (event.stage, int(10 * event.fraction))
        if step != self._step:
            self._step = step
            say(line)

"""``facelift setup``: install, check, repair or remove the runtime, the environment with PyTorch."""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from pathlib import Path

from ..environment import check, install, location, pip, remove
from ..environment import torch_build as builds
from ..environment.install_plan import plan_installation
from ..errors import FaceLiftError
from ..processes import launch
from ..processes.protocol import Emit, Event, Progress
from ..user_dirs import check_home
from .console import say
from .options import UsageError

EPILOG = """\
pip's own settings also apply: PIP_INDEX_URL, PIP_EXTRA_INDEX_URL, HTTPS_PROXY, pip.conf. If an installation is
interrupted, run the same command again to resume it."""


def add_parser(commands) -> None:
    parser = commands.add_parser(
        "setup",
        help="install PyTorch and other dependencies",
        description="Install the runtime (PyTorch and other dependencies) in its own folder.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "--check",
        metavar="PYTHON",
        nargs="?",
        const="",
        help="only check whether this Python (default: the runtime) works",
    )
    what.add_argument("--repair", action="store_true", help="compare all files and reinstall damaged packages")
    what.add_argument("--remove", action="store_true", help="remove the runtime")
    parser.add_argument("--folder", type=Path, help="folder of the runtime (default: in the user's data folder)")
    parser.add_argument("--python", type=Path, help="the Python 3.11 to 3.13 to create it with (default: this one)")
    names = sorted({build.name for each in builds.BUILDS.values() for build in each})
    parser.add_argument(
        "--build", choices=("auto", *names), default="auto", help="PyTorch build (default: to match the graphics card)"
    )
    parser.add_argument("--wheels", metavar="FOLDER", type=Path, help="install offline from this folder of wheels")
    parser.add_argument(
        "--index-url", metavar="URL", default="", help="package index to use instead of PyPI and PyTorch's"
    )
    parser.add_argument("--proxy", metavar="URL", default="", help="proxy, such as http://name:password@host:port")
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask before downloading")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    if options.check is not None:
        return _check(options.check)
    if options.wheels is not None and (options.index_url or options.proxy):
        raise UsageError("--wheels installs offline: omit --index-url and --proxy.")
    if options.remove:
        return _remove(options)
    if options.folder is None:
        check_home()
    sources = pip.Sources(options.index_url, options.proxy, options.wheels and options.wheels.absolute())
    plan = plan_installation(options.folder, options.python, _build(options), sources)
    say(plan.text)
    if plan.note:
        say(plan.note)
    if not options.yes and not _agreed("Install this?"):
        raise FaceLiftError("Nothing was installed; use --yes to install without confirmation.")
    with _shown() as emit:
        made = install.install(plan, emit, lambda: False, repair=options.repair)
    for note in made.notes:
        say(note)
    print(f"{location.python_in(plan.folder)}: {plan.build.label}, installed and tested")
    return 0


def hand_over(arguments: list[str]) -> int | None:
    """Run the command in the runtime if this Python lacks PyTorch.

    Args:
        arguments: arguments of the command line.

    Returns:
        The exit code, or None if this Python has PyTorch.

    Raises:
        FaceLiftError: no runtime is installed, or it cannot be started.
    """
    import importlib.util

    if importlib.util.find_spec("torch") is not None:
        return None
    found = location.find()
    if found is None or location.python_in(found.python) == Path(sys.executable):
        raise FaceLiftError("This Python does not have PyTorch; run “facelift setup” to install the runtime.")
    command = launch.command(found.python, "__main__", *arguments)
    try:
        return launch.become(command)
    except OSError as error:
        raise FaceLiftError(f"Cannot start the runtime's Python {command[0]}: {error.strerror}.") from None


def _build(options: argparse.Namespace) -> str:
    """Return the requested build; for a repair, the installed one by default."""
    if options.repair and options.build == "auto":
        made = location.read(location.folder_for(options.folder))
        return made.build or "auto" if made is not None else "auto"
    return options.build


def _check(text: str) -> int:
    found = location.find(text)
    if found is None:
        raise FaceLiftError("No runtime is installed; run “facelift setup” to install it.")
    result = check.thorough_check(found.python)
    source = "" if text else f" (from {found.source})"
    print(f"{found.python}{source}: Python {result.python or 'unknown'}")
    if result.packages:
        print(", ".join(f"{name} {version}" for name, version in result.packages.items()))
    for note in result.notes:
        print(note)
    if result.problems:
        raise FaceLiftError(" ".join(result.problems))
    print("This Python can run FaceLift.")
    return 0


def _remove(options: argparse.Namespace) -> int:
    folder = (options.folder or location.chosen_folder()).absolute()
    if not options.yes and not _agreed(f"Remove the runtime in {folder}?"):
        raise FaceLiftError("Nothing was removed; use --yes to remove without confirmation.")
    others = remove.uninstall(folder)
    print(
        f"{folder}: removed"
        + (f", except files that do not belong to the runtime: {', '.join(others)}" if others else "")
    )
    return 0


def _agreed(question: str) -> bool:
    """Ask the user to confirm. Return False if standard input is not a terminal."""
    if not sys.stdin.isatty():
        return False
    try:
        return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        return False


class _shown:
    """Context manager that shows an installation: a single updated line on a terminal, otherwise one line per stage
    and per tenth of the progress."""

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

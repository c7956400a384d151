"""Install and repair the runtime.

:func:`install` turns a folder in any state into a complete runtime with the current versions. Until it has finished,
the marker file says that the runtime is incomplete, so that an unfinished installation is never used.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .. import __version__
from ..errors import Cancelled, FaceLiftError
from ..processes import launch
from ..processes.protocol import Emit, Log, Progress
from ..progress import Cancel
from . import damage, location, pip, smoke_test
from .install_plan import InstallPlan, size_text
from .location import Installation
from .pins import PIP, PYTHONS, locked
from .remove import ENVIRONMENT, LOG, remove

PROBE = """
import json, sys
try:
    import pip
    version = [int(part) for part in pip.__version__.split(".")[:2] if part.isdigit()]
except Exception:
    version = []
print(json.dumps([sys.version_info[:2], version]))
"""
PROBE_SECONDS = 300.0
LOGGED = 2000
"""Generous, because virus scanners can make a working environment very slow."""


def install(plan: InstallPlan, emit: Emit, cancelled: Cancel, repair: bool = False) -> Installation:
    """Install the runtime into the plan's folder and test it. Packages that are already installed are kept.

    Args:
        plan: see :func:`.install_plan.plan_installation`.
        emit: called with :class:`~facelift_core.processes.protocol.Progress` and
            :class:`~facelift_core.processes.protocol.Log` events.
        cancelled: polled; returns true to stop.
        repair: compare the checksums of all installed files, which takes as long as reading them.

    Raises:
        FaceLiftError: the installation failed. The next call resumes it.
        Cancelled: `cancelled` returned true. The next call resumes the installation.
    """
    if plan.free < plan.needed:
        raise FaceLiftError(
            f"Installing into {plan.folder} needs {size_text(plan.needed)} of disk space, and only "
            f"{size_text(plan.free)} are free; free some space, or choose a folder on another disk."
        )
    with location.locked(plan.folder), _Teller.to(plan.folder / LOG, emit, cancelled) as tell:
        before = location.read(plan.folder)
        made = Installation(
            str(plan.folder), False, __version__, list(plan.requirements), plan.build.name, str(plan.python)
        )
        location.write(plan.folder, made)
        with _disk_errors(plan.folder):
            _drop_damaged(plan.folder, repair, tell)
            python, version = _environment(plan, tell)
            if before is not None and before.build not in ("", plan.build.name):
                _run(launch.isolated(python, "-m", "pip", "uninstall", "--yes", "torch"), plan.folder, tell)
            _packages(plan, python, version, tell)
            notes = _try_out(plan, python, tell)
            shutil.rmtree(plan.folder / pip.DOWNLOADS, ignore_errors=True)
        made = replace(made, complete=True, notes=notes)
        location.write(plan.folder, made)
        location.remember(plan.folder)
        tell("done", 1.0, "PyTorch is installed and works.")
        return made


@dataclass
class _Teller:
    """Send progress and log lines to the caller, write the log file, and check for cancellation."""

    emit: Emit
    cancelled: Cancel
    stream: Any

    @classmethod
    @contextmanager
    def to(cls, path: Path, emit: Emit, cancelled: Cancel) -> Iterator[_Teller]:
        try:
            stream = open(path, "a", encoding="utf-8")
        except OSError as error:
            raise FaceLiftError(f"Cannot write {path}: {error.strerror or error}.") from None
        with stream:
            tell = cls(emit, cancelled, stream)
            try:
                tell.log(f"{time.strftime('%Y-%m-%d %H:%M:%S')} FaceLift {__version__}")
                yield tell
            except (FaceLiftError, Cancelled) as error:
                tell.log(str(error))
                raise

    def __call__(self, stage: str, fraction: float, message: str, left: float | None = None) -> None:
        self.check()
        self.emit(Progress(stage, fraction, message, left))

    def check(self) -> None:
        if self.cancelled():
            raise Cancelled

    def log(self, line: str) -> None:
        with suppress(OSError, ValueError):  # a full disk will be reported by the installation itself
            self.stream.write(line + "\n")
            self.stream.flush()
        self.emit(Log(line))


def _environment(plan: InstallPlan, tell: _Teller) -> tuple[Path, tuple[int, ...]]:
    """Create the environment or its pip, if missing or broken; return its Python and the version of pip."""
    tell("python", 0.08, "Creating the environment")
    python = location.python_in(plan.folder)
    found, version = _probe(python) if python.exists() else ((), ())
    if not PYTHONS[0] <= found <= PYTHONS[1]:
        # An environment of another Python version cannot be reused: its packages are compiled for that version.
        for name in ENVIRONMENT:
            remove(plan.folder / name)
        _run(launch.isolated(plan.python, "-m", "venv", plan.folder), plan.folder, tell)
        python = location.python_in(plan.folder)
        found, version = _probe(python)
    elif not version:
        _remove_pip(plan.folder)
        _run(launch.isolated(python, "-m", "ensurepip"), plan.folder, tell)
        found, version = _probe(python)
    if not version:
        raise FaceLiftError(f"{plan.python} created an environment that does not work; choose another Python.")
    return python, version


def _probe(python: Path) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the versions of an environment's Python and pip; empty tuples if they do not work."""
    answer = launch.ask(launch.isolated(python, "-c", PROBE), PROBE_SECONDS)
    return (tuple(answer[0]), tuple(answer[1])) if isinstance(answer, list) else ((), ())


def _drop_damaged(folder: Path, contents: bool, tell: _Teller) -> None:
    """Delete the records of damaged packages, so that pip installs them again."""
    damage.sweep(folder)
    count = max(1, sum(1 for _ in damage.installed(folder)))
    seen = 0

    def check(name: str) -> None:
        nonlocal seen
        seen += 1
        tell("check", 0.08 * seen / count, f"Checking {name}")

    found = damage.damaged(folder, contents, check)
    for info in found:
        tell.log(f"{damage.name_of(info)} is damaged and will be reinstalled")
    damage.forget(found)
    if any(info.name.startswith("pip-") for info in found):
        _remove_pip(folder)


def _remove_pip(folder: Path) -> None:
    for site in damage.site_packages(folder):
        for path in [site / "pip", *site.glob("pip-*.dist-info")]:
            remove(path)


def _packages(plan: InstallPlan, python: Path, version: tuple[int, ...], tell: _Teller) -> None:
    """Install PyTorch and then what is locked. Each package has one source, so no index can offer another's names."""
    tell("packages", 0.1, "Looking for the downloads")
    if version < tuple(map(int, PIP.partition(">=")[2].split("."))):
        version = _bring_pip(plan, python, version, tell)
    sources, build = plan.sources, plan.build
    rest = locked(build_on_pypi=not build.own_index)
    torch = [line for line in plan.requirements if line.startswith("torch==")] if build.own_index else []
    if sources.wheels is not None:
        _check_wheels(sources.wheels, [*torch, *(line.partition(" --hash")[0] for line in rest)], python)
    share = 0.9 if torch else 0.0
    if torch:
        own = bool(sources.index_url or sources.wheels) or pip.has_own_index(python, plan.folder)
        first = sources if own else replace(sources, index_url=build.index)
        torch = torch if own else [f"{line}+{build.name}" for line in torch]
        _install(plan, python, version, torch, first, tell, 0.0, share)
    _install(plan, python, version, rest, sources, tell, share, 1.0)


def _install(
    plan: InstallPlan,
    python: Path,
    version: tuple[int, ...],
    requirements: list[str],
    sources: pip.Sources,
    tell: _Teller,
    start: float,
    end: float,
) -> None:
    """Install requirements from one source, reported as the part from `start` to `end` of all packages."""
    meter = pip.Meter(round(plan.build.download * (end - start)))
    before = {info.name for info in damage.installed(plan.folder)}

    def each(line: str | None) -> None:
        if line is not None and meter.read(line):
            tell.log(line[:LOGGED])
        part, stage, message = 0.75 * meter.fraction, "packages", meter.message
        if meter.unpacking:
            done = len({info.name for info in damage.installed(plan.folder)} - before)
            part, stage = 0.75 + 0.25 * min(1.0, done / len(meter.unpacking)), "unpack"
            message = f"Unpacking: {done} of {len(meter.unpacking)} packages"
        tell(stage, 0.1 + 0.75 * (start + (end - start) * part), message, meter.left)

    pip.install(python, plan.folder, requirements, sources, version, each, tell.cancelled)


def _bring_pip(plan: InstallPlan, python: Path, version: tuple[int, ...], tell: _Teller) -> tuple[int, ...]:
    """Upgrade pip to a version that resumes interrupted downloads and return its version.

    For an installation from a folder of wheels, the old pip is good enough if the folder has no newer one.
    """
    if plan.sources.wheels is not None and not any(plan.sources.wheels.glob("pip-*.whl")):
        return version

    def each(line: str | None) -> None:
        if line and not line.startswith("Progress "):
            tell.log(line)

    pip.install(python, plan.folder, ["--upgrade", PIP], plan.sources, version, each, tell.cancelled)
    return _probe(python)[1]


def _check_wheels(wheels: Path, requirements: list[str], python: Path) -> None:
    missing = launch.ask(launch.command(python, "environment.wheelhouse", str(wheels), *requirements), 300.0)
    if isinstance(missing, str):
        raise FaceLiftError(f"Cannot read the wheels in {wheels}: {missing}")
    if missing:
        version = json.dumps(
            launch.ask(launch.isolated(python, "-c", "import sys; print(list(sys.version_info[:2]))"), 60.0)
        )
        version = ".".join(version.strip("[]").split(", "))
        raise FaceLiftError(f"{wheels} lacks wheels for Python {version} on this system: {', '.join(missing)}.")


def _try_out(plan: InstallPlan, python: Path, tell: _Teller) -> list[str]:
    """Run the smoke test; return notes for the user, such as that the graphics card cannot be used."""
    folder = plan.folder / pip.DOWNLOADS / "trial"

    def say(message: str) -> None:
        tell("trial", 0.9, f"Testing: {message}")

    say("starting")
    wanted = plan.build.device
    try:
        summary = smoke_test.run(python, folder, "auto", say, tell.cancelled)
    except FaceLiftError as error:
        if wanted == "cpu":
            raise FaceLiftError(f"PyTorch is installed but does not work: {error}") from None
        tell.log(str(error))
        try:
            smoke_test.run(python, folder, "cpu", say, tell.cancelled)
        except FaceLiftError as again:
            raise FaceLiftError(f"PyTorch is installed but does not work: {again}") from None
        return [f"The GPU cannot be used, so the CPU is used instead: {error}"]
    tell.log(f"Tested on {summary.get('device')}: {summary.get('gaussians'):,} Gaussians")
    if wanted != "cpu" and str(summary.get("device")).startswith("cpu"):
        return ["PyTorch is installed but does not find the GPU; the CPU is used instead."]
    return []


def _run(command: list[str], folder: Path, tell: _Teller) -> None:
    said: list[str] = []

    def hear(line: str | None) -> None:
        tell.check()
        if line:
            said.append(line)
            tell.log(line)

    with launch.Child(command, pip.environment(folder)) as child:
        code = child.follow(hear)
    if code:
        text = "\n".join(said)
        if "ensurepip" in text and sys.platform.startswith("linux"):
            raise FaceLiftError(
                f"{command[0]} cannot create environments because it lacks ensurepip; on Debian and Ubuntu, install it "
                "with “sudo apt install python3-venv”."
            )
        raise FaceLiftError(pip.failure(said, folder, pip.Sources(), code).replace("pip failed", "venv failed"))


@contextmanager
def _disk_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise FaceLiftError(pip.failure([f"ERROR: {error}"], folder, pip.Sources())) from None

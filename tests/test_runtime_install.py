"""Installing for real: pip, environments and an index on localhost; only the packages and the trial run are small."""

import errno
import hashlib
import importlib.metadata
import os
import shutil
import subprocess
import sys
import threading
import time
from collections import namedtuple
from dataclasses import replace
from pathlib import Path

import pytest
from package_index import Index, make_wheel, serving
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from facelift_core.cli import main
from facelift_core.environment import check, install, location, pip, remove
from facelift_core.environment import install_plan as plan
from facelift_core.environment import smoke_test as trial
from facelift_core.environment.install_plan import plan_installation
from facelift_core.errors import Cancelled, FaceLiftError
from facelift_core.processes import launch
from facelift_core.processes.protocol import Event, Log, Progress

PINS = {"numpy": "numpy>=2.0,<3", "torch": "torch==2.13.0", "einops": "einops==0.8.2"}
BALLAST = 300_000


@pytest.fixture(scope="session")
def template(tmp_path_factory) -> Path:
    """An environment with nothing but pip; making one takes seconds, copying it a fraction."""
    folder = tmp_path_factory.mktemp("template") / "env"
    subprocess.run([sys._base_executable, "-m", "venv", folder], check=True)
    return folder


@pytest.fixture(scope="session")
def wheels(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheels")
    make_wheel(folder, "numpy", "2.1.0", size=BALLAST)
    make_wheel(folder, "numpy", "1.26.0")
    make_wheel(folder, "torch", "2.13.0", ["sympy>=1"], size=BALLAST)
    make_wheel(folder, "sympy", "1.14.0")
    make_wheel(folder, "einops", "0.8.2")
    make_wheel(folder, "einops", "0.8.3")
    return folder


def lock_of(wheels: Path, einops: list[str]) -> list[str]:
    """What is installed besides PyTorch, with the hashes of the files."""
    names = {"numpy": "2.1.0", "einops": einops[0]}
    paths = {name: wheels / f"{name}-{version}-py3-none-any.whl" for name, version in names.items()}
    hashes = {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in paths.items()}
    return [f"{name}=={version} --hash=sha256:{hashes[name]}" for name, version in names.items()]


@pytest.fixture
def einops() -> list[str]:
    """The version that is locked; a test may change it."""
    return ["0.8.2"]


@pytest.fixture
def index(wheels):
    with serving(wheels) as running:
        yield running


@pytest.fixture
def folder(tmp_path, monkeypatch, template, wheels, einops) -> Path:
    """Where to install: a name with spaces and letters of other languages; pip's settings are none of the machine's."""
    for name in [n for n in os.environ if n.startswith("PIP_") or n.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_RETRIES", "0")
    monkeypatch.setenv("PIP_TRUSTED_HOST", "127.0.0.1")  # pip keeps nothing of plain HTTP otherwise
    monkeypatch.delenv(location.VARIABLE, raising=False)
    monkeypatch.setattr(location.cache, "data_folder", lambda: tmp_path / "data")
    monkeypatch.setattr(plan, "pins", lambda: PINS)
    monkeypatch.setattr(location, "pins", lambda: PINS)
    monkeypatch.setattr(install, "locked", lambda build_on_pypi: lock_of(wheels, einops))
    monkeypatch.setattr(install, "PIP", "pip>=20.0")  # the one of the template will do
    monkeypatch.setattr(trial, "run", lambda *_: {"device": "cpu", "gaussians": 7})
    monkeypatch.setattr(plan, "MARGIN", 0)
    wanted = tmp_path / "Laufzeit für Köpfe"
    shutil.copytree(template, wanted, symlinks=True)
    location.write(wanted, location.Installation(str(wanted), False))
    return wanted


def planned(folder: Path, index: Index | None = None, **sources) -> plan.InstallPlan:
    given = pip.Sources(index_url=index.url if index else "", **sources)
    made = plan_installation(folder, Path(sys._base_executable), "cpu", given)
    return replace(made, build=replace(made.build, download=10**6, disk=10**6))


def run(made: plan.InstallPlan, cancelled=lambda: False, each=lambda event: None, repair: bool = False) -> list[Event]:
    events = []

    def emit(event: Event) -> None:
        events.append(event)
        each(event)

    install.install(made, emit, cancelled, repair)
    return events


def lines(events: list[Event]) -> list[str]:
    return [event.line for event in events if isinstance(event, Log)]


def site(folder: Path) -> Path:
    (found,) = folder.glob("L*ib/site-packages" if sys.platform == "win32" else "lib/python*/site-packages")
    return found


def refusal(made: plan.InstallPlan, **arguments) -> str:
    """The sentence of an installation that must fail, leave nothing that looks usable, and tell it in the log."""
    with pytest.raises(FaceLiftError) as error:
        run(made, **arguments)
    assert location.find() is None and not location.read(made.folder).complete
    assert str(error.value) in (made.folder / remove.LOG).read_text(encoding="utf-8")
    return str(error.value)


def test_install_from_nothing(folder, index):
    shutil.rmtree(folder)
    events = run(planned(folder, index))
    made = location.read(folder)
    assert made.complete and made.build == "cpu" and made.requirements == list(PINS.values())
    assert location.chosen_folder() == folder and location.find().python == location.python_in(folder)
    assert {"numpy", "torch", "sympy", "einops"} <= {path.name for path in site(folder).iterdir()}
    assert not (folder / pip.DOWNLOADS).exists(), "what was downloaded is not kept twice"
    fractions = [event.fraction for event in events if isinstance(event, Progress)]
    assert fractions == sorted(fractions) and fractions[-1] == 1.0
    stages = list(dict.fromkeys(event.stage for event in events if isinstance(event, Progress)))
    assert stages[0] == "python" and stages[-2:] == ["trial", "done"]
    assert any("torch-2.13.0" in line for line in lines(events))
    asked = len(index.asked)
    run(planned(folder, index))
    assert not [path for path in index.asked[asked:] if path.startswith("/files/")], "what is there stays"


def test_killed_in_the_middle_of_a_download_it_goes_on(folder, index, monkeypatch):
    index.holds.add("torch-2.13.0-py3-none-any.whl")
    children = []

    class Child(launch.Child):
        def __init__(self, *arguments, **named):
            super().__init__(*arguments, **named)
            children.append(self.pid)

    monkeypatch.setattr(launch, "Child", Child)

    def kill() -> None:
        assert index.held.wait(60)
        os.kill(children[-1], 9)

    threading.Thread(target=kill).start()
    assert "killed" in refusal(planned(folder, index))
    (problem,) = check.quick_check(location.python_in(folder)).problems
    assert "is incomplete" in problem
    index.holds.clear()
    assert planned(folder, index).resumes
    run(planned(folder, index))
    assert location.read(folder).complete
    assert index.served["numpy-2.1.0-py3-none-any.whl"] < 2 * BALLAST, "downloaded once"


def test_cancelled_in_the_middle_of_a_download(folder, index):
    index.holds.add("torch-2.13.0-py3-none-any.whl")
    with pytest.raises(Cancelled):
        run(planned(folder, index), cancelled=index.held.is_set)
    assert location.find() is None and not (site(folder) / "torch").exists()
    index.go_on.set()
    run(planned(folder, index))
    assert location.read(folder).complete and index.served["numpy-2.1.0-py3-none-any.whl"] < 2 * BALLAST


PARENT = """
import os, sys
from pathlib import Path
from facelift_core.environment import pip
from facelift_core.processes import launch

class Child(launch.Child):
    def __init__(self, *arguments, **named):
        super().__init__(*arguments, **named)
        print(self.pid, flush=True)

launch.Child = Child
folder, url = Path(sys.argv[2]), sys.argv[3]
pip.install(Path(sys.argv[1]), folder, ["torch"], pip.Sources(url), (0,), lambda line: None, lambda: False)
"""


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks at processes in /proc")
def test_pip_ends_with_the_program_that_started_it(folder, index):
    index.holds.add("torch-2.13.0-py3-none-any.whl")
    environment = {**os.environ, "PYTHONPATH": str(launch.FOLDER.parent)}
    command = [sys.executable, "-c", PARENT, location.python_in(folder), folder, index.url]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as parent:
        child = Path("/proc") / parent.stdout.readline().strip()
        assert index.held.wait(60) and child.exists()
        parent.kill()
    deadline = time.monotonic() + 30
    while child.exists() and ") Z" not in (child / "stat").read_text():
        assert time.monotonic() < deadline, "pip goes on without anybody"
        time.sleep(0.05)


def test_connection_cut_in_the_middle_of_a_wheel(folder, index):
    index.cuts.add("torch-2.13.0-py3-none-any.whl")
    said = refusal(planned(folder, index))
    assert "connection was lost" in said or "was damaged or changed during the download" in said, said
    index.cuts.clear()
    run(planned(folder, index))
    assert location.read(folder).complete


@pytest.mark.parametrize("damage", ["unpacking", "lost", "changed"])
def test_damage_is_found_and_repaired(folder, index, damage):
    run(planned(folder, index))
    module = site(folder) / "torch" / "__init__.py"
    good = module.read_bytes()
    if damage == "unpacking":  # killed before RECORD was written
        module.unlink()
        (site(folder) / "torch-2.13.0.dist-info" / "RECORD").unlink()
        (site(folder) / "~orch").mkdir()
    elif damage == "lost":
        module.unlink()
    else:
        module.write_bytes(bytes(len(good)))
    events = run(planned(folder, index), repair=damage == "changed")
    assert module.read_bytes() == good and not (site(folder) / "~orch").exists()
    assert "torch 2.13.0 is damaged and will be reinstalled" in lines(events)
    assert not any("numpy 2.1.0 is damaged" in line for line in lines(events))


def test_environment_whose_python_is_gone_is_made_anew(folder, index, template, monkeypatch):
    run(planned(folder, index))
    monkeypatch.setattr(
        install, "_run", lambda *_: shutil.copytree(template, folder, symlinks=True, dirs_exist_ok=True)
    )
    for python in (folder / ("Scripts" if sys.platform == "win32" else "bin")).glob("python*"):
        python.unlink()
    assert "no Python at" in check.quick_check(location.python_in(folder)).problems[0]
    assert "Repair" in check.quick_check(location.python_in(folder)).problems[0]
    run(planned(folder, index), repair=True)
    assert (site(folder) / "torch").exists() and location.read(folder).complete


@pytest.mark.parametrize("lost", ["__init__.py", "_internal/commands/debug.py"])
def test_pip_that_is_damaged_is_brought_back(folder, index, lost):
    run(planned(folder, index))
    torch = (site(folder) / "torch" / "__init__.py").stat().st_ino
    (site(folder) / "pip" / lost).unlink()
    run(planned(folder, index), repair=True)
    assert (site(folder) / "pip" / lost).is_file() and location.read(folder).complete
    assert (site(folder) / "torch" / "__init__.py").stat().st_ino == torch, "the rest stays as it is"


def test_other_pins_and_other_builds_replace_what_is_there(folder, index, monkeypatch, einops):
    run(planned(folder, index))
    monkeypatch.setattr(plan, "pins", lambda: {**PINS, "einops": "einops==0.8.3"})
    monkeypatch.setattr(location, "pins", lambda: {**PINS, "einops": "einops==0.8.3"})
    einops[0] = "0.8.3"
    assert location.read(folder).outdated
    run(planned(folder, index))
    assert not location.read(folder).outdated and (site(folder) / "einops-0.8.3.dist-info").exists()
    location.write(folder, replace(location.read(folder), build="cu126"))
    events = run(planned(folder, index))
    assert any("Uninstalling torch-2.13.0" in line for line in lines(events))
    assert (site(folder) / "torch").exists() and location.read(folder).build == "cpu"


def test_each_package_has_one_source(folder, index, monkeypatch):
    """PyTorch's builds come from its index alone, everything else from the other, with hashes."""
    asked = []
    monkeypatch.setattr(pip, "install", lambda *arguments: asked.append((arguments[2], arguments[3].index_url)))
    run(planned(folder))
    (torch, its_index), (rest, other) = asked
    assert torch == ["torch==2.13.0+cpu"] and its_index == "https://download.pytorch.org/whl/cpu"
    assert other == "" and len(rest) == 2 and all("--hash=sha256:" in line for line in rest)
    asked.clear()
    run(planned(folder, index))
    assert [source for _, source in asked] == [index.url] * 2 and asked[0][0] == ["torch==2.13.0"]
    asked.clear()
    monkeypatch.setenv("PIP_INDEX_URL", index.url)
    run(planned(folder))
    assert asked[0] == (["torch==2.13.0"], "")
    asked.clear()
    made = planned(folder)
    run(replace(made, build=replace(made.build, own_index=False)))
    assert len(asked) == 1, "what is on PyPI is locked with everything else"


def test_another_file_under_the_same_name_is_refused(folder, index, wheels, tmp_path):
    """An index may list other files and their true hashes: they are not the locked ones."""
    other = tmp_path / "other wheels"
    shutil.copytree(wheels, other)
    make_wheel(other, "einops", "0.8.2", size=10)
    with serving(other) as bad:
        said = refusal(planned(folder, bad))
    assert "checksum" in said and "einops" in said, said
    assert not (site(folder) / "einops").exists()


def test_the_lock_is_complete():
    """Every tested version is in it, everything has hashes, and what a build brings itself is left out."""
    from facelift_core.environment.pins import locked, pins

    lines = locked(build_on_pypi=True)
    assert len(lines) > 50 and all("--hash=sha256:" in line and "==" in line.partition(" ")[0] for line in lines)
    bare = {line.partition(" ")[0].lower().replace("_", "-") for line in lines}
    assert {line.lower().replace("_", "-") for line in pins().values()} <= bare
    small = locked(build_on_pypi=False)
    assert len(small) < len(lines) and not [line for line in small if line.startswith(("torch==", "nvidia", "triton"))]
    assert any(line.startswith("sympy==") for line in small)


def test_the_lock_fits_the_requirements():
    """Someone who changes requirements.txt and forgets “make lock” hears of it, without a network."""
    from facelift_core.environment.pins import locked, pins

    entries = [Requirement(line.partition(" --hash")[0]) for line in locked(build_on_pypi=True)]
    here = [entry for entry in entries if entry.marker is None or entry.marker.evaluate()]
    lock = {canonicalize_name(entry.name): next(iter(entry.specifier)).version for entry in here}
    assert len(lock) == len(here)
    waiting = [Requirement(line) for line in pins().values()]
    reached, missing = set(), []
    while waiting:
        wanted = waiting.pop()
        name = canonicalize_name(wanted.name)
        applies = wanted.marker is None or wanted.marker.evaluate({"extra": ""})
        if applies and not wanted.specifier.contains(lock.get(name, "0"), prereleases=True):
            missing.append(str(wanted))
        if name in reached:
            continue
        reached.add(name)
        try:
            needs = [Requirement(line) for line in importlib.metadata.requires(name) or ()]
        except importlib.metadata.PackageNotFoundError:  # of another system
            continue
        optional = [need for need in needs if need.marker is not None and "extra" in str(need.marker)]
        chosen = [need for need in optional if any(need.marker.evaluate({"extra": each}) for each in wanted.extras)]
        waiting += [need for need in needs if need not in optional] + chosen
    assert not missing, f"run “make lock”: {missing}"
    ours = [Requirement(line.partition(" --hash")[0]) for line in locked(build_on_pypi=False)]  # not PyTorch's build
    strays = sorted({canonicalize_name(entry.name) for entry in ours} - reached)
    assert not strays, f"run “make lock”: nothing needs {strays} any more"


# What goes wrong


def test_wrong_checksum(folder, index):
    index.false_hashes.add("torch-2.13.0-py3-none-any.whl")
    assert "torch-2.13.0-py3-none-any.whl is wrong" in refusal(planned(folder, index))
    assert not (site(folder) / "torch").exists()


def test_password_wanted_and_given(folder, index):
    index.password = "anna:secret"
    assert "127.0.0.1 denies access" in refusal(planned(folder, index))
    good = replace(planned(folder, index), sources=pip.Sources(index.url.replace("//", "//anna:secret@")))
    run(good)
    assert location.read(folder).complete
    written = (folder / remove.LOG).read_text() + (folder / location.MARKER).read_text()
    assert "secret" not in written


@pytest.mark.parametrize("status, words", [(404, "returned error 404"), (503, "returned error 503")])
def test_file_that_the_index_names_and_does_not_have(folder, index, status, words):
    index.status["/files/torch"] = status
    assert words in refusal(planned(folder, index))


def test_package_that_the_index_does_not_have(folder, index):
    index.status["/simple/torch"] = 404
    assert "has no torch==2.13.0 for this Python" in refusal(planned(folder, index))


def test_index_that_cannot_be_reached(folder, index):
    nowhere = replace(index, url="http://127.0.0.1:9/simple")
    assert "127.0.0.1 cannot be reached" in refusal(planned(folder, nowhere))


def test_proxy_of_the_environment_and_of_the_option(folder, index, monkeypatch):
    outside = replace(index, url="http://packages.invalid/simple")
    assert "if you trust it, set PIP_TRUSTED_HOST" in refusal(planned(folder, outside))
    monkeypatch.setenv("PIP_TRUSTED_HOST", "packages.invalid")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    assert "proxy cannot be reached" in refusal(planned(folder, outside))
    monkeypatch.setenv("HTTP_PROXY", index.proxy)
    run(planned(folder, outside))
    assert "http://packages.invalid/simple/torch/" in index.asked
    monkeypatch.delenv("HTTP_PROXY")
    remove.remove(site(folder) / "torch-2.13.0.dist-info")
    run(planned(folder, outside, proxy=index.proxy))
    assert location.read(folder).complete


def test_disk_that_is_too_small_from_the_start(folder, index, monkeypatch):
    shutil.rmtree(folder)
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(plan.shutil, "disk_usage", lambda _: usage(10**12, 10**12 - 10**6, 10**6))
    made = planned(folder, index)
    with pytest.raises(FaceLiftError, match=r"of disk space, and only 1 MB are free"):
        run(made)
    assert not folder.exists() and "1 MB free" in made.text


def test_disk_full_in_the_middle(folder, index):
    (site(folder) / "full.py").write_text(f"""
import tempfile
def mkdtemp(*_, **__):
    raise OSError({errno.ENOSPC}, "No space left on device")
tempfile.mkdtemp = mkdtemp
""")
    full = site(folder) / "full.pth"
    full.write_text("import full")
    assert f"The disk of {folder} is full" in refusal(planned(folder, index))
    full.unlink()
    run(planned(folder, index))
    assert location.read(folder).complete


def test_disk_full_for_our_own_files(folder, index, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(trial, "run", full)
    assert f"The disk of {folder} is full" in refusal(planned(folder, index))


def test_trial_that_fails_leaves_no_runtime_and_a_card_that_fails_leaves_a_note(folder, index, monkeypatch):
    def fails(python, where, device, tell, cancelled):
        if device == "auto":
            raise FaceLiftError("CUDA says no.")
        return {"device": "cpu", "gaussians": 7}

    monkeypatch.setattr(trial, "run", fails)
    made = planned(folder, index)
    assert "installed but does not work: CUDA says no." in refusal(made)
    run(replace(made, build=replace(made.build, device="cuda")))
    assert location.read(folder).notes == ["The GPU cannot be used, so the CPU is used instead: CUDA says no."]
    assert location.find() is not None


# Without internet


def test_from_a_folder_of_wheels(folder, wheels, index, monkeypatch):
    monkeypatch.setenv("PIP_INDEX_URL", index.url)
    run(planned(folder, wheels=wheels))
    assert location.read(folder).complete and index.asked == []


def test_from_a_folder_that_lacks_wheels(folder, wheels, tmp_path):
    poor = tmp_path / "poor wheels"
    poor.mkdir()
    for name in ("torch-2.13.0", "numpy-1.26.0"):
        shutil.copy(wheels / f"{name}-py3-none-any.whl", poor)
    said = refusal(planned(folder, wheels=poor))
    assert "lacks wheels for Python 3." in said
    for name in ("einops==0.8.2", "sympy>=1", "numpy==2.1.0 (there is one of another version)"):
        assert name in said
    with pytest.raises(FaceLiftError, match="does not exist"):
        planned(folder, wheels=tmp_path / "nowhere")


# Removing


def test_uninstall_takes_what_is_ours_and_nothing_else(folder, index):
    run(planned(folder, index))
    (folder / "photos").mkdir()
    assert remove.uninstall(folder) == ["photos"] and [p.name for p in folder.iterdir()] == ["photos"]
    assert location.find() is None
    with pytest.raises(FaceLiftError, match="was not created by Install PyTorch"):
        remove.uninstall(folder)


def test_uninstall_of_all_removes_the_folder(folder, index):
    run(planned(folder, index))
    assert remove.uninstall(folder) == [] and not folder.exists()


def test_uninstall_refuses_folders_of_others(folder, tmp_path):
    other = tmp_path / "home"
    (other / "bin").mkdir(parents=True)
    (other / "bin" / "tool").touch()
    with pytest.raises(FaceLiftError, match="nothing was removed"):
        remove.uninstall(other)
    shutil.copy(folder / location.MARKER, other)  # such as a backup that was unpacked here
    with pytest.raises(FaceLiftError, match="manually"):
        remove.uninstall(other)
    assert (other / "bin" / "tool").exists()
    link = tmp_path / "link"
    link.symlink_to(folder)
    with pytest.raises(FaceLiftError, match="nothing was removed"):
        remove.uninstall(link)
    assert (folder / "pyvenv.cfg").exists()


# The command


def setup(folder: Path, *arguments: object) -> int:
    return main(["setup", "--folder", str(folder), "--build", "cpu", *map(str, arguments)])


def test_command_asks_before_anything(tmp_path, folder, index, capsys):
    assert setup(tmp_path / "new", "--index-url", index.url) == 1
    assert "Nothing was installed; use --yes" in capsys.readouterr().err
    assert index.asked == [] and not (tmp_path / "new").exists()


def test_command_installs_checks_and_removes(folder, index, capsys):
    assert setup(folder, "--index-url", index.url, "--yes", "--python", sys._base_executable) == 0
    captured = capsys.readouterr()
    assert "installed and tested" in captured.out and "Download: about" in captured.err
    assert location.find().python == location.python_in(folder)
    assert main(["setup", "--check"]) == 1
    assert "lacks diffusers, transformers" in capsys.readouterr().err
    assert setup(folder, "--remove") == 1 and folder.exists()
    assert setup(folder, "--remove", "--yes") == 0 and not folder.exists()
    assert setup(folder, "--wheels", folder, "--proxy", "http://x") == 2
    assert main(["setup", "--check"]) == 1
    assert "run “facelift setup”" in capsys.readouterr().err


def test_commands_without_pytorch_say_so(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(launch.FOLDER.parent), "XDG_DATA_HOME": str(tmp_path)}
    environment.pop(location.VARIABLE, None)
    command = [sys._base_executable, "-S", "-m", "facelift_core", "reconstruct", "me.jpg", "-o", "head.ply"]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1 and "run “facelift setup”" in done.stderr and "Traceback" not in done.stderr


def test_commands_without_pytorch_run_in_the_runtime(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(launch.FOLDER.parent), location.VARIABLE: sys.executable}
    command = [sys._base_executable, "-S", "-m", "facelift_core", "render", "nowhere.ply", "-o", "head.png"]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1 and "nowhere.ply" in done.stderr and "setup" not in done.stderr, done.stderr

"""What a runtime is made of on which machine, and what pip's lines mean: no processes, no network."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from package_index import make_wheel

from facelift_core.environment import check, location, machine, pins, pip, pythons, wheelhouse
from facelift_core.environment import smoke_test as trial
from facelift_core.environment import torch_build as builds
from facelift_core.environment.machine import Machine
from facelift_core.errors import FaceLiftError
from facelift_core.processes import launch

LINUX, WINDOWS = Machine("linux", "x86_64"), Machine("win32", "x86_64")


def nvidia(base: Machine, driver: str, capability: tuple[int, int] | None) -> Machine:
    return replace(base, maker="nvidia", card="Card", driver=tuple(map(int, driver.split("."))), capability=capability)


@pytest.mark.parametrize(
    "machine_, name, own_index, note",
    [
        (LINUX, "cpu", True, ""),
        (WINDOWS, "cpu", False, ""),
        (Machine("darwin", "arm64", "Apple GPU", "apple"), "mps", False, ""),
        (replace(LINUX, maker="amd", card="AMD gfx1100"), "rocm7.2", True, ""),
        (nvidia(LINUX, "580.65.06", (8, 6)), "cu130", False, ""),
        (nvidia(WINDOWS, "581.29", (8, 9)), "cu130", True, ""),
        (nvidia(LINUX, "590.10", (12, 0)), "cu130", False, ""),
        (nvidia(LINUX, "570.124.06", (8, 6)), "cu126", True, ""),
        (nvidia(WINDOWS, "528.33", (7, 5)), "cu126", True, ""),
        (nvidia(LINUX, "580.65.06", (6, 1)), "cu126", True, ""),
        (nvidia(LINUX, "580.65.06", (7, 0)), "cu126", True, ""),
        (nvidia(LINUX, "545.29.06", None), "cu126", True, ""),
        (nvidia(LINUX, "470.256.02", (8, 6)), "cpu", True, "update its driver"),
        (nvidia(LINUX, "572.16", (12, 0)), "cpu", True, "update its driver to 580"),
        (nvidia(LINUX, "470.256.02", (3, 5)), "cpu", True, "too old"),
    ],
    ids=str,
)
def test_build_for_machine(machine_, name, own_index, note):
    build, said = builds.choose(machine_)
    assert build.name == name and build.own_index is own_index and note in said and bool(note) == bool(said)
    assert build.index.endswith(name) if own_index else build.index == ""
    assert 0 < build.download < build.disk


def test_machines_without_any_pytorch():
    for wrong in (Machine("darwin", "x86_64"), Machine("linux", "riscv64"), Machine("freebsd14", "x86_64")):
        with pytest.raises(FaceLiftError, match="PyTorch"):
            builds.choose(wrong)
    with pytest.raises(FaceLiftError, match=r"use one of cu130, cu126, rocm7\.2, cpu"):
        builds.choose(LINUX, "cu999")
    assert builds.choose(nvidia(LINUX, "580.65", (8, 6)), "cpu")[0].name == "cpu"


def test_several_cards_the_newest_counts():
    said = "NVIDIA GeForce GTX 1080, 581.29, 6.1\nNVIDIA GeForce RTX 4090, 581.29, 8.9\n\nsome, nonsense, line\n"
    assert machine.best_nvidia(said) == ("NVIDIA GeForce RTX 4090", (581, 29), (8, 9))
    assert machine.best_nvidia("Tesla K80, 470.82.01") == ("Tesla K80", (470, 82, 1), None)
    assert machine.best_nvidia("NVIDIA-SMI has failed because it could not communicate with the driver") == (
        "",
        (),
        None,
    )


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the stand-in for nvidia-smi is a script with #!")
def test_asking_the_driver(tmp_path, monkeypatch):
    program = tmp_path / "nvidia-smi"
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(machine, "KFD_NODES", tmp_path / "nodes")
    for script, expected in {
        "echo 'NVIDIA A100, 580.65.06, 8.0'": ("nvidia", (8, 0)),
        "case $1 in *compute_cap*) exit 2;; esac; echo 'GTX 980, 460.32.03'": (
            "nvidia",
            None,
        ),
        "echo 'No devices were found'": ("", None),
        "exit 9": ("", None),
    }.items():
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        found = machine.detect()
        assert (found.maker, found.capability) == expected, script
    node = tmp_path / "nodes" / "1"
    node.mkdir(parents=True)
    (tmp_path / "nodes" / "0").mkdir()
    (tmp_path / "nodes" / "0" / "properties").write_text("gfx_target_version 0\n")
    (node / "properties").write_text("cpu_cores_count 0\ngfx_target_version 110002\nvendor_id 4098\n")
    assert (machine.detect().maker, machine.detect().card) == ("amd", "AMD gfx1102")


def test_pins_have_everything_that_is_checked():
    assert set(check.MODULES) <= set(pins.pins())


def test_package_versions_that_are_too_old():
    assert check.too_old("1.26.4", "numpy>=2.0,<3") and not check.too_old("2.0.1", "numpy>=2.0,<3")
    assert check.too_old("4.57.1", "transformers==5.23.0") and not check.too_old("5.0.0", "transformers==5.23.0")
    assert not check.too_old("2.14.1+cu130", "torch==2.13.0") and not check.too_old("", "torch==2.13.0")
    assert check.too_old("4.8.1", "opencv-python-headless>=4.10,<6")


# A Python to make it with


def script(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


@pytest.mark.skipif(sys.platform == "win32", reason="the stand-ins for Python are scripts with #!")
@pytest.mark.parametrize(
    "answer, words",
    [
        (
            {"version": [3, 14, 0], "bits": 64, "lacks": []},
            "is Python 3.14.0, but PyTorch needs Python",
        ),
        ({"version": [3, 10, 4], "bits": 64, "lacks": []}, "is Python 3.10.4"),
        ({"version": [3, 12, 0], "bits": 32, "lacks": []}, "32-bit"),
        ({"version": [3, 12, 0], "bits": 64, "lacks": ["ensurepip"]}, "python3.12-venv"),
        ({"version": [3, 12, 0], "bits": 64, "lacks": []}, ""),
    ],
    ids=str,
)
def test_pythons_that_will_not_do(tmp_path, answer, words):
    python = script(tmp_path / "python", f"echo '{json.dumps(answer)}'")
    problem = pythons.unfit(python)
    assert words in problem and bool(words) == bool(problem)
    if words and "venv" not in words:
        with pytest.raises(FaceLiftError, match="Python"):
            pythons.choose(python)


@pytest.mark.skipif(sys.platform == "win32", reason="the stand-ins for Python are scripts with #!")
def test_blenders_python_will_not_do_and_the_systems_does(tmp_path, monkeypatch):
    poor = script(tmp_path / "blenders", """echo '{"version": [3, 14, 0], "bits": 64, "lacks": []}'""")
    good = script(tmp_path / "python3.12", """echo '{"version": [3, 12, 3], "bits": 64, "lacks": []}'""")
    monkeypatch.setattr(sys, "executable", str(poor))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert pythons.choose() == good
    good.unlink()
    with pytest.raises(FaceLiftError, match=r"is Python 3\.14\.0"):
        pythons.choose()


# Folders


@pytest.fixture
def data(tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr(location.cache, "data_folder", lambda: tmp_path / "data")
    monkeypatch.delenv(location.VARIABLE, raising=False)
    return tmp_path / "data"


def test_folder_with_other_things_gets_a_new_one_inside(tmp_path, data):
    assert location.folder_for(None) == data / "runtime"
    assert location.folder_for(tmp_path / "new one") == tmp_path / "new one"
    (tmp_path / "file").touch()
    assert location.folder_for(tmp_path) == tmp_path / location.SUBFOLDER
    with pytest.raises(FaceLiftError, match="is a file"):
        location.folder_for(tmp_path / "file")
    (tmp_path / location.SUBFOLDER).mkdir()
    (tmp_path / location.SUBFOLDER / "photo.jpg").touch()
    with pytest.raises(FaceLiftError, match="holds other files"):
        location.folder_for(tmp_path)


def test_only_a_complete_runtime_is_found(tmp_path, data):
    folder = tmp_path / "elsewhere ü"
    python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    python.parent.mkdir(parents=True)
    python.touch()
    made = location.Installation(str(folder), False, "0.1", list(pins.pins().values()), "cpu", "python")
    location.write(folder, made)
    location.remember(folder)
    assert location.chosen_folder() == folder and location.find() is None
    (problem,) = check.quick_check(python).problems
    assert "is incomplete" in problem
    location.write(folder, replace(made, complete=True))
    assert location.find().python == python and not location.read(folder).outdated
    for text in ("", "[]", "{}", '{"complete": true}'):
        (folder / location.MARKER).write_text(text)
        assert location.read(folder).complete is False and location.find() is None
    location.remember(None)
    assert location.chosen_folder() == data / "runtime"


def test_other_pins_make_it_outdated_but_the_build_does_not():
    lines = list(pins.pins().values())
    tagged = [f"{line}+cu126" if line.startswith("torch==") else line for line in lines]
    assert not location.Installation("", True, requirements=tagged).outdated
    assert location.Installation("", True, requirements=[*lines[:-1], "tqdm==1.0"]).outdated


def test_only_one_at_a_time(tmp_path):
    code = f"""
import sys
sys.path.insert(0, {str(launch.FOLDER.parent)!r})
from pathlib import Path
from facelift_core.environment import location
try:
    with location.locked(Path(sys.argv[1])):
        print('"entered"')
except location.FaceLiftError as error:
    import json
    print(json.dumps(str(error)))
"""
    with location.locked(tmp_path / "x"):
        assert "Another FaceLift is changing" in launch.ask([sys.executable, "-c", code, str(tmp_path / "x")], 60)
    assert launch.ask([sys.executable, "-c", code, str(tmp_path / "x")], 60) == "entered"


# Whether a Python will do


@pytest.mark.skipif(sys.platform == "win32", reason="the stand-ins for Python are scripts with #!")
def test_runtime_is_looked_for_in_order(tmp_path, monkeypatch, fake):
    monkeypatch.delenv(location.VARIABLE, raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert location.find() is None
    if sys.platform == "linux":
        own = tmp_path / "data" / "facelift" / "runtime" / "bin" / "python"
        own.parent.mkdir(parents=True)
        own.touch()
        assert location.find().python == own
    monkeypatch.setenv(location.VARIABLE, str(fake))
    assert location.find().python == fake
    assert location.find(str(tmp_path / "nowhere")).python == tmp_path / "nowhere"
    assert location.find(str(fake.parents[1])).python == fake, "the folder of an environment will do"


@pytest.mark.skipif(sys.platform == "win32", reason="the stand-ins for Python are scripts with #!")
def test_quick_check_says_what_is_missing(tmp_path, fake):
    good = check.quick_check(fake)
    assert good.problems == () and good.python == "3.12.0" and "tested with" in good.notes[0]
    assert "no Python at" in check.quick_check(tmp_path / "nowhere").problems[0]
    assert "not a working Python" in check.quick_check(Path(__file__)).problems[0]
    for text, word in {
        "echo hello": "not a working Python",
        """echo '{"python": [3, 8, 1], "packages": {}}'""": "Python 3.8.1",
        "exit 3": "exit code 3",
        "sleep 5": "no answer",
    }.items():
        script = tmp_path / "script"
        script.write_text(f"#!/bin/sh\n{text}\n")
        script.chmod(0o755)
        problems = check.quick_check(script, seconds=1.0).problems
        assert word in problems[0], problems
    script.write_text("""#!/bin/sh\necho '{"python": [3, 12, 1], "packages": {"numpy": "2.0"}}'\n""")
    (problem,) = check.quick_check(script).problems
    assert "lacks torch, diffusers" in problem and "pip install" in problem and "torch==" in problem


@pytest.mark.slow
def test_thorough_check_of_this_python(weights_folder):
    result = check.thorough_check(Path(sys.executable), str(weights_folder))
    assert result.problems == ()
    assert result.info["devices"]["cpu"] and result.info["weights"][str(weights_folder)]["bytes"] > 0


# pip's lines

LINES = """\
Collecting numpy>=2.0,<3
  Downloading numpy-2.4.6-cp311-cp311-manylinux_2_28_x86_64.whl (16.6 MB)
Progress 0 of 16600000
Progress 16600000 of 16600000
Collecting torch==2.13.0
  Downloading torch-2.13.0-cp311-cp311-manylinux_2_28_x86_64.whl (526.6 MB)
Progress 0 of 526600000
Progress 263300000 of 526600000"""


def test_meter_counts_bytes_then_packages(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(pip.time, "monotonic", lambda: clock[0])
    meter, shown = pip.Meter(1_000_000_000), []
    for line in LINES.splitlines():
        clock[0] += 1.0
        shown.append(meter.read(line))
    assert shown == [True, True, False, False, True, True, False, False]
    assert meter.got == 16_600_000 and meter.fraction == pytest.approx(0.2799)
    assert meter.message == "Downloading torch: 263 of 527 MB"
    assert 5 < meter.left < 40
    meter.read("  Using cached diffusers-0.42.1-py3-none-any.whl (6.4 MB)")
    assert meter.got == 16_600_000 + 526_600_000 + 6_400_000
    meter.read("Installing collected packages: numpy, torch, diffusers")
    assert meter.unpacking == ["numpy", "torch", "diffusers"] and meter.fraction == 1.0 and meter.left is None


@pytest.mark.parametrize(
    "line, words",
    [
        (
            "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device",
            "disk of {folder} is",
        ),
        (
            "WARNING: Retrying (Retry(total=4)) after connection broken by 'NewConnectionError(\"HTTPSConnection(host="
            "'packages.example', port=443): Failed to establish a new connection: [Errno 111] Connection refused\")'",
            "packages.example cannot be reached",
        ),
        (
            "WARNING: Retrying after connection broken by 'SSLError(SSLCertVerificationError(1, '[SSL: "
            "CERTIFICATE_VERIFY_FAILED] certificate verify failed'))': https://packages.example/simple/torch/",
            "certificate of packages.example is not trusted",
        ),
        (
            "ERROR: 403 Client Error: Forbidden for url: https://packages.example/simple/torch/",
            "packages.example denies access",
        ),
        (
            "WARNING: Retrying after 'ProxyError('Unable to connect to proxy', OSError('Tunnel connection failed: 407 "
            "Proxy Authentication Required'))'",
            "proxy requires a user name",
        ),
        ("WARNING: 'ProxyError('Cannot connect to proxy.', ConnectionRefusedError(111))'", "proxy cannot be reached"),
        ("ERROR: HTTP error 503 while getting https://packages.example/torch.whl", "returned error 503"),
        ("pip._vendor.urllib3.exceptions.ReadTimeoutError: Read timed out.", "connection was lost"),
        ("ERROR: No matching distribution found for torch==2.13.0", "has no torch==2.13.0 for this Python"),
        ("ERROR: something else went wrong", "pip failed: something else went wrong"),
    ],
)
def test_what_pip_says_becomes_a_sentence(tmp_path, line, words):
    said = pip.failure(["Collecting torch==2.13.0", line], tmp_path, pip.Sources())
    assert words.format(folder=tmp_path) in said and "\n" not in said
    assert "memory" in pip.failure([], tmp_path, pip.Sources(), -9)


def test_wheels_that_a_folder_lacks(tmp_path):
    make_wheel(tmp_path, "torch", "2.13.0", ["sympy>=1.13", 'triton==3; sys_platform == "nowhere"', "extras[deep]"])
    make_wheel(tmp_path, "extras", "1.0", ['buried>2; extra == "deep"', 'other; extra == "none"'])
    make_wheel(tmp_path, "numpy", "1.26.0")
    make_wheel(tmp_path, "einops", "0.8.2", tag="cp311-cp311-win32")
    (tmp_path / "strange.whl").touch()
    assert wheelhouse.lacking(tmp_path, ["torch==2.13.0", "numpy>=2.0,<3", "einops==0.8.2"]) == [
        "buried>2",
        "einops==0.8.2 (there is one for another Python or system)",
        "numpy<3,>=2.0 (there is one of another version)",
        "sympy>=1.13",
    ]


# The trial run


@pytest.mark.slow
def test_trial_of_this_python(tmp_path):
    said = []
    summary = trial.run(Path(sys.executable), tmp_path, "cpu", said.append, lambda: False)
    assert summary["gaussians"] > 100 and summary["device"] == "cpu" and said


def test_trial_of_a_python_without_pytorch_and_of_none(tmp_path):
    bare = Path(sys._base_executable)
    with pytest.raises(FaceLiftError, match="cannot run FaceLift"):
        trial.run(bare, tmp_path, "cpu", lambda _: None, lambda: False)
    with pytest.raises(FaceLiftError, match="Cannot start"):
        trial.run(tmp_path / "none", tmp_path, "cpu", lambda _: None, lambda: False)

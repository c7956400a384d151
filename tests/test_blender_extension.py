"""The real zip in real Blenders: the Pythons in FACELIFT_BPY_PYTHONS, which have the bpy package."""

import importlib.util
import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import blenders
import pytest
from blenders import PYTHONS, in_each_blender, needs_blender
from PIL import Image
from test_blender_jobs import HEAD, HERE, PICTURE, fake, gone  # noqa: F401

WORKER = os.environ.get("FACELIFT_PYTHON") or sys.executable
SCRIPTS = HERE / "blender"


def load_build():
    spec = importlib.util.spec_from_file_location("build_extension", HERE.parent / "build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def package(tmp_path_factory) -> Path:
    return load_build().build(tmp_path_factory.mktemp("dist"), PYTHONS)


@pytest.fixture(params=PYTHONS or [None], ids=blenders.name)
def blender(request, package, tmp_path):
    """Run a script of tests/blender in one Blender's Python with an empty user folder; returns what it printed."""
    python = request.param

    def run(script: str, *arguments: str, runtime: Path | str = WORKER, minutes: float = 9.0, **variables: str) -> str:
        environment = {
            **os.environ,
            "BLENDER_USER_RESOURCES": str(tmp_path / "user"),
            "XDG_DATA_HOME": str(tmp_path / "data"),  # neither a runtime nor weights of this machine's user
            "FACELIFT_PYTHON": str(runtime),
            "TEST_ZIP": str(package),
            "TEST_PHOTO": str(PICTURE),
            "TEST_SCRIPTS": str(SCRIPTS),
            **variables,
        }
        (tmp_path / "user").mkdir(exist_ok=True)
        done = subprocess.run(
            [python, SCRIPTS / script, *arguments],
            env=environment,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=60 * minutes,
        )
        said = done.stdout + done.stderr
        assert done.returncode == 0 and "ALL GOOD" in done.stdout, said[-6000:]
        return said

    run.python = python
    return run


@needs_blender
def test_reconstruct_save_reload_export(blender, weights_folder):
    blender("reconstruct.py", TEST_WEIGHTS=str(weights_folder))


def python_of(python: Path | str) -> tuple[str, str]:
    """Version and folder of packages."""
    ask = "import sys, sysconfig; print(*sys.version_info[:2], sep='.'); print(sysconfig.get_path('purelib'))"
    return tuple(subprocess.run([python, "-c", ask], capture_output=True, text=True, check=True).stdout.splitlines())


@needs_blender
def test_reconstruct_inside_blender(blender, weights_folder):
    """With the worker's packages; how it refuses without any is in reconstruct.py."""
    (version, packages), (own, _) = python_of(WORKER), python_of(blender.python)
    if own != version:
        pytest.skip(f"the packages are for Python {version}, this Blender's is {own}")
    said = blender("in_process.py", TEST_WEIGHTS=str(weights_folder), TEST_PACKAGES=packages)
    assert "Traceback" not in said, said[-6000:]


@needs_blender
def test_abuse(blender, fake):  # noqa: F811
    said = blender("abuse.py", "quit", runtime=fake, FAKE_STEP="0.03")
    assert gone(int(re.search(r"worker (\d+)", said)[1])), "a worker outlived a Blender that was quit"
    assert "Traceback" not in said, said[-6000:]


@needs_blender
@in_each_blender
def test_headless_writes_a_blend_and_a_render(python, fake, tmp_path):  # noqa: F811
    def run(*arguments: object) -> subprocess.CompletedProcess:
        command = [python, "-m", "facelift_blender.headless", *map(str, arguments), "--size", "48"]
        environment = {**os.environ, "BLENDER_USER_RESOURCES": str(tmp_path), "FACELIFT_PYTHON": str(fake)}
        return subprocess.run(
            command, cwd=HERE.parent, env=environment, capture_output=True, text=True, timeout=300, errors="replace"
        )

    blend, picture = tmp_path / "head.blend", tmp_path / "head.png"
    done = run(PICTURE, "-o", blend, "--render", picture)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert blend.stat().st_size > 10000
    with Image.open(picture) as image:
        alpha = image.convert("RGBA").getchannel("A")
    assert alpha.getextrema()[1] > 20, "the head is in the picture"
    assert alpha.getpixel((0, 0)) == 0, "and the film is transparent around it"
    done = run(HEAD, "--head", "-o", tmp_path / "again.blend")
    assert done.returncode == 0 and (tmp_path / "again.blend").exists(), done.stderr[-3000:]
    done = run(tmp_path / "nowhere.png", "-o", blend)
    assert done.returncode == 1 and "no photo at" in done.stderr and "Traceback" not in done.stderr


@needs_blender
def test_package_is_valid_for_every_blender_and_has_an_index(package):
    index = json.loads((package.parent / "index.json").read_text())
    (entry,) = index["data"]
    assert entry["id"] == "facelift" and entry["archive_url"].endswith(package.name)


def test_package_is_reproducible_and_pure(tmp_path):
    build = load_build()
    packages = [build.build(tmp_path / name) for name in ("one", "two")]
    assert packages[0].read_bytes() == packages[1].read_bytes()
    with zipfile.ZipFile(packages[0]) as archive:
        names = archive.namelist()
    assert {"__init__.py", "blender_manifest.toml", "LICENSE", "facelift_core/jobs/worker.py"} <= set(names)
    assert "facelift_core/align/weights/mtcnn.safetensors" in names
    # Refinement compiles its own loops on the person's machine, where there is a compiler.
    assert [name for name in names if name.endswith(".cpp")] == ["facelift_core/rendering/native/splatter.cpp"]
    left_out = r"facelift_core/training/|__pycache__|\.(so|pyd|dll|whl|pyc|blend)$|(^|/)\."
    assert not [name for name in names if re.search(left_out, name)]


def test_build_refuses_versions_that_differ_and_blenders_that_are_none(tmp_path, capsys):
    build = load_build()
    with pytest.raises(build.BuildError, match="versions differ"):
        build.check_versions("9.9.9")
    assert build.main(["-o", str(tmp_path / "dist"), "--blender", str(tmp_path)]) == 1
    assert "There is no Blender in" in capsys.readouterr().err

"""The real zip in real Blenders: the Pythons in FACELIFT_BPY_PYTHONS, which have the bpy package."""

import json
import os
import re
import subprocess
import zipfile

import blenders
import planted
import pytest
from blenders import in_each_blender, load_build, needs_blender
from fake_runtime import HEAD, HERE, PICTURE, gone
from PIL import Image


@needs_blender
def test_reconstruct_save_reload_export(blender, weights_folder):
    blender("reconstruct.py", TEST_WEIGHTS=str(weights_folder))


@needs_blender
def test_abuse(blender, fake):
    said = blender("abuse.py", "quit", runtime=fake, FAKE_STEP="0.03")
    assert gone(int(re.search(r"worker (\d+)", said)[1])), "a worker outlived a Blender that was quit"
    assert "Traceback" not in said, said[-6000:]


@needs_blender
@in_each_blender
def test_headless_writes_a_blend_and_a_render(python, fake, tmp_path):
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
@in_each_blender
def test_nothing_that_headless_starts_imports_what_was_planted(python, tmp_path):
    trace, variables = planted.plant(tmp_path)
    for name in planted.NAMES:
        if name != "sitecustomize":  # what this Python itself imports is the choice of who sets PYTHONPATH
            (tmp_path / "path" / f"{name}.py").unlink()
    command = [python, "-m", "facelift_blender.headless", HERE / "data" / "portrait.jpg", "-o", tmp_path / "head.blend"]
    command += ["--python", blenders.WORKER, "--steps", "1", "--likeness", "off"]
    environment = {**os.environ, **variables, "BLENDER_USER_RESOURCES": str(tmp_path / "blender")}
    done = subprocess.run(
        command, cwd=HERE.parent, env=environment, capture_output=True, text=True, timeout=300, errors="replace"
    )
    assert done.returncode == 0 and (tmp_path / "head.blend").exists(), (done.stdout + done.stderr)[-3000:]
    executed = trace.read_text().splitlines()
    assert executed and all(line.endswith(" ".join(map(str, command[1:]))) for line in executed), executed
    assert all(line.startswith(("path sitecustomize", "usercustomize")) for line in executed), executed


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
    assert "facelift_core/likeness/weights/depth.safetensors" in names
    # Refinement compiles its own loops on the person's machine, where there is a compiler.
    assert [name for name in names if name.endswith(".cpp")] == ["facelift_core/compute/native/splatter.cpp"]
    left_out = r"facelift_core/training/|__pycache__|\.(so|pyd|dll|whl|pyc|blend)$|(^|/)\."
    assert not [name for name in names if re.search(left_out, name)]


def test_build_refuses_versions_that_differ_and_blenders_that_are_none(tmp_path, capsys):
    build = load_build()
    with pytest.raises(build.BuildError, match="versions differ"):
        build.check_versions("9.9.9")
    assert build.main(["-o", str(tmp_path / "dist"), "--blender", str(tmp_path)]) == 1
    assert "There is no Blender in" in capsys.readouterr().err

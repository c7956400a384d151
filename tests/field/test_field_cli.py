"""Shells, consoles, names, accounts and output files as people have them (tests/field/README.md)."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

import facelift_core as fl
from facelift_core import user_dirs
from facelift_core.cli import main
from facelift_core.cli.options import matching
from facelift_core.files import replacing
from facelift_core.rendering import render
from facelift_core.rendering.cameras import intrinsics, six_views
from facelift_core.rendering.framing import framed

ROOT = Path(__file__).parents[2]


@pytest.fixture
def photos(tmp_path) -> Path:
    folder = tmp_path / "pics"
    folder.mkdir()
    for name in ("a.jpg", "b.jpg", "c.png"):
        Image.new("RGB", (64, 64), "grey").save(folder / name)
    return folder


def head(count: int = 400) -> fl.Gaussians:
    """A ball of the size of a head at its usual place."""
    generator = torch.Generator().manual_seed(1)
    directions = torch.randn(count, 3, generator=generator)
    return fl.Gaussians(
        1.1 * directions / directions.norm(dim=1, keepdim=True),
        torch.rand(count, 1, 3, generator=generator) - 0.5,
        torch.full((count, 3), -2.5),
        torch.tensor([1.0, 0, 0, 0]).repeat(count, 1),
        torch.full((count,), 4.0),
    )


class Model:
    """In place of the models: fails as `problems` says by the photo's name, and otherwise gives a ball."""

    device = torch.device("cpu")

    def __init__(self, problems: dict[str, Exception]):
        self.problems = problems

    def estimate(self, *_) -> float:
        return 1.0

    def reconstruct(self, aligned, **_):
        if aligned in self.problems:
            raise self.problems[aligned]
        views, notes = torch.zeros(6, 3, 16, 16), ("A note “in quotes” — ☃.",)
        return SimpleNamespace(gaussians=head(), raw_gaussians=head(), views=views, notes=notes, timings={"views": 1.0})


@pytest.fixture
def run(monkeypatch):
    """Run ``facelift reconstruct`` with a model that fails for some photos."""

    def run(*arguments, problems=None) -> int:
        model = Model(problems or {})
        monkeypatch.setattr(fl.FaceLift, "from_pretrained", lambda *_, **__: model)
        monkeypatch.setattr("facelift_core.cli.batch.align_portrait", lambda photo, **_: Path(photo).name)
        return main(["reconstruct", *map(os.fspath, arguments)])

    return run


# Shells and consoles


def test_a_star_that_the_shell_passes_on_is_expanded(photos, tmp_path, run):
    assert run(photos / "*.jpg", "-o", tmp_path / "out") == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"a.ply", "b.ply"}


def test_a_photo_whose_name_has_brackets_is_that_photo(photos):
    Image.new("RGB", (64, 64)).save(photos / "me [1].jpg")
    assert matching([photos / "me [1].jpg"]) == [photos / "me [1].jpg"]
    assert matching([photos / "?.png"]) == [photos / "c.png"]
    assert matching([photos / "*.gif"]) == [photos / "*.gif"]


@pytest.mark.parametrize("encoding", ["cp1252", "latin-1", "ascii", "cp437"])
def test_names_that_the_console_cannot_print(photos, tmp_path, encoding):
    """In a process of its own, whose console has that encoding; the model is never loaded, as no photo is there."""
    name = "Портрет 顔 😀.jpg"
    code = f"from facelift_core.cli import main; main(['reconstruct', {name!r}, 'x☃.jpg', '-o', 'out'])"
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], cwd=photos, env=environment, capture_output=True)
    assert b"does not exist" in done.stderr and b"Traceback" not in done.stderr and b"Unexpected" not in done.stderr
    help_text = [sys.executable, "-m", "facelift_core", "reconstruct", "--help"]
    done = subprocess.run(help_text, env=environment, capture_output=True)
    assert done.returncode == 0 and done.stdout and not done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_file_names_that_are_not_utf8(photos, tmp_path, run, capfd):
    name = os.fsdecode(b"caf\xe9.jpg")
    os.rename(photos / "a.jpg", photos / name)
    assert run(photos / name, photos / "b.jpg", "-o", tmp_path / "out") == 0
    assert len(list((tmp_path / "out").iterdir())) == 2
    assert "Unexpected" not in capfd.readouterr().err


@pytest.mark.parametrize(
    "problem", [UnicodeEncodeError("ascii", "é", 0, 1, "ordinal"), OSError(36, "File name too long"), KeyError("x"),
                RecursionError(), ZeroDivisionError("division by zero")],
    ids=lambda problem: type(problem).__name__,
)  # fmt: skip
def test_no_exception_in_one_photo_ends_a_batch(photos, tmp_path, run, capsys, problem):
    assert run(*sorted(photos.iterdir()), "-o", tmp_path / "out", problems={"a.jpg": problem}) == 1
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"b.ply", "c.ply"}
    said = [line for line in capsys.readouterr().err.splitlines() if "a.jpg" in line]
    assert any("Unexpected error" in line or "too long" in line for line in said)


# Names


@pytest.mark.parametrize("extra", [[], ["--views", "v.png"]])
def test_a_name_that_is_too_long_costs_only_that_photo(photos, tmp_path, run, capsys, extra):
    long = photos / ("ж" * 125 + ".jpg")  # 254 bytes; its views would have 265
    os.rename(photos / "a.jpg", long)
    code = run(*sorted(photos.iterdir()), photos / ("x" * 300 + ".jpg"), "-o", tmp_path / "out", "--raw", *extra,
               problems={"c.png": fl.FaceLiftError("No.")})  # fmt: skip
    assert code == 1
    said = capsys.readouterr().err
    assert said.count("too long") == 2 and "1 of 4 photos" in said


@pytest.mark.parametrize("output", ["x" * 300 + ".ply", "x" * 300 + "/"])
def test_an_output_whose_name_is_too_long(photos, tmp_path, run, capsys, output):
    assert run(photos / "a.jpg", "-o", f"{tmp_path}/{output}") == 1
    said = capsys.readouterr().err
    assert "too long" in said and "Traceback" not in said and "Unexpected" not in said


# Accounts


NO_HOME = """
import os, sys
os.environ.pop("HOME", None)
os.environ.pop("XDG_CACHE_HOME", None)
os.environ.pop("XDG_DATA_HOME", None)
import pwd
def nobody(uid): raise KeyError(uid)
pwd.getpwuid = nobody
from facelift_core.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="the accounts of POSIX")
@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["weights", "list"], "not downloaded"),
        (["weights", "download"], "Name a folder with --folder"),
        (["setup", "--yes"], "Name a folder with --folder"),
        (["reconstruct", "missing.jpg", "-o", "out.ply"], "does not exist"),
    ],
)
def test_an_account_without_a_home(tmp_path, command, message):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", NO_HOME, *command], env=environment, cwd=tmp_path, capture_output=True, text=True
    )
    said = done.stdout + done.stderr
    assert message in said and "Traceback" not in said and "Unexpected" not in said
    assert said.count("No folder for the cache") <= 1
    assert not list(tmp_path.iterdir())


def test_the_models_work_without_a_home_and_without_a_cache(tmp_path, weights_folder, monkeypatch):
    import shutil

    from facelift_core.multiview.prompts import CACHE_FILE, load_prompt_embeds

    pipeline = tmp_path / "pipeckpts"
    shutil.copytree(weights_folder / "mvdiffusion" / "pipeckpts", pipeline)
    (pipeline / CACHE_FILE).unlink(missing_ok=True)
    (pipeline / CACHE_FILE).mkdir()  # cannot be written, whoever runs the test
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null/cache")
    assert load_prompt_embeds(pipeline).shape[0] == 6


def test_a_cache_that_cannot_be_written_is_replaced_by_a_temporary_one(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null/cache")
    folder = user_dirs.cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    assert folder.is_dir() and not folder.is_relative_to("/dev") and user_dirs.cache_folder() == folder
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "not" / "yet"))
    assert user_dirs.cache_folder() == tmp_path / "not" / "yet" / "facelift"
    assert not (tmp_path / "not").exists()


# Outputs


def test_a_symbolic_link_stays_and_its_target_is_replaced(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    target, link = tmp_path / "elsewhere" / "head.ply", tmp_path / "link.ply"
    target.write_text("old")
    link.symlink_to(target)
    head().save(link)
    assert link.is_symlink() and target.read_bytes().startswith(b"ply")
    with pytest.raises(fl.FaceLiftError), replacing(link) as temporary:
        assert temporary.parent == target.parent
        raise OSError(28, "No space left on device")
    assert link.is_symlink() and target.read_bytes().startswith(b"ply")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["elsewhere", "head.ply", "link.ply"]


def test_a_link_to_a_file_that_does_not_exist_yet(tmp_path):
    (tmp_path / "link.ply").symlink_to(tmp_path / "new.ply")
    head().save(tmp_path / "link.ply")
    assert (tmp_path / "new.ply").is_file() and (tmp_path / "link.ply").is_symlink()


# Rendering


def moved(gaussians: fl.Gaussians, offset: tuple[float, float, float], scale: float = 1.0) -> fl.Gaussians:
    positions = gaussians.positions * scale + torch.tensor(offset)
    return fl.Gaussians(
        positions, gaussians.sh, gaussians.log_scales + np.log(scale), gaussians.rotations, gaussians.opacity_logits
    )


def shown(path: Path) -> float:
    """Share of the picture that is not white."""
    return float((np.asarray(Image.open(path).convert("L")) < 250).mean())


@pytest.mark.parametrize(("offset", "scale"), [((10, 0, 0), 1), ((0, -3, 100), 1), ((0, 0, 0), 0.12), ((5, 5, 5), 40)])
def test_a_head_that_was_moved_or_scaled_is_shown(tmp_path, capsys, offset, scale):
    head().save(tmp_path / "usual.ply")
    moved(head(), offset, scale).save(tmp_path / "moved.ply")
    for name in ("usual", "moved"):
        assert main(["render", str(tmp_path / f"{name}.ply"), "-o", str(tmp_path / f"{name}.png"), "--size", "96"]) == 0
    assert "not at its usual place" in capsys.readouterr().err
    assert (
        shown(tmp_path / "moved.png") == pytest.approx(shown(tmp_path / "usual.png"), rel=0.35)
        and shown(tmp_path / "usual.png") > 0.1
    )


def test_a_head_at_its_usual_place_is_rendered_by_the_published_camera():
    assert framed(gaussians := head()) is gaussians


def test_an_empty_picture_is_told(tmp_path, capsys):
    moved(head(), (10, 0, 0)).save(tmp_path / "moved.ply")
    out = tmp_path / "empty.png"
    arguments = ["render", str(tmp_path / "moved.ply"), "-o", str(out), "--size", "96", "--camera", "published"]
    assert main(arguments) == 0
    assert shown(out) == 0 and "The picture is empty" in capsys.readouterr().err


def test_colors_by_name():
    camera, focal = six_views()[0], intrinsics(32)
    by_name = render(head(), camera, focal, 32, 32, "white")
    assert torch.equal(by_name, render(head(), camera, focal, 32, 32))
    for nonsense in ("no color", None, (1, 2), object()):
        with pytest.raises(fl.FaceLiftError, match="background"):
            render(head(), camera, focal, 32, 32, nonsense)

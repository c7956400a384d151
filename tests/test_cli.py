"""The command line, end to end on small random weights."""

import functools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image

import facelift_core as fl
from facelift_core.align import METHODS
from facelift_core.cli import main
from facelift_core.cli.reconstruct import MATTINGS, plan
from facelift_core.gaussians.files import FORMATS
from facelift_core.images import to_bytes
from facelift_core.rendering import turntable

ROOT = Path(__file__).parents[1]
GOLDENS = ROOT / "tests" / "goldens"


def cut_out() -> Image.Image:
    """A portrait whose alpha is the matte, so that no background has to be found."""
    portrait = Image.open(GOLDENS / "input.png").convert("RGB")
    matte = Image.new("L", portrait.size)
    matte.paste(255, (8, 4, 56, 64))
    portrait.putalpha(matte)
    return portrait


@pytest.fixture
def photo(tmp_path) -> Path:
    path = tmp_path / "photos" / "anna.png"
    path.parent.mkdir()
    cut_out().save(path)
    return path


@pytest.fixture
def quick(weights_folder) -> list[str]:
    """Without likeness, for Gaussians of random weights are as large as the picture and take minutes to draw."""
    return ["--weights", str(weights_folder), "--steps", "1", "--no-crop", "--device", "cpu", "--likeness", "off"]


@pytest.fixture
def every_line(monkeypatch) -> None:
    """Of progress, also of views that take next to none of the time, as small networks' do."""
    monkeypatch.setattr("facelift_core.cli.console.LINE_EVERY", 0.0)


@pytest.fixture
def short_video(monkeypatch) -> None:
    """Turntables of four frames in place of 150."""
    monkeypatch.setattr(turntable, "write_turntable", functools.partial(turntable.write_turntable, frames=4))


def facelift(*arguments) -> int:
    return main([str(argument) for argument in arguments])


def names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


# --- reconstruct ---


def test_one_photo_to_a_file(photo, quick, tmp_path, capsys, every_line):
    out = tmp_path / "head.ply"
    assert facelift("reconstruct", photo, "-o", out, *quick) == 0
    assert names(tmp_path) == {"photos", "photos/anna.png", "head.ply"}
    said = capsys.readouterr()
    assert said.out.startswith(f"{out}: {len(fl.load(out)):,} Gaussians in ") and said.out.count("\n") == 1
    assert "anna.png: " in said.err and "Step 1 of 1" in said.err and "\r" not in said.err


def test_every_output_and_the_same_result_as_the_library(photo, quick, weights_folder, tmp_path, short_video):
    out = tmp_path / "out"
    options = [
        "--views",
        tmp_path / "six.png",
        "--turntable",
        tmp_path / "t.mp4",
        "--raw",
        "--seed",
        9,
        "--guidance",
        2,
    ]
    assert facelift("reconstruct", photo, "-o", f"{out}/", *quick, *options) == 0
    assert names(out) == {"anna.ply", "anna_raw.ply"}
    model = fl.FaceLift.from_pretrained(weights_folder, device="cpu")
    result = model.reconstruct(photo, steps=1, crop=False, seed=9, guidance_scale=2, likeness="off")
    np.testing.assert_array_equal(fl.load(out / "anna.ply").positions, result.gaussians.positions)
    np.testing.assert_array_equal(fl.load(out / "anna_raw.ply").positions, result.raw_gaussians.positions)
    assert Image.open(tmp_path / "six.png").width >= 6 * 64
    assert (tmp_path / "t.mp4").read_bytes()[4:8] == b"ftyp"


def test_a_bad_photo_does_not_stop_the_rest(photo, quick, tmp_path, capsys, monkeypatch):
    loads = []
    load = fl.FaceLift.from_pretrained
    monkeypatch.setattr(fl.FaceLift, "from_pretrained", lambda *a, **k: loads.append(1) or load(*a, **k))
    folder = photo.parent
    (folder / "broken.png").write_bytes(photo.read_bytes()[:200])
    (folder / "text.jpg").write_text("not a photo")
    (folder / "other").mkdir()
    (folder / "other" / "ANNA.png").write_bytes(photo.read_bytes())
    photos = ["broken.png", "anna.png", "missing.jpg", "text.jpg", "other/ANNA.png"]
    out = tmp_path / "out"
    assert facelift("reconstruct", *(folder / p for p in photos), "-o", out, *quick, "--views", "v.jpg") == 1
    assert names(out) == {"anna.ply", "anna_views.jpg", "ANNA-2.ply", "ANNA-2_views.jpg"}
    said = capsys.readouterr()
    assert said.out.count("Gaussians in") == 2 and "2 of 5 photos" in said.err and len(loads) == 1
    for bad in ("broken.png", "missing.jpg", "text.jpg"):
        assert sum(line.startswith(str(folder / bad)) for line in said.err.splitlines()) == 1
    assert "Traceback" not in said.err


def test_photos_that_are_done_are_skipped_unless_told(photo, quick, tmp_path, capsys, monkeypatch):
    out, other = tmp_path / "out", photo.parent / "bert.png"
    other.write_bytes(photo.read_bytes())
    assert facelift("reconstruct", photo, "-o", f"{out}/", *quick) == 0
    (out / "anna.ply").write_bytes(b"mine")
    assert facelift("reconstruct", photo, other, "-o", out, *quick) == 0
    said = capsys.readouterr()
    assert (out / "anna.ply").read_bytes() == b"mine" and len(fl.load(out / "bert.ply")) > 0
    assert "anna.ply exists" in said.err and "--overwrite" in said.err
    # An output that is missing is a reason to do it again.
    assert facelift("reconstruct", photo, "-o", out, *quick, "--raw") == 0
    assert (out / "anna.ply").read_bytes() != b"mine" and (out / "anna_raw.ply").is_file()
    (out / "anna.ply").write_bytes(b"mine")
    assert facelift("reconstruct", photo, "-o", out, *quick, "--overwrite") == 0
    assert (out / "anna.ply").read_bytes() != b"mine"
    # All done: the weights are not even loaded.
    monkeypatch.setattr(fl.FaceLift, "from_pretrained", lambda *a, **k: pytest.fail("loaded"))
    assert facelift("reconstruct", photo, other, "-o", out, *quick) == 0


def test_the_next_photo_is_aligned_while_one_is_worked_on(photo, quick, tmp_path, monkeypatch):
    from facelift_core.cli import batch

    names = ["anna.png", "bert.png", "carl.png"]
    for name in names[1:]:
        (photo.parent / name).write_bytes(photo.read_bytes())
    aligned = {name: threading.Event() for name in names}
    portraits = []
    align_portrait, reconstruct = batch.align_portrait, fl.FaceLift.reconstruct

    def align_and_tell(path, **how):
        portraits.append(align_portrait(path, **how))
        aligned[path.name].set()
        return portraits[-1]

    def reconstruct_after_the_next(self, portrait, **how):
        index = next(i for i, known in enumerate(portraits) if known is portrait)
        assert index == 2 or aligned[names[index + 1]].wait(60), "nothing is aligned meanwhile"
        return reconstruct(self, portrait, **how)

    monkeypatch.setattr(batch, "align_portrait", align_and_tell)
    monkeypatch.setattr(fl.FaceLift, "reconstruct", reconstruct_after_the_next)
    photos = [photo.parent / name for name in names]
    assert facelift("reconstruct", *photos, "-o", tmp_path / "out", *quick) == 0


def test_presets(photo, quick, tmp_path, capsys, every_line):
    assert facelift("reconstruct", photo, "-o", tmp_path / "x.ply", *quick, "--steps", "2", "--preset", "fast") == 0
    said = capsys.readouterr().err
    assert "Step 2 of 2" in said and "This will take about" in said


def test_likeness_reaches_the_reconstruction(photo, quick, tmp_path, monkeypatch):
    seen = []
    reconstruct = fl.FaceLift.reconstruct

    def remember(self, portrait, **how):
        seen.append(how["likeness"])
        return reconstruct(self, portrait, **{**how, "likeness": "off"})

    monkeypatch.setattr(fl.FaceLift, "reconstruct", remember)
    for options in ([], ["--likeness", "photo"], ["--likeness", "refined"]):
        assert facelift("reconstruct", photo, "-o", tmp_path / "x.ply", *quick[:-2], *options) == 0
    assert seen == ["photo", "photo", "refined"]


def test_photos_that_are_all_missing_do_not_load_the_weights(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(fl.FaceLift, "from_pretrained", lambda *a, **k: pytest.fail("loaded"))
    assert facelift("reconstruct", tmp_path / "none.jpg", "-o", tmp_path / "x.ply") == 1
    assert "does not exist" in capsys.readouterr().err
    assert names(tmp_path) == set()


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["-o", "x.ply"],
        ["a.jpg"],
        ["a.jpg", "-o", "x.ply", "--steps", "0"],
        ["a.jpg", "-o", "x.ply", "--steps", "1001"],
        ["a.jpg", "-o", "x.ply", "--steps", "many"],
        ["a.jpg", "-o", "x.ply", "--guidance", "-1"],
        ["a.jpg", "-o", "x.ply", "--guidance", "nan"],
        ["a.jpg", "-o", "x.ply", "--seed", "-1"],
        ["a.jpg", "-o", "x.ply", "--seed", "99999999999999999999"],
        ["a.jpg", "-o", "x.ply", "--device", "gpu"],
        ["a.jpg", "-o", "x.ply", "--matting", "no-such"],
        ["a.jpg", "-o", "x.ply", "--likeness", "similar"],
        ["a.jpg", "-o", "x.ply", "--views", "v.ply"],
        ["a.jpg", "-o", "x.ply", "--turntable", "v.png"],
        ["a.jpg", "-o", "x.ply", "--no-such-option"],
        ["a.jpg", "-o", "x.obj"],
        ["a.jpg", "b.jpg", "-o", "x.ply"],
        ["a.png", "-o", "x.ply", "--views", "a.png"],
        ["a.jpg", "-o", "x.ply", "--views", "y.png", "--turntable", "x.ply"],
    ],
)
def test_bad_usage_is_exit_code_2(arguments, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a.jpg", "a.png", "b.jpg"):
        (tmp_path / name).touch()
    assert facelift("reconstruct", *arguments) == 2
    said = capsys.readouterr()
    assert said.err.strip() and "Traceback" not in said.err and not said.out
    assert names(tmp_path) == {"a.jpg", "a.png", "b.jpg"}


@pytest.mark.parametrize("command", [[], ["no-such-command"], ["render"], ["render", "a.ply"]])
def test_bad_commands(command):
    assert facelift(*command) == 2


def test_commands_start_without_numpy():
    """`facelift setup` installs it."""
    for command in ("setup", "reconstruct", "convert"):
        arguments = [sys._base_executable, "-S", "-m", "facelift_core", command, "--help"]
        done = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0 and done.stdout.startswith("usage: "), done.stderr


def test_heads_of_every_format(tmp_path):
    photo = tmp_path / "x.jpg"
    for entry in FORMATS:
        (job,) = plan([photo], str(tmp_path / f"x{entry.suffix}"), raw=True)
        assert job.head.name == f"x{entry.suffix}" and job.raw.name == "x_raw.ply"


def test_outputs_never_collide(tmp_path):
    photos = [tmp_path / p for p in ("a/x.jpg", "b/x.png", "X.png", "x_raw.jpg", "x-2.jpg")]
    jobs = plan(photos, str(tmp_path / "out"), Path("v.png"), Path("t.mp4"), raw=True)
    outputs = [str(path).casefold() for job in jobs for path in job.outputs]
    assert len(outputs) == len(set(outputs)) == 20
    assert [job.head.name for job in jobs] == ["x.ply", "x-2.ply", "X-3.ply", "x_raw-2.ply", "x-2-2.ply"]


@pytest.mark.parametrize("out", ["heads", "heads/", "v1.2", "deep/er"])
def test_names_of_folders(out, tmp_path):
    (job,) = plan([tmp_path / "x.jpg"], str(tmp_path / out) + ("/" if out.endswith("/") else ""))
    assert job.head == tmp_path / out / "x.ply"


@pytest.mark.parametrize("blocked", ["out is below a file", "views' folder is missing", "a folder has the name"])
def test_what_cannot_be_written_is_found_before_the_long_work(photo, tmp_path, capsys, monkeypatch, blocked):
    monkeypatch.setattr(fl.FaceLift, "from_pretrained", lambda *a, **k: pytest.fail("loaded"))
    options = ["-o", tmp_path / "new" / "x.ply"]
    if blocked == "out is below a file":
        options = ["-o", photo / "x.ply"]
    elif blocked == "views' folder is missing":
        options += ["--views", tmp_path / "none" / "v.png"]
    else:
        (tmp_path / "v.png").mkdir()
        options += ["--views", tmp_path / "v.png"]
    before = names(tmp_path)
    assert facelift("reconstruct", photo, *options) == 1
    assert "Cannot write" in capsys.readouterr().err and names(tmp_path) == before


def test_wrong_weights(photo, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    out = tmp_path / "out"
    assert facelift("reconstruct", photo, "-o", out, "--weights", tmp_path / "empty") == 1
    said = capsys.readouterr().err
    assert "does not contain FaceLift weights" in said and "Traceback" not in said and not out.exists()


def test_no_face_names_the_way_out(photo, quick, tmp_path, capsys):
    quick.remove("--no-crop")
    assert facelift("reconstruct", photo, "-o", tmp_path / "x.ply", *quick) == 1
    assert "--no-crop" in capsys.readouterr().err and not (tmp_path / "x.ply").exists()


def test_a_bug_is_one_sentence(photo, quick, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(fl.FaceLift, "reconstruct", lambda *a, **k: 1 / 0)
    assert facelift("reconstruct", photo, "-o", tmp_path / "x.ply", *quick) == 1
    assert "ZeroDivisionError" in capsys.readouterr().err
    monkeypatch.setenv("FACELIFT_TRACEBACK", "1")
    assert facelift("reconstruct", photo, "-o", tmp_path / "x.ply", *quick) == 1
    assert "Traceback" in capsys.readouterr().err


def test_a_bar_on_a_terminal(photo, quick, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert facelift("reconstruct", photo, "-o", tmp_path / "x.ply", *quick) == 0
    assert "\ranna.png: " in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals are of POSIX")
@pytest.mark.parametrize("sent, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupting_leaves_nothing_behind(photo, quick, tmp_path, sent, code):
    """In the middle of writing a video, when a temporary file is there."""
    out = tmp_path / "out"
    command = [sys.executable, "-m", "facelift_core", "reconstruct", str(photo), "-o", f"{out}/", *quick]
    process = subprocess.Popen(
        [*command, "--turntable", str(out / "t.mp4")],
        stderr=subprocess.PIPE,
        text=True,
        # Jobs in the background of a shell ignore the signal, and so would their children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    for line in process.stderr:
        if "Frame" in line:
            break
    while len(names(out)) < 2 and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(sent)
    _, rest = process.communicate(timeout=120)
    assert process.returncode == code, rest
    assert "Traceback" not in rest and names(out) == {"anna.ply"}


# --- render ---


@pytest.fixture(scope="module")
def head(weights_folder, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("head") / "head.ply"
    model = fl.FaceLift.from_pretrained(weights_folder, device="cpu")
    model.reconstruct(cut_out(), steps=1, crop=False, likeness="off").gaussians.save(path)
    return path


def test_pictures(head, tmp_path):
    gaussians, blue = fl.load(head), (16 / 255, 32 / 255, 48 / 255)
    for azimuth, view in ((0, 0), (90, 4), (180, 3)):
        out = tmp_path / f"{azimuth}.png"
        assert facelift("render", head, "-o", out, "--azimuth", azimuth, "--size", 96, "--background", "#102030") == 0
        picture = np.array(Image.open(out)).astype(int)
        camera, focal = fl.six_views()[view], fl.rendering.cameras.intrinsics(96)
        on_blue, on_white = (
            to_bytes(fl.render(gaussians, camera, focal, 96, 96, background)[0]) for background in (blue, (1, 1, 1))
        )
        assert picture.shape == (96, 96, 3)
        assert np.abs(picture - on_blue).max() <= 1 < np.abs(picture - on_white).max()


def test_video(head, tmp_path, short_video):
    assert facelift("render", head, "-o", tmp_path / "t.mp4", "--size", 64) == 0
    assert imageio_ffmpeg.count_frames_and_secs(str(tmp_path / "t.mp4"))[0] == 4


@pytest.mark.parametrize(
    "options",
    [
        ["-o", "x.gif2"],
        ["-o", "x.png", "--size", "0"],
        ["-o", "x.png", "--size", "100000"],
        ["-o", "x.png", "--elevation", "90"],
        ["-o", "x.png", "--azimuth", "inf"],
        ["-o", "x.png", "--background", "nocolour"],
    ],
)
def test_bad_usage_of_render(head, options, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert facelift("render", head, *options) == 2 and names(tmp_path) == set()


@pytest.mark.parametrize("content", [b"", b"ply\n", b"not a ply", b"\0" * 1000])
def test_heads_that_are_none(tmp_path, content, capsys):
    (tmp_path / "x.ply").write_bytes(content)
    assert facelift("render", tmp_path / "x.ply", "-o", tmp_path / "x.png") == 1
    assert facelift("render", tmp_path / "none.ply", "-o", tmp_path / "x.png") == 1
    assert "Traceback" not in capsys.readouterr().err and names(tmp_path) == {"x.ply"}


# --- info and the rest ---


def test_info(weights_folder, tmp_path, capsys):
    assert facelift("info", "--json", "--weights", weights_folder, "--weights", tmp_path) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["facelift"] == fl.__version__ and found["packages"]["torch"] and found["devices"]["cpu"]["cores"]
    assert found["memory"]["total"] > 2**28
    assert found["weights"][str(weights_folder)]["bytes"] > 10**6
    assert "does not contain" in found["weights"][str(tmp_path)]["problem"]
    assert facelift("info") == 0
    assert f"FaceLift {fl.__version__}" in capsys.readouterr().out


def test_info_without_pytorch(tmp_path):
    (tmp_path / "torch.py").write_text("raise ImportError('no PyTorch here')")
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{Path(fl.__file__).parents[1]}"}
    command = [sys.executable, "-m", "facelift_core", "info", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["devices"] == {"problem": "no PyTorch here"}


@pytest.mark.parametrize("command", [["--help"], ["reconstruct", "--help"], ["render", "--help"], ["info", "--help"]])
def test_help_is_immediate(command):
    code = (
        "import sys; from facelift_core.cli import main; code = main(sys.argv[1:]);"
        "sys.exit(code or ', '.join({'torch', 'cv2', 'diffusers', 'transformers'} & sys.modules.keys()) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code, *command], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("usage: facelift")


def test_version(capsys):
    assert facelift("--version") == 0
    assert capsys.readouterr().out == f"facelift {fl.__version__}\n"


def test_the_command_offers_every_way_of_matting():
    assert MATTINGS == METHODS


@pytest.mark.parametrize(
    "said, spins", [({}, "1000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "ACTIVE"}, None)]
)
def test_threads_soon_give_their_cores_away_unless_somebody_has_said_otherwise(said, spins):
    """In time for PyTorch, which reads it when it is loaded."""
    script = (
        "import os, sys; from facelift_core.cli import main; main(['--version']); "
        "assert 'torch' not in sys.modules; print(os.environ.get('GOMP_SPINCOUNT'))"
    )
    env = {name: value for name, value in os.environ.items() if name not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=env | said, check=True)
    assert done.stdout.split()[-1] == str(spins)

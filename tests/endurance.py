"""Do everything again and again, interrupt it, and count what is left: python tests/endurance.py [--share 1.0] [PART…]

Prints a table. Counted after each part: memory of the processes (anonymous, MB), file descriptors, threads, temporary
files, processes and half-written files that are left. The exit code is 1 if anything grows or is left. `--share`
shortens every part.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from checkpoints import GOLDENS, copy_checkpoint
from local_hub import LICENCE, LocalHub, repository_of
from package_index import make_wheel, serving

PICTURE = GOLDENS / "input.png"
QUICK = ["--steps", "1", "--no-crop", "--matting", "none", "--device", "cpu", "--likeness", "off"]


class Place:
    """A folder in which everything happens, with its own user and temporary folders."""

    def __init__(self, folder: Path, share: float):
        self.folder, self.share = folder, share
        self.weights = copy_checkpoint(_made(folder / "weights"))
        self.temporary = _made(folder / "tmp")
        self.environment = {
            **os.environ, "TMPDIR": str(self.temporary), "XDG_CACHE_HOME": str(folder / "cache"),
            "XDG_DATA_HOME": str(folder / "data"), "PYTHONPATH": str(HERE.parent), "OMP_NUM_THREADS": "1",
            "PIP_CONFIG_FILE": os.devnull, "PIP_TRUSTED_HOST": "127.0.0.1",
        }  # fmt: skip

    def times(self, count: int) -> int:
        return max(5, round(count * self.share))

    def facelift(self, *arguments: object, **variables: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "facelift_core", *map(str, arguments)],
            env={**self.environment, **variables}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            start_new_session=True, preexec_fn=hear_signals,
        )  # fmt: skip

    def left(self) -> list[str]:
        """Temporary and half-written files, and processes of a run."""
        found = [path.name for path in self.temporary.iterdir()]
        for place in ("out", "data"):
            hidden = (self.folder / place).rglob(".*") if (self.folder / place).exists() else ()
            found += [path.name for path in hidden if path.is_file() and path.name != ".lock"]
        for entry in Path("/proc").glob("[0-9]*/environ"):
            try:
                if f"TMPDIR={self.temporary}\0".encode() in entry.read_bytes() + b"\0":
                    found.append(f"process {entry.parent.name}")
            except OSError:
                continue
        return found


def hear_signals() -> None:
    """In a child: what a shell or nohup had the background ignore counts again."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def said(process: subprocess.Popen[str]) -> str:
    out, err = process.communicate(timeout=600)
    assert "Traceback" not in err and "Unexpected error" not in err, err[-1500:]
    return out + err


def batch(place: Place) -> str:
    """Photos in one run, every fifth of them damaged."""
    count, photos, out = place.times(40), _made(place.folder / "photos"), place.folder / "out" / "batch"
    for i in range(count):
        content = PICTURE.read_bytes()
        (photos / f"{i}.png").write_bytes(content[: len(content) // 2] if i % 5 == 4 else content)
    run = place.facelift("reconstruct", *sorted(photos.iterdir()), "-o", out, "--weights", place.weights, *QUICK)
    said(run)
    good = count - count // 5
    assert run.returncode == 1 and len(list(out.glob("*.ply"))) == good, (run.returncode, len(list(out.glob("*.ply"))))
    return f"{count} photos, {good} heads, {count // 5} sentences"


def two_on_one_output(place: Place) -> str:
    out, count = place.folder / "out" / "same.ply", place.times(6)
    _made(out.parent)
    heads = set()
    for _ in range(count):
        runs = [place.facelift("reconstruct", PICTURE, "-o", out, "--weights", place.weights, *QUICK) for _ in "ab"]
        assert [said(run) and run.returncode for run in runs] == [0, 0]
        heads.add(out.read_bytes())
    assert len(heads) == 1
    return f"{count} pairs, the same head each time"


def signals(place: Place) -> str:
    source, count, out = random.Random(15), place.times(30), _made(place.folder / "out" / "signals")
    codes: dict[int, int] = {}
    began = time.monotonic()
    said(place.facelift("reconstruct", PICTURE, "-o", out / "whole.ply", "--weights", place.weights, *QUICK))
    whole = time.monotonic() - began
    for i in range(count):
        head = out / f"{i}.ply"
        run = place.facelift("reconstruct", PICTURE, "-o", head, "--weights", place.weights, *QUICK,
                             "--views", out / f"{i}.png")  # fmt: skip
        time.sleep(source.uniform(0.05, 1.0) * whole)
        number = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)[i % 3]
        run.send_signal(number)
        said(run)
        codes[run.returncode] = codes.get(run.returncode, 0) + 1
        assert run.returncode in (0, 130, 143, -signal.SIGHUP, -signal.SIGINT, -signal.SIGTERM), run.returncode
        if head.exists():
            subprocess.run([sys.executable, "-c", CHECK_HEAD, head], env=place.environment, check=True)
    assert codes.get(0, 0) < count / 2, f"most runs were over before their signal came: {codes}"
    return f"{count} runs, exit codes {dict(sorted(codes.items()))}"


CHECK_HEAD = "import sys, facelift_core as fl; assert len(fl.load(sys.argv[1])) > 100"


def downloads(place: Place) -> str:
    """Two at once, and one that is killed at each tenth and taken up again."""
    files = repository_of(place.weights)
    with LocalHub(files) as hub:
        catalogue = hub.write_catalogue(place.folder / "catalogue.json")
        variables = {**hub.environment, "FACELIFT_CATALOGUE": str(catalogue), "HF_HUB_DISABLE_TELEMETRY": "1"}
        both = [place.facelift("weights", "download", "--accept-licence", **variables) for _ in "ab"]
        texts = [said(run) for run in both]
        assert sorted(run.returncode for run in both) in ([0, 0], [0, 1]), texts
        assert all("are ready" in text or "Another FaceLift" in text for text in texts), texts
        kills, count = 0, place.times(10)
        again = ("weights", "download", "--accept-licence", "--folder", place.folder / "again")
        hub.bytes_per_second = 800_000
        for tenth in range(count):
            run = place.facelift(
                "weights", "download", "--accept-licence", "--folder", place.folder / "again", **variables
            )
            time.sleep(2.0 + 4.0 * tenth / count)
            kills += run.poll() is None
            run.kill()
            run.communicate()
        hub.bytes_per_second = 0
        run = place.facelift(*again, **variables)
        assert "are ready" in said(run)
        run = place.facelift("weights", "verify", "--folder", place.folder / "again", **variables)
        assert "complete and unchanged" in said(run)
    return f"2 at once; {kills} of {count} killed, then complete and verified"


CONVERT = """
import os, sys
from pathlib import Path
from facelift_core.user_dirs import keep_kernels
keep_kernels()  # as the commands do, before PyTorch is imported
from facelift_core.multiview.prompts import embed_prompts
from facelift_core.progress import Monitor
from facelift_core.weights import convert
from facelift_core.weights.store import open_store
own = open_store(sys.argv[1])
def tell(stage, fraction, message):
    if message.startswith("Converting") and fraction >= float(sys.argv[2]):
        os._exit(9)
import facelift_core.weights.byte_progress as progress
progress.REPORT_SECONDS = 0.0
convert.convert(own, Monitor("convert", tell), embed_prompts)
checking = progress.ByteProgress(Monitor("verify"), "", 1)
assert convert.changed(own.converted, convert.read_manifest(own.converted)["files"], checking) == []
"""


def conversions(place: Place) -> str:
    files = repository_of(place.weights)
    with LocalHub(files) as hub:
        catalogue = hub.write_catalogue(place.folder / "catalogue.json")
        revision = hub.revision[:12]
    killed = 0
    for tenth in range(11):
        root = place.folder / "convert" / str(tenth)
        for path, content in files.items():
            target = root / f"released-{revision}" / "original" / path
            _made(target.parent)
            target.write_bytes(content)
        environment = {**place.environment, "FACELIFT_CATALOGUE": str(catalogue), "FACELIFT_WEIGHTS": str(root)}
        accept = "from facelift_core.weights import licence, store as s; o = s.open_store(); "
        accept += f"licence.keep_text(o, {LICENCE.encode()!r}); licence.accept(o)"
        subprocess.run([sys.executable, "-c", accept], env=environment, check=True)
        for stop in (tenth / 10, 2.0):
            done = subprocess.run(
                [sys.executable, "-c", CONVERT, root, str(stop)], env=environment, stderr=subprocess.PIPE
            )
            assert done.returncode in (0, 9), done.stderr[-1500:]
            killed += done.returncode == 9
        assert (root / f"released-{revision}" / "converted" / "manifest.json").is_file()
        shutil.rmtree(root)
    return f"11 conversions, {killed} killed and taken up"


def installs(place: Place) -> str:
    """Two installations into one folder, and wheels that mean harm; the packages are small, so the trial run fails."""
    wheels = place.folder / "wheels"
    for name in ("torch", "numpy", "einops"):
        make_wheel(wheels, name, "2.13.0", size=300_000)
    evil, victim = wheels / "evil-1.0-py3-none-any.whl", place.folder / "victim.py"
    for kind in ("both", "outside", "no zip", "bomb"):
        with serving(wheels) as index:
            folder = place.folder / "runtime" / kind
            program = INSTALL.format(evil="evil==1.0" if kind != "both" else "einops==2.13.0")
            if kind == "no zip":
                evil.write_bytes(b"<html>Sign in</html>")
            elif kind != "both":
                make_wheel(wheels, "evil", "1.0")
                with zipfile.ZipFile(evil, "a", zipfile.ZIP_DEFLATED) as archive:
                    name = "../../../../victim.py" if kind == "outside" else "evil/zeros.bin"
                    archive.writestr(name, b"bad" if kind == "outside" else bytes(200 << 20))
            count = 2 if kind == "both" else 1
            runs = [
                subprocess.Popen([sys.executable, "-c", program, folder, index.url], env=place.environment,
                                 stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(count)
            ]  # fmt: skip
            texts = [said(run) for run in runs]
            if kind == "both":
                assert sorted(("Another FaceLift" in text) for text in texts) == [False, True], texts
            assert all(text.startswith("REFUSED") or "INSTALLED" in text for text in texts), texts
            assert not list(place.folder.rglob("victim.py")) and not victim.exists()
    return "2 at once: one waits its turn; 3 kinds of hostile wheels refused or harmless"


INSTALL = """
import sys
from pathlib import Path
from facelift_core.environment import install, install_plan, location, pip, smoke_test
from facelift_core.errors import FaceLiftError
wanted = {{"torch": "torch==2.13.0", "numpy": "numpy==2.13.0", "evil": "{evil}"}}
install_plan.pins = location.pins = lambda: wanted
install.PIP, install_plan.MARGIN = "pip>=20", 0
smoke_test.run = lambda *arguments: {{"device": "cpu", "gaussians": 7}}
install.locked = lambda build_on_pypi: ["numpy==2.13.0", wanted["evil"]]
try:
    python, sources = Path(sys._base_executable), pip.Sources(sys.argv[2])
    made = install_plan.plan_installation(Path(sys.argv[1]), python, "cpu", sources)
    install.install(made, lambda event: None, lambda: False)
    print("INSTALLED")
except FaceLiftError as error:
    print("REFUSED", error)
"""


def in_blender(place: Place) -> str:
    """Heads, undo, cancels, saving and loading in one Blender, which counts what is left; see blender/endurance.py."""
    import blenders

    if not blenders.PYTHONS:
        raise AssertionError("set FACELIFT_BPY_PYTHONS to the Python of a bpy package")
    package = blenders.load_build().build(place.folder / "dist", blenders.PYTHONS[:1])
    environment = {
        **place.environment, "BLENDER_USER_RESOURCES": str(_made(place.folder / "user")), "TEST_ZIP": str(package),
        "TEST_PHOTO": str(PICTURE), "TEST_SCRIPTS": str(HERE / "blender"), "TEST_WEIGHTS": str(place.weights),
        "FACELIFT_PYTHON": sys.executable, "TEST_SHARE": str(place.share),
    }  # fmt: skip
    environment.pop("PYTHONPATH")
    command = [blenders.PYTHONS[0], HERE / "blender" / "endurance.py"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, errors="replace")
    assert done.returncode == 0 and "ALL GOOD" in done.stdout, (done.stdout + done.stderr)[-3000:]
    return "; ".join(line.removeprefix("COUNTED ") for line in done.stdout.splitlines() if line.startswith("COUNTED "))


PARTS: dict[str, Callable[[Place], str]] = {
    "blender": in_blender,
    "batch": batch,
    "two": two_on_one_output,
    "signals": signals,
    "downloads": downloads,
    "conversions": conversions,
    "installs": installs,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--share", type=float, default=1.0, help="part of the repetitions (1)")
    options = parser.parse_args()
    bad = 0
    print("| part | what happened | left behind | minutes |\n|---|---|---|---|", flush=True)
    for name in options.parts or PARTS:
        began = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="endurance") as folder:
            place = Place(Path(folder), options.share)
            threads = threading.active_count()
            try:
                result = PARTS[name](place)
            except Exception as error:
                result = f"FAILED: {type(error).__name__}: {str(error)[:1500]}"
                bad += 1
            time.sleep(1.0)
            left = place.left()
            bad += bool(left) + (threading.active_count() > threads + 2)
        minutes = (time.monotonic() - began) / 60
        print(f"| {name} | {result} | {json.dumps(left[:5]) if left else 'nothing'} | {minutes:.1f} |", flush=True)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())

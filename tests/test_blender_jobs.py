"""The thread that drives the worker: everything that can be tested of it without Blender."""

import os
import signal
import stat
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from facelift_blender.jobs import folders, runner
from facelift_blender.jobs.cutouts import DEBOUNCE, CutOuts, Subject, subject_of
from facelift_blender.jobs.png import write_png
from facelift_blender.jobs.redraw_throttle import Pace
from facelift_blender.jobs.runner import CANCELLED, DONE, FAILED, CutOut, How, Request, Runner
from facelift_core import FaceLiftError
from facelift_core.environment import check, location
from facelift_core.environment.pins import pins
from facelift_core.jobs import reconstruct as core_job
from facelift_core.jobs.worker import NICENESS

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the stand-in for Python is a script with #!")

HEAD = HERE / "goldens" / "post" / "cli.ply"
PICTURE = HERE / "goldens" / "input.png"
SOON = 120.0  # a bound for machines that are busy; everything takes a second or two


def write_cutout(path: Path) -> Path:
    """A disc of the picture's colours, which are there outside of it, too, where nothing is seen."""
    with Image.open(PICTURE) as picture:
        cutout = picture.convert("RGB").resize((512, 512))
    y, x = np.mgrid[:512, :512]
    cutout.putalpha(Image.fromarray(np.where(np.hypot(y - 256, x - 256) < 200, 255, 0).astype(np.uint8)))
    cutout.save(path)
    return path


@pytest.fixture
def fake(tmp_path, monkeypatch) -> Path:
    """A runtime's Python that is the fake worker."""
    monkeypatch.setenv("FAKE_HEAD", str(HEAD))
    monkeypatch.setenv("FAKE_PICTURE", str(PICTURE))
    monkeypatch.setenv("FAKE_CUTOUT", str(write_cutout(tmp_path / "cutout.png")))
    python = tmp_path / "runtime" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f"#!{sys.executable}\n" + (HERE / "blender" / "fake_worker.py").read_text())
    python.chmod(python.stat().st_mode | stat.S_IXUSR)
    return python


@pytest.fixture
def jobs():
    made = Runner()
    yield made
    made.shutdown()
    assert made._worker is None or not made._worker.running


def submit(jobs: Runner, python: Path, photo: Path = PICTURE, **how) -> runner.Job:
    return jobs.submit(Request(str(photo), str(folders.new_folder())), How(python, **how))


def follow(jobs: Runner, *wanted: runner.Job, until=None) -> list[str]:
    """Poll until `wanted` are over, or until(job) of the first; returns the kinds of events seen."""
    kinds, deadline = [], time.monotonic() + SOON
    while not (until(wanted[0]) if until else all(job.over for job in wanted)):
        assert time.monotonic() < deadline, f"nothing happens any more after {kinds[-3:]}"
        kinds += [event["event"] for _, event in jobs.poll()]
        time.sleep(0.01)
    return kinds


def gone(pid: int, seconds: float = 10.0) -> bool:
    """Whether the process ends in time; one that only waits to be collected has ended."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        state = Path(f"/proc/{pid}/stat")
        try:
            if Path("/proc").is_dir():
                if not state.exists() or state.read_text().rsplit(")", 1)[1].split()[0] == "Z":
                    return True
            else:
                os.kill(pid, 0)
        except OSError:
            return True
        time.sleep(0.05)
    return False


def test_one_job_gives_events_and_a_whole_head(jobs, fake):
    job = submit(jobs, fake)
    kinds = follow(jobs, job)
    assert job.state == DONE and kinds[0] == "started" and kinds[-2:] == ["views", "done"]
    assert job.head.head.read_bytes() == HEAD.read_bytes() and job.head.name == "input"
    assert job.views == job.folder / "views.png"
    assert folders.unclaimed() == [job.head]
    folders.claim(job.folder)
    assert folders.unclaimed() == [] and folders.finished()[0].claimed


def test_jobs_run_one_after_the_other_in_one_worker(jobs, fake):
    first, second = submit(jobs, fake), submit(jobs, fake)
    follow(jobs, first)
    pid = jobs._worker.pid
    assert not second.over
    follow(jobs, second)
    assert [first.state, second.state] == [DONE, DONE] and jobs._worker.pid == pid
    assert second.started >= first.ended - 0.5


def test_time_left_is_told_only_when_it_can_be(jobs, fake):
    job = submit(jobs, fake)
    assert job.seconds_left() is None
    follow(jobs, job, until=lambda job: job.fraction > 0.4)
    assert 0 < job.seconds_left() < 60


@pytest.mark.parametrize("stage", ["load", "align", "views", "gaussians"])
def test_cancel_at_each_stage(jobs, fake, monkeypatch, stage):
    monkeypatch.setenv("FAKE_MODE", f"stays in {stage}")
    job = submit(jobs, fake)
    follow(jobs, job, until=lambda job: job.stage == stage)
    jobs.cancel(job)
    assert job.cancelling
    follow(jobs, job)
    assert job.state == CANCELLED and not job.folder.exists() and folders.finished() == []
    assert jobs._worker is not None, "a worker that obeys is kept, with its models"


def test_cancel_while_waiting_and_while_starting(jobs, fake, monkeypatch):
    monkeypatch.setenv("FAKE_MODE", "silent")
    starting, waiting = submit(jobs, fake), submit(jobs, fake)
    follow(jobs, starting, until=lambda job: job.stage == "start")
    jobs.cancel(waiting)
    jobs.cancel(starting)
    kinds = follow(jobs, starting, waiting)
    assert starting.state == waiting.state == CANCELLED and kinds.count("started") == 0


def test_a_waiting_job_is_cancelled_without_waiting_for_its_turn(jobs, fake, monkeypatch):
    monkeypatch.setenv("FAKE_MODE", "stays in views")
    running, waiting = submit(jobs, fake), submit(jobs, fake)
    follow(jobs, running, until=lambda job: job.stage == "views")
    jobs.cancel(waiting)
    kinds = follow(jobs, waiting)
    assert waiting.state == CANCELLED and kinds.count("cancelled") == 1 and running.state == runner.RUNNING
    jobs.cancel(running)
    assert follow(jobs, running).count("cancelled") == 1


def test_the_bar_moves_as_often_as_the_machine_draws_easily():
    pace = Pace(0.1)
    late, drawings, clock = 0.0, [], 0.0
    for cost in (0.002, 0.060):
        drawings.clear()
        start = clock
        while clock < start + 60:
            clock += 0.1 + late
            draw = pace.look(clock, news=True, at_once=False, moving=True)
            late = cost if draw else 0.0
            drawings += [clock] if draw else []
        rate = len(drawings) / 60
        assert (1.5 < rate < 2.1) if cost < 0.01 else (0.4 < rate and rate * cost < 0.04), (cost, rate)
    assert pace.look(clock + 0.1, news=False, at_once=True, moving=False), "an end is shown at once"
    assert not pace.look(clock + 0.2, news=False, at_once=False, moving=False)
    assert not pace.look(clock + 9.0, news=False, at_once=False, moving=False), "nothing new, nothing to draw"


def test_a_worker_that_does_not_obey_is_killed(jobs, fake, monkeypatch):
    monkeypatch.setenv("FAKE_MODE", "deaf")
    monkeypatch.setattr(runner, "PATIENCE", 0.5)
    job = submit(jobs, fake)
    follow(jobs, job, until=lambda job: job.stage == "load")
    pid = jobs._worker.pid
    jobs.cancel(job)
    follow(jobs, job)
    assert job.state == CANCELLED and gone(pid)


def test_a_worker_that_never_answers_is_given_up(jobs, fake, monkeypatch):
    monkeypatch.setenv("FAKE_MODE", "silent")
    monkeypatch.setattr(runner, "START_SECONDS", 0.5)
    job = submit(jobs, fake)
    follow(jobs, job)
    assert job.state == FAILED and "did not start" in job.error


def test_kill_9_of_the_worker_fails_the_job_and_not_the_next(jobs, fake, monkeypatch):
    monkeypatch.setenv("FAKE_MODE", "stays in views")
    first = submit(jobs, fake)
    follow(jobs, first, until=lambda job: job.stage == "views")
    os.kill(jobs._worker.pid, signal.SIGKILL)
    follow(jobs, first)
    assert first.state == FAILED and "memory ran out" in first.error
    monkeypatch.setenv("FAKE_MODE", "good")
    second = submit(jobs, fake)
    follow(jobs, second)
    assert second.state == DONE


def test_kill_9_between_jobs_goes_unnoticed(jobs, fake):
    first = submit(jobs, fake)
    follow(jobs, first)
    pid = jobs._worker.pid
    os.kill(pid, signal.SIGKILL)
    assert gone(pid)
    second = submit(jobs, fake)
    follow(jobs, second)
    assert second.state == DONE


def test_a_worker_whose_end_the_system_tells_late_is_replaced(jobs, fake, monkeypatch):
    """A process with many threads can be dead and not to be collected yet."""
    first = submit(jobs, fake)
    follow(jobs, first)
    ended = jobs._worker
    os.kill(ended.pid, signal.SIGKILL)
    assert gone(ended.pid)
    running = type(ended).running
    monkeypatch.setattr(type(ended), "running", property(lambda self: self is ended or running.fget(self)))
    second = submit(jobs, fake)
    follow(jobs, second)
    assert second.state == DONE and jobs._worker is not ended


@pytest.mark.parametrize("stage", ["load", "views", "gaussians"])
def test_a_crash_at_any_stage_is_told(jobs, fake, monkeypatch, stage):
    monkeypatch.setenv("FAKE_MODE", f"dies in {stage}")
    job = submit(jobs, fake)
    follow(jobs, job)
    assert job.state == FAILED and "exit code 3" in job.error and not job.folder.exists()


def test_chatter_between_the_lines_does_not_matter(jobs, fake, monkeypatch):
    monkeypatch.setenv("FAKE_MODE", "chatters")
    job = submit(jobs, fake)
    follow(jobs, job)
    assert job.state == DONE


def test_nothing_but_garbage_fails(jobs, fake, monkeypatch):
    monkeypatch.setenv("FAKE_MODE", "garbage")
    job = submit(jobs, fake)
    follow(jobs, job)
    assert job.state == FAILED and "not FaceLift's" in job.error


def test_done_without_a_head_fails(jobs, fake, monkeypatch):
    monkeypatch.setenv("FAKE_MODE", "lies")
    job = submit(jobs, fake)
    follow(jobs, job)
    assert job.state == FAILED and "not in" in job.error


def test_runtime_deleted_between_jobs(jobs, fake):
    first = submit(jobs, fake)
    follow(jobs, first)
    jobs._inbox.put(jobs._release)
    fake.unlink()
    second = submit(jobs, fake)
    follow(jobs, second)
    assert second.state == FAILED and second.error.startswith(f"Cannot start {fake}")


def test_photo_deleted_while_waiting(jobs, fake, tmp_path):
    photo = tmp_path / "photo.png"
    photo.write_bytes(PICTURE.read_bytes())
    first, second = submit(jobs, fake), submit(jobs, fake, photo)
    photo.unlink()
    follow(jobs, first, second)
    assert first.state == DONE and second.state == FAILED and "photo" in second.error


def test_idle_worker_ends(jobs, fake):
    job = submit(jobs, fake, idle_seconds=0.2)
    follow(jobs, job)
    pid = jobs._worker.pid
    assert jobs.holds_models and gone(pid)


def test_release_ends_the_worker_after_the_job_at_hand(jobs, fake):
    job = submit(jobs, fake)
    follow(jobs, job, until=lambda job: job.stage == "views")
    pid = jobs._worker.pid
    jobs.release()
    follow(jobs, job)
    assert job.state == DONE and gone(pid) and not jobs.holds_models


def test_another_runtime_gets_a_worker_of_its_own(jobs, fake, tmp_path):
    first = submit(jobs, fake)
    follow(jobs, first)
    pid = jobs._worker.pid
    other = tmp_path / "other python"
    other.write_text(fake.read_text())
    other.chmod(0o755)
    second = submit(jobs, other)
    follow(jobs, second)
    assert second.state == DONE and gone(pid) and jobs._worker.pid != pid


@pytest.mark.parametrize("mode", ["stays in views", "deaf", "silent"])
def test_shutdown_is_quick_and_leaves_no_process(fake, monkeypatch, mode):
    monkeypatch.setenv("FAKE_MODE", mode)
    jobs = Runner()
    job, waiting = submit(jobs, fake), submit(jobs, fake)
    stage = {"stays in views": "views", "deaf": "load", "silent": "start"}[mode]
    follow(jobs, job, until=lambda job: job.stage == stage)
    while jobs._worker is None:
        time.sleep(0.01)
    pid = jobs._worker.pid
    start = time.monotonic()
    jobs.shutdown()
    assert time.monotonic() - start < 2 * runner.SHUTDOWN_SECONDS + 1
    assert gone(pid) and job.state == waiting.state == CANCELLED


PARENT = """
import os, sys, time
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from facelift_blender.job import folders
from facelift_blender.job.runner import How, Request, Runner
jobs = Runner()
job = jobs.submit(Request(sys.argv[3], str(folders.new_folder())), How(Path(sys.argv[2])))
while job.stage != "views":
    jobs.poll()
    time.sleep(0.01)
print(jobs._worker.pid, flush=True)
if sys.argv[4] == "kill":
    os.kill(os.getpid(), 9)
"""


@pytest.mark.parametrize("end", ["exit", "kill"])
def test_no_worker_outlives_its_parent(fake, monkeypatch, end):
    monkeypatch.setenv("FAKE_MODE", "stays in views")
    arguments = [sys.executable, "-c", PARENT, str(HERE.parent), str(fake), str(PICTURE), end]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=SOON)
    assert done.returncode == (-9 if end == "kill" else 0), done.stderr
    assert gone(int(done.stdout))


def test_cache_can_be_measured_and_cleared_but_not_under_a_job(jobs, fake, monkeypatch):
    done = submit(jobs, fake)
    follow(jobs, done)
    monkeypatch.setenv("FAKE_STEP", "0.3")
    jobs.release()
    running = submit(jobs, fake)
    follow(jobs, running, until=lambda job: job.stage == "views")
    assert folders.size() > HEAD.stat().st_size
    folders.clear({running.folder})
    assert folders.finished() == [] and running.folder.exists()
    follow(jobs, running)
    assert running.state == DONE


def test_damaged_folders_are_no_heads(tmp_path):
    assert folders.read(tmp_path) is None
    for text in ("", "[]", "{", '{"photo": 3}', '{"photo": "a.jpg"}'):
        (tmp_path / "result.json").write_text(text)
        assert folders.read(tmp_path) is None


# The runtime


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


def test_quick_check_says_what_is_missing(tmp_path, fake):
    good = check.quick_check(fake)
    assert good.problems == () and good.python == "3.12.0" and "tested with" in good.notes[0]
    assert "no Python at" in check.quick_check(tmp_path / "nowhere").problems[0]
    assert "not a Python" in check.quick_check(PICTURE).problems[0]
    for text, word in {
        "echo hello": "not a Python",
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


def test_pins_know_every_package_that_is_checked():
    assert set(check.MODULES) <= set(pins())


def test_thorough_check_of_this_python(weights_folder):
    result = check.thorough_check(Path(sys.executable), str(weights_folder))
    assert result.problems == ()
    assert result.info["devices"]["cpu"] and result.info["weights"][str(weights_folder)]["bytes"] > 0


# Cut-outs


@pytest.fixture
def desk(jobs) -> CutOuts:
    return CutOuts(jobs)


def copy_of_picture(tmp_path, name: str, color: int = 0) -> Path:
    """Each with a content of its own."""
    photo = tmp_path / name
    Image.new("RGB", (64, 64), (color, len(name), 7)).save(photo)
    return photo


def subject(photo: Path = PICTURE) -> Subject:
    return subject_of(photo, True, "auto")


def settle(jobs: Runner, desk: CutOuts, *wanted: CutOut) -> None:
    deadline = time.monotonic() + SOON
    while not all(cutout.over for cutout in wanted):
        assert time.monotonic() < deadline
        for item, _ in jobs.poll():
            if isinstance(item, CutOut):
                desk.hear(item)
        time.sleep(0.01)


def test_a_cutout_is_made_and_known_from_then_on(jobs, desk, fake):
    wanted = subject()
    assert desk.known(wanted) is None and subject_of(PICTURE.with_name("nowhere.png"), True, "auto") is None
    cutout = desk.ask(wanted, How(fake))
    assert desk.making(wanted) and desk.ask(wanted, How(fake)) is cutout, "not twice"
    settle(jobs, desk, cutout)
    known = desk.known(wanted)
    assert cutout.state == DONE and not desk.making(wanted) and not jobs.cutting
    assert known.notes == ("2 faces were found; the largest is used.",) and known.preview.is_file()
    with Image.open(known.cutout) as image:
        assert image.mode == "RGBA"
    assert CutOuts(Runner()).known(wanted) == known, "in the next Blender, too"
    assert (
        desk.known(subject_of(PICTURE, True, "none")) is None and desk.known(subject_of(PICTURE, False, "auto")) is None
    )
    assert jobs.holds_memory and not jobs.holds_models, "no model was loaded"
    known.cutout.unlink()
    assert desk.known(wanted) is None


def test_the_same_photo_elsewhere_is_the_same(tmp_path):
    copy = tmp_path / "copy.png"
    copy.write_bytes(PICTURE.read_bytes())
    assert subject(copy).key == subject().key != subject(copy_of_picture(tmp_path, "other.png")).key


def test_a_photo_is_looked_at_for_a_moment_before_anything_begins(jobs, desk, fake, tmp_path):
    first, second = (subject(copy_of_picture(tmp_path, name)) for name in ("a.png", "bb.png"))
    desk.look(first, 0.0)
    desk.tick(How(fake), 0.1)
    desk.look(second, 0.2)
    desk.look(second, 0.5)
    desk.tick(How(fake), 0.2 + DEBOUNCE - 0.05)
    assert desk.waiting and not jobs.cutting
    desk.tick(How(fake), 0.2 + DEBOUNCE)
    assert desk.making(second) and not desk.making(first) and not desk.waiting
    desk.look(first, 1.0)
    desk.look_away()
    desk.tick(How(fake), 9.0)
    assert not desk.making(first)


def test_of_the_cutouts_that_wait_only_the_newest_is_made(jobs, desk, fake, tmp_path, monkeypatch):
    monkeypatch.setenv("FAKE_CUT", "0.7")
    subjects = [subject(copy_of_picture(tmp_path, name)) for name in ("a.png", "bb.png", "ccc.png")]
    first = desk.ask(subjects[0], How(fake))
    while jobs._cutting is None:
        time.sleep(0.01)
    others = [desk.ask(wanted, How(fake)) for wanted in subjects[1:]]
    settle(jobs, desk, first, *others)
    assert [first.state, *(other.state for other in others)] == [DONE, CANCELLED, DONE]
    assert desk.known(subjects[1]) is None and not desk.making(subjects[1]), "it can be asked for again"


def test_a_cutout_keeps_no_job_waiting(jobs, desk, fake, monkeypatch):
    monkeypatch.setenv("FAKE_CUT", "60")
    cutout = desk.ask(subject(), How(fake))
    while jobs._cutting is None:
        time.sleep(0.01)
    job = submit(jobs, fake)
    follow(jobs, job)
    assert job.state == DONE and not cutout.over
    start = time.monotonic()
    jobs.shutdown()
    assert time.monotonic() - start < runner.SHUTDOWN_SECONDS and not jobs._worker


def test_a_cutout_is_made_beside_a_job(jobs, desk, fake, monkeypatch):
    monkeypatch.setenv("FAKE_MODE", "stays in views")
    job = submit(jobs, fake)
    follow(jobs, job, until=lambda job: job.stage == "views")
    cutout = desk.ask(subject(), How(fake))
    settle(jobs, desk, cutout)
    assert cutout.state == DONE and job.state == runner.RUNNING
    jobs.cancel(job)
    follow(jobs, job)


def test_what_a_job_cut_out_is_known_without_asking(jobs, desk, fake, tmp_path):
    photo = copy_of_picture(tmp_path, "photo.png")
    job = submit(jobs, fake, photo)
    follow(jobs, job)
    desk.learn(job)
    assert desk.known(subject(photo)).notes == ("As the job saw it.",) and job.head.cutout.is_file()
    painted = jobs.submit(Request(str(PICTURE), str(folders.new_folder()), cutout=os.environ["FAKE_CUTOUT"]), How(fake))
    follow(jobs, painted)
    desk.learn(painted)
    assert desk.known(subject()) is None, "painted by hand is not what the photo gives"


def test_cutouts_that_fail(jobs, desk, fake, tmp_path, monkeypatch):
    nobody = subject(copy_of_picture(tmp_path, "nobody.png"))
    settle(jobs, desk, desk.ask(nobody, How(fake)))
    assert desk.problems[nobody.key] == "No face was found."
    lost = desk.ask(subject(), How(tmp_path / "no python"))
    settle(jobs, desk, lost)
    assert lost.state == FAILED and lost.error.startswith("Cannot start")
    monkeypatch.setenv("FAKE_CUT", "60")
    jobs.release()
    killed = desk.ask(subject(), How(fake))
    while jobs._cutting is None:
        time.sleep(0.01)
    os.kill(jobs._worker.pid, signal.SIGKILL)
    settle(jobs, desk, killed)
    assert killed.state == FAILED and "killed" in killed.error
    monkeypatch.setenv("FAKE_CUT", "0")
    again = desk.ask(subject(), How(fake))
    settle(jobs, desk, again)
    assert again.state == DONE and subject().key not in desk.problems


def test_releasing_memory_drops_a_cutout(jobs, desk, fake, monkeypatch):
    monkeypatch.setenv("FAKE_CUT", "60")
    cutout = desk.ask(subject(), How(fake))
    while jobs._cutting is None:
        time.sleep(0.01)
    jobs.release()
    settle(jobs, desk, cutout)
    assert cutout.state == CANCELLED and not desk.making(subject())


def test_png_holds_every_pixel_as_it_was(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (37, 53, 4), np.uint8)
    write_png(pixels, tmp_path / "a.png")
    write_png(pixels[..., :3], tmp_path / "b.png")
    with Image.open(tmp_path / "a.png") as image:
        assert image.mode == "RGBA" and np.array_equal(np.asarray(image), pixels)
    with Image.open(tmp_path / "b.png") as image:
        assert np.array_equal(np.asarray(image), pixels[..., :3])


# The real job, in this process


def request(folder: Path, weights: Path, **settings) -> Request:
    settings = {"crop": False, "matting": "none", "steps": 2, "likeness": "off", **settings}
    return Request(str(PICTURE), str(folder), str(weights), device="cpu", **settings)


def test_real_job_in_this_process(weights_folder, jobs):
    job = jobs.submit(request(folders.new_folder(), weights_folder), How(None))
    follow(jobs, job)
    assert job.state == DONE, job.error
    assert job.head.summary["gaussians"] > 100 and job.head.portrait.is_file() and job.head.views.is_file()
    assert jobs.holds_models
    jobs.release()
    deadline = time.monotonic() + SOON
    while jobs.holds_models and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not jobs.holds_models


def test_real_job_in_this_process_cancels_within_a_step(weights_folder, jobs):
    job = jobs.submit(request(folders.new_folder(), weights_folder, steps=500), How(None))
    follow(jobs, job, until=lambda job: job.message.startswith("Step 2"))
    jobs.cancel(job)
    start = time.monotonic()
    follow(jobs, job)
    assert job.state == CANCELLED and time.monotonic() - start < 0.2 * SOON, "500 steps would take longer"


def test_real_worker_cancels_runs_again_and_tells_of_bad_weights(weights_folder, tmp_path, jobs):
    """One worker for several things, for loading PyTorch takes its time."""
    how = How(Path(sys.executable))

    def go(**settings) -> runner.Job:
        weights = settings.pop("weights", weights_folder)
        return jobs.submit(request(folders.new_folder(), weights, **settings), how)

    job = go(steps=500)
    deadline = time.monotonic() + 240.0
    while not job.message.startswith("Step 2") and not job.over:
        assert time.monotonic() < deadline
        jobs.poll()
        time.sleep(0.02)
    assert not job.over, job.error
    desk = CutOuts(jobs)
    settle(jobs, desk, desk.ask(subject_of(PICTURE, False, "none"), how))
    assert desk.known(subject_of(PICTURE, False, "none")) is not None and not job.over, desk.problems
    jobs.cancel(job)
    follow(jobs, job)
    assert job.state == CANCELLED and not job.folder.exists()
    pid = jobs._worker.pid
    if hasattr(os, "nice"):
        assert os.getpriority(os.PRIO_PROCESS, pid) >= NICENESS
    if (autogroup := Path(f"/proc/{pid}/autogroup")).exists():
        assert autogroup.read_text().split()[-1] == str(NICENESS), "its session competes as a whole"
    again, bad = go(), go(weights=tmp_path)
    follow(jobs, again, bad)
    assert again.state == DONE and jobs._worker.pid == pid
    assert bad.state == FAILED and "does not hold FaceLift weights" in bad.error


@pytest.mark.parametrize("what", ["a file in the way", "disk full"])
def test_files_that_cannot_be_written(weights_folder, tmp_path, what):
    models, events = core_job.Models(), []
    folder = tmp_path / "job"
    if what == "a file in the way":
        folder.write_text("")
        with pytest.raises(FaceLiftError, match="Cannot make the folder"):
            core_job.run(request(folder, weights_folder), events.append, lambda: False, models)
        return
    import resource  # not on Windows, where this module is skipped

    models.get(str(weights_folder), "cpu")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        with pytest.raises(FaceLiftError, match="Cannot write"):
            core_job.run(request(folder, weights_folder), events.append, lambda: False, models)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(folder.iterdir()) == [], "nothing half-written"


def test_requests_of_another_version_are_refused(tmp_path):
    good = asdict(Request("a.jpg", str(tmp_path)))
    assert Request.from_json(good) == Request("a.jpg", str(tmp_path))
    assert Request.from_json({**good, "guidance_scale": 3}).guidance_scale == 3
    for bad in ([], {}, {"photo": "a.jpg"}, {**good, "new": 1}, {**good, "steps": "50"}, {**good, "crop": 1}):
        with pytest.raises(FaceLiftError):
            Request.from_json(bad)

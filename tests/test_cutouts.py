"""Portraits as cut out: which are known, which are being made, and what happens if that fails. Without Blender."""

import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from fake_runtime import PICTURE, follow, gone, pid_of, submit, worker
from PIL import Image

from facelift_blender.jobs.job import CANCELLED, DONE, FAILED, RUNNING
from facelift_blender.jobs.queue import SHUTDOWN_SECONDS, Queue
from facelift_blender.reconstruct.cutouts import DEBOUNCE, CutOuts, Subject, subject_of
from facelift_blender.reconstruct.png import write_png

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the stand-in for Python is a script with #!")


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


def test_a_cutout_is_made_and_known_from_then_on(jobs, desk, fake):
    wanted = subject()
    assert desk.known(wanted) is None and subject_of(PICTURE.with_name("nowhere.png"), True, "auto") is None
    cutout = desk.ask(wanted, worker(fake))
    assert desk.making(wanted) and desk.ask(wanted, worker(fake)) is cutout, "not twice"
    follow(jobs, cutout)
    known = desk.known(wanted)
    assert cutout.state == DONE and not desk.making(wanted) and not jobs.active("cutout")
    assert known.notes == ("2 faces were found; the largest is used.",) and known.preview.is_file()
    with Image.open(known.cutout) as image:
        assert image.mode == "RGBA"
    assert CutOuts(Queue()).known(wanted) == known, "in the next Blender, too"
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
    desk.tick(worker(fake), 0.1)
    desk.look(second, 0.2)
    desk.look(second, 0.5)
    desk.tick(worker(fake), 0.2 + DEBOUNCE - 0.05)
    assert desk.waiting and not jobs.active("cutout")
    desk.tick(worker(fake), 0.2 + DEBOUNCE)
    assert desk.making(second) and not desk.making(first) and not desk.waiting
    desk.look(first, 1.0)
    desk.look_away()
    desk.tick(worker(fake), 9.0)
    assert not desk.making(first)


def test_of_the_cutouts_that_wait_only_the_newest_is_made(jobs, desk, fake, tmp_path, monkeypatch):
    monkeypatch.setenv("FAKE_CUT", "0.7")
    subjects = [subject(copy_of_picture(tmp_path, name)) for name in ("a.png", "bb.png", "ccc.png")]
    first = desk.ask(subjects[0], worker(fake))
    follow(jobs, first, until=lambda job: job.state == RUNNING)
    others = [desk.ask(wanted, worker(fake)) for wanted in subjects[1:]]
    follow(jobs, first, *others)
    assert [first.state, *(other.state for other in others)] == [DONE, CANCELLED, DONE]
    assert desk.known(subjects[1]) is None and not desk.making(subjects[1]), "it can be asked for again"


def test_a_cutout_keeps_no_job_waiting(jobs, desk, fake, monkeypatch):
    monkeypatch.setenv("FAKE_CUT", "60")
    cutout = desk.ask(subject(), worker(fake))
    follow(jobs, cutout, until=lambda job: job.state == RUNNING)
    job = submit(jobs, fake)
    follow(jobs, job)
    assert job.state == DONE and not cutout.over
    pid, start = pid_of(jobs), time.monotonic()
    jobs.shutdown()
    assert time.monotonic() - start < SHUTDOWN_SECONDS and gone(pid)


def test_a_cutout_is_made_beside_a_job(jobs, desk, fake, monkeypatch):
    monkeypatch.setenv("FAKE_MODE", "stays in views")
    job = submit(jobs, fake)
    follow(jobs, job, until=lambda job: job.stage == "views")
    cutout = desk.ask(subject(), worker(fake))
    follow(jobs, cutout)
    assert cutout.state == DONE and job.state == RUNNING
    jobs.cancel(job)
    follow(jobs, job)


def test_what_a_job_cut_out_is_known_without_asking(jobs, desk, fake, tmp_path):
    photo = copy_of_picture(tmp_path, "photo.png")
    job = submit(jobs, fake, photo)
    follow(jobs, job)
    desk.learn(job)
    assert desk.known(subject(photo)).notes == ("As the job saw it.",) and job.cutout.is_file()
    painted = submit(jobs, fake, cutout=os.environ["FAKE_CUTOUT"])
    follow(jobs, painted)
    desk.learn(painted)
    assert desk.known(subject()) is None, "painted by hand is not what the photo gives"


def test_cutouts_that_fail(jobs, desk, fake, tmp_path, monkeypatch):
    nobody = subject(copy_of_picture(tmp_path, "nobody.png"))
    follow(jobs, desk.ask(nobody, worker(fake)))
    assert desk.problems[nobody.key] == "No face was found."
    lost = desk.ask(subject(), worker(tmp_path / "no python"))
    follow(jobs, lost)
    assert lost.state == FAILED and lost.error.startswith("Cannot start")
    monkeypatch.setenv("FAKE_CUT", "60")
    jobs.release()
    killed = desk.ask(subject(), worker(fake))
    follow(jobs, killed, until=lambda job: job.state == RUNNING)
    os.kill(pid_of(jobs), signal.SIGKILL)
    follow(jobs, killed)
    assert killed.state == FAILED and "killed" in killed.error
    monkeypatch.setenv("FAKE_CUT", "0")
    again = desk.ask(subject(), worker(fake))
    follow(jobs, again)
    assert again.state == DONE and subject().key not in desk.problems


def test_releasing_memory_drops_a_cutout(jobs, desk, fake, monkeypatch):
    monkeypatch.setenv("FAKE_CUT", "60")
    cutout = desk.ask(subject(), worker(fake))
    follow(jobs, cutout, until=lambda job: job.state == RUNNING)
    jobs.release()
    follow(jobs, cutout)
    assert cutout.state == CANCELLED and not desk.making(subject())


def test_png_holds_every_pixel_as_it_was(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (37, 53, 4), np.uint8)
    write_png(pixels, tmp_path / "a.png")
    write_png(pixels[..., :3], tmp_path / "b.png")
    with Image.open(tmp_path / "a.png") as image:
        assert image.mode == "RGBA" and np.array_equal(np.asarray(image), pixels)
    with Image.open(tmp_path / "b.png") as image:
        assert np.array_equal(np.asarray(image), pixels[..., :3])

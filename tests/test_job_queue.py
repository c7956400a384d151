"""The job queue: everything that can be tested of it without Blender."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from fake_runtime import HEAD, HERE, PICTURE, SOON, folder_of, follow, gone, lane_of, pid_of, submit

from facelift_blender.jobs import folders, lane
from facelift_blender.jobs.job import CANCELLED, DONE, FAILED, LOG_LINES, RUNNING, WAITING, Job, Usual, WorkerSettings
from facelift_blender.jobs.queue import SHUTDOWN_SECONDS, Queue
from facelift_blender.jobs.redraw_throttle import RedrawThrottle
from facelift_blender.reconstruct.cutouts import CutOuts, subject_of
from facelift_core.jobs import cutout, runtime, weights
from facelift_core.jobs.worker import NICENESS
from facelift_core.processes import client

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the stand-in for Python is a script with #!")


def test_one_job_gives_events_and_a_whole_head(jobs, fake):
    job = submit(jobs, fake)
    kinds = follow(jobs, job)
    assert job.state == DONE and kinds[0] == "Started" and kinds[-2:] == ["Views", "Done"]
    head = folders.read(folder_of(job))
    assert head.head.read_bytes() == HEAD.read_bytes() and head.name == "input" and head.summary == job.result
    assert job.views == folder_of(job) / "views.png"
    assert folders.unclaimed() == [head]
    folders.claim(folder_of(job))
    assert folders.unclaimed() == [] and folders.finished()[0].claimed


def test_jobs_run_one_after_the_other_in_one_worker(jobs, fake):
    first, second = submit(jobs, fake), submit(jobs, fake)
    follow(jobs, first)
    pid = pid_of(jobs)
    assert not second.over
    follow(jobs, second)
    assert [first.state, second.state] == [DONE, DONE] and pid_of(jobs) == pid
    assert second.started >= first.ended - 0.5


def test_loaded_models_are_known(jobs, fake):
    job = submit(jobs, fake)
    assert job.seconds_left() is None
    follow(jobs, job, until=lambda job: job.fraction > 0.4)
    assert job.seconds_left() is None and jobs.models_end is None
    follow(jobs, job)
    again = submit(jobs, fake, usually=lambda: Usual(50.0, 100.0))
    follow(jobs, again, until=lambda job: job.state == RUNNING)
    assert again.usual == Usual(0.0, 100.0), "the models are loaded"


@pytest.mark.parametrize("stage", ["load", "align", "views", "gaussians"])
def test_cancel_at_each_stage(jobs, fake, monkeypatch, stage):
    monkeypatch.setenv("FAKE_MODE", f"stays in {stage}")
    job = submit(jobs, fake)
    follow(jobs, job, until=lambda job: job.stage == stage)
    jobs.cancel(job)
    assert job.cancelling
    follow(jobs, job)
    assert job.state == CANCELLED and not folder_of(job).exists() and folders.finished() == []
    assert jobs.holds_models, "a worker that obeys is kept, with its models"


def test_cancel_while_waiting_and_while_starting(jobs, fake, monkeypatch):
    monkeypatch.setenv("FAKE_MODE", "silent")
    starting, waiting = submit(jobs, fake), submit(jobs, fake)
    follow(jobs, starting, until=lambda job: job.stage == "start")
    jobs.cancel(waiting)
    jobs.cancel(starting)
    kinds = follow(jobs, starting, waiting)
    assert starting.state == waiting.state == CANCELLED and kinds.count("Started") == 0


def test_a_waiting_job_is_cancelled_without_waiting_for_its_turn(jobs, fake, monkeypatch):
    monkeypatch.setenv("FAKE_MODE", "stays in views")
    running, waiting = submit(jobs, fake), submit(jobs, fake)
    follow(jobs, running, until=lambda job: job.stage == "views")
    jobs.cancel(waiting)
    kinds = follow(jobs, waiting)
    assert waiting.state == CANCELLED and kinds.count("Stopped") == 1 and running.state == RUNNING
    jobs.cancel(running)
    assert follow(jobs, running).count("Stopped") == 1


def test_a_worker_that_does_not_obey_is_killed(jobs, fake, monkeypatch):
    monkeypatch.setenv("FAKE_MODE", "deaf")
    monkeypatch.setattr(lane, "PATIENCE", 0.5)
    job = submit(jobs, fake)
    follow(jobs, job, until=lambda job: job.stage == "load")
    pid = pid_of(jobs)
    jobs.cancel(job)
    follow(jobs, job)
    assert job.state == CANCELLED and gone(pid)


def test_a_worker_that_never_answers_is_given_up(jobs, fake, monkeypatch):
    monkeypatch.setenv("FAKE_MODE", "silent")
    monkeypatch.setattr(lane, "START_SECONDS", 0.5)
    job = submit(jobs, fake)
    pid = pid_of(jobs)
    follow(jobs, job)
    assert job.state == FAILED and "did not start" in job.error and gone(pid)


def test_kill_9_of_the_worker_fails_the_job_and_not_the_next(jobs, fake, monkeypatch):
    monkeypatch.setenv("FAKE_MODE", "stays in views")
    first = submit(jobs, fake)
    follow(jobs, first, until=lambda job: job.stage == "views")
    os.kill(pid_of(jobs), signal.SIGKILL)
    follow(jobs, first)
    assert first.state == FAILED and "memory ran out" in first.error
    monkeypatch.setenv("FAKE_MODE", "good")
    second = submit(jobs, fake)
    follow(jobs, second)
    assert second.state == DONE


def test_kill_9_between_jobs_goes_unnoticed(jobs, fake):
    first = submit(jobs, fake)
    follow(jobs, first)
    pid = pid_of(jobs)
    os.kill(pid, signal.SIGKILL)
    assert gone(pid)
    second = submit(jobs, fake)
    follow(jobs, second)
    assert second.state == DONE


def test_a_worker_whose_end_the_system_tells_late_is_replaced(jobs, fake, monkeypatch):
    """A process with many threads can be dead and not to be collected yet."""
    first = submit(jobs, fake)
    follow(jobs, first)
    ended = lane_of(jobs)._worker
    os.kill(ended.pid, signal.SIGKILL)
    assert gone(ended.pid)
    running = type(ended).running
    monkeypatch.setattr(type(ended), "running", property(lambda self: self is ended or running.fget(self)))
    second = submit(jobs, fake)
    follow(jobs, second)
    assert second.state == DONE and lane_of(jobs)._worker is not ended


@pytest.mark.parametrize("stage", ["load", "views", "gaussians"])
def test_a_crash_at_any_stage_is_told(jobs, fake, monkeypatch, stage):
    monkeypatch.setenv("FAKE_MODE", f"dies in {stage}")
    job = submit(jobs, fake)
    follow(jobs, job)
    assert job.state == FAILED and "exit code 3" in job.error and not folder_of(job).exists()


def test_chatter_between_the_lines_does_not_matter(jobs, fake, monkeypatch):
    monkeypatch.setenv("FAKE_MODE", "chatters")
    job = submit(jobs, fake)
    follow(jobs, job)
    assert job.state == DONE


def test_nothing_but_garbage_fails(jobs, fake, monkeypatch):
    monkeypatch.setenv("FAKE_MODE", "garbage")
    job = submit(jobs, fake)
    follow(jobs, job)
    assert job.state == FAILED and "was not understood" in job.error


def test_done_without_a_head_fails(jobs, fake, monkeypatch):
    monkeypatch.setenv("FAKE_MODE", "lies")
    job = submit(jobs, fake)
    follow(jobs, job)
    assert job.state == FAILED and "missing from" in job.error and not folder_of(job).exists()


def test_runtime_deleted_between_jobs(jobs, fake):
    first = submit(jobs, fake)
    follow(jobs, first)
    jobs.release()
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
    pid = pid_of(jobs)
    assert jobs.holds_models and gone(pid)


def test_release_ends_the_worker_after_the_job_at_hand(jobs, fake):
    job = submit(jobs, fake)
    follow(jobs, job, until=lambda job: job.stage == "views")
    pid = pid_of(jobs)
    jobs.release()
    follow(jobs, job)
    assert job.state == DONE and gone(pid) and not jobs.holds_models


def test_another_runtime_gets_a_worker_of_its_own(jobs, fake, tmp_path):
    first = submit(jobs, fake)
    follow(jobs, first)
    pid = pid_of(jobs)
    other = tmp_path / "other python"
    other.write_text(fake.read_text())
    other.chmod(0o755)
    second = submit(jobs, other)
    follow(jobs, second)
    assert second.state == DONE and gone(pid) and pid_of(jobs) != pid


@pytest.mark.parametrize("mode", ["stays in views", "deaf", "silent"])
def test_shutdown_is_quick_and_leaves_no_process(fake, monkeypatch, mode):
    monkeypatch.setenv("FAKE_MODE", mode)
    jobs = Queue()
    job, waiting = submit(jobs, fake), submit(jobs, fake)
    stage = {"stays in views": "views", "deaf": "load", "silent": "start"}[mode]
    follow(jobs, job, until=lambda job: job.stage == stage)
    pid = pid_of(jobs)
    start = time.monotonic()
    jobs.shutdown()
    assert time.monotonic() - start < SHUTDOWN_SECONDS + 1
    assert gone(pid) and job.state == waiting.state == CANCELLED


def test_a_worker_that_dies_as_a_cutout_is_asked_for_fails_the_head_with_the_reason(jobs, fake, monkeypatch, tmp_path):
    monkeypatch.setenv("FAKE_MODE", "stays in views")
    head = submit(jobs, fake)
    follow(jobs, head, until=lambda job: job.stage == "views")
    request = cutout.Request(str(PICTURE), str(tmp_path / "a.png"), str(tmp_path / "b.png"))
    ended, receive, send = lane_of(jobs)._worker, client.Worker.receive, client.Worker.request
    asked = threading.Event()
    # Nobody hears of the end before the cut-out is asked for; whether that is refused is up to the system.
    monkeypatch.setattr(
        client.Worker,
        "receive",
        lambda self, seconds: None if self is ended and not asked.is_set() else receive(self, seconds),
    )
    monkeypatch.setattr(client.Worker, "request", lambda self, *arguments: (asked.set(), send(self, *arguments))[1])
    time.sleep(3 * lane.TICK)  # until nobody listens
    os.kill(ended.pid, signal.SIGKILL)
    assert gone(ended.pid)
    beside = jobs.submit(Job("cutout", "a", request, head.worker))
    follow(jobs, head, beside)
    assert head.state == FAILED and "killed" in head.error
    assert beside.state == DONE, "it had not begun: the next worker makes it"


def test_a_cutout_that_does_not_obey_takes_no_head_with_it(jobs, fake, monkeypatch, tmp_path):
    monkeypatch.setenv("FAKE_MODE", "stays in views")
    monkeypatch.setenv("FAKE_CUT", "60")
    monkeypatch.setattr(lane, "PATIENCE", 0.5)
    head = submit(jobs, fake)
    follow(jobs, head, until=lambda job: job.stage == "views")
    beside = jobs.submit(Job("cutout", "a", cutout.Request(str(PICTURE), str(tmp_path / "a.png")), head.worker))
    follow(jobs, beside, until=lambda job: job.state == RUNNING)
    pid = pid_of(jobs)
    jobs.cancel(beside)
    follow(jobs, beside)
    assert beside.state == CANCELLED and head.state == RUNNING and not gone(pid, 0.0)
    jobs.cancel(head)
    follow(jobs, head)


def test_nothing_that_listens_is_called_at_shutdown(fake, monkeypatch):
    """At quit, when Blender's data are gone."""
    monkeypatch.setenv("FAKE_MODE", "stays in views")
    jobs, heard = Queue(), []
    job = submit(jobs, fake)
    follow(jobs, job, until=lambda job: job.stage == "views")
    job.heard = lambda *_: heard.append(1)
    jobs.shutdown()
    assert job.state == CANCELLED and heard == []


PARENT = """
import os, sys, time
sys.path[:0] = sys.argv[1], sys.argv[1] + "/tests"
from pathlib import Path
import fake_runtime
from facelift_blender.jobs.queue import Queue
jobs = Queue()
job = fake_runtime.submit(jobs, Path(sys.argv[2]), Path(sys.argv[3]))
while job.stage != "views":
    jobs.poll()
    time.sleep(0.01)
print(fake_runtime.pid_of(jobs), flush=True)
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


# Other kinds of jobs


@pytest.fixture
def long_work(monkeypatch) -> None:
    monkeypatch.setenv("FAKE_LINES", "3")
    monkeypatch.setenv("FAKE_WEIGHTS", "60")


def submit_weights(jobs: Queue, python: Path, **how) -> Job:
    return jobs.submit(Job("weights", "Weights", weights.Request("verify"), WorkerSettings(python, None), **how))


def test_log_progress_and_time_left_of_another_kind(jobs, fake, monkeypatch):
    monkeypatch.setenv("FAKE_LINES", str(LOG_LINES + 5))
    monkeypatch.setenv("FAKE_WEIGHTS", "1")
    heard = []
    job = submit_weights(jobs, fake, heard=lambda job, event: heard.append((type(event).__name__, job.state)))
    seen = follow(jobs, job, until=lambda job: job.message == "half")
    assert (job.stage, job.fraction, job.left, job.seconds_left()) == ("download", 0.5, 3.0, 3.0) and not job.over
    assert len(job.lines) == LOG_LINES and job.lines[-1] == f"line {LOG_LINES + 4}"
    seen += follow(jobs, job)
    assert job.state == DONE and job.result == {"message": "They are ready."} and job.ended >= job.started
    assert [name for name, _ in heard] == seen, "what listens hears all of it"
    assert heard[0] == ("Started", RUNNING) and heard[-1] == ("Done", DONE), "with the job up to date"


def test_one_of_a_kind_at_a_time_and_beside_heads(jobs, fake, long_work):
    first, second = submit_weights(jobs, fake), submit_weights(jobs, fake)
    follow(jobs, first, until=lambda job: job.message == "half")
    head = submit(jobs, fake)
    follow(jobs, head)
    assert (head.state, first.state, second.state) == (DONE, RUNNING, WAITING)
    assert jobs.active("weights") == [first, second] and jobs.active() == [first, second]
    assert jobs.latest("weights") is second and jobs.latest("reconstruct") is head and jobs.latest("runtime") is None
    jobs.cancel(first)
    follow(jobs, first)
    follow(jobs, second, until=lambda job: job.message == "half")
    assert first.state == CANCELLED and first.error == ""
    jobs.release()
    pid = pid_of(jobs, "weights")
    time.sleep(0.5)
    assert not second.over and not gone(pid, 0.0), "only what reconstructs is released"


def test_a_worker_without_models_ends_with_its_last_job(jobs, fake, monkeypatch):
    monkeypatch.setenv("FAKE_LINES", "0")
    monkeypatch.setenv("FAKE_WEIGHTS", "0.5")
    job = submit_weights(jobs, fake)
    pid = pid_of(jobs, "weights")
    follow(jobs, job)
    assert job.state == DONE and gone(pid)


def test_a_failure_in_this_program_fails_the_job(jobs, fake, monkeypatch):
    monkeypatch.setattr(lane, "asdict", lambda request: {}["x"])
    job = submit(jobs, fake)
    follow(jobs, job)
    assert job.state == FAILED and job.error == "Unexpected error: KeyError: 'x'"
    monkeypatch.undo()


def test_a_real_worker_of_this_python_refuses_in_a_sentence(jobs, tmp_path):
    """Python's own library does for these, as in Blender's Python."""
    worker = WorkerSettings(Path(sys.executable), None)
    wanted = [
        Job("weights", "Weights", weights.Request("verify", str(tmp_path)), worker),
        Job("runtime", "Runtime", runtime.Request("remove", str(tmp_path)), worker),
    ]
    for job in wanted:
        jobs.submit(job)
    follow(jobs, *wanted)
    assert [job.state for job in wanted] == [FAILED, FAILED]
    assert "no weights to verify" in wanted[0].error and "nothing was removed" in wanted[1].error


# Folders


def test_cache_can_be_measured_and_cleared_but_not_under_a_job(jobs, fake, monkeypatch):
    done = submit(jobs, fake)
    follow(jobs, done)
    monkeypatch.setenv("FAKE_STEP", "0.3")
    jobs.release()
    running = submit(jobs, fake)
    follow(jobs, running, until=lambda job: job.stage == "views")
    assert folders.size() > HEAD.stat().st_size
    folders.clear({folder_of(running)})
    assert folders.finished() == [] and folder_of(running).exists()
    follow(jobs, running)
    assert running.state == DONE


def test_damaged_folders_are_no_heads(tmp_path):
    assert folders.read(tmp_path) is None
    for text in ("", "[]", "{", '{"photo": 3}', '{"photo": "a.jpg"}'):
        (tmp_path / "result.json").write_text(text)
        assert folders.read(tmp_path) is None


# The real worker


def test_real_worker_cancels_runs_again_and_tells_of_bad_weights(weights_folder, tmp_path, jobs):
    """One worker for several things, for loading PyTorch takes its time."""
    python = Path(sys.executable)
    quick = {"device": "cpu", "crop": False, "matting": "none", "likeness": "off"}

    def go(steps: int = 2, weights: Path = weights_folder) -> Job:
        return submit(jobs, python, steps=steps, weights=str(weights), **quick)

    job = go(steps=500)
    follow(jobs, job, until=lambda job: job.over or job.message.startswith("Step 2"))
    assert not job.over, job.error
    desk = CutOuts(jobs)
    subject = subject_of(PICTURE, False, "none")
    follow(jobs, desk.ask(subject, job.worker))
    assert desk.known(subject) is not None and not job.over, desk.problems
    jobs.cancel(job)
    follow(jobs, job)
    assert job.state == CANCELLED and not folder_of(job).exists()
    pid = pid_of(jobs)
    if hasattr(os, "nice"):
        assert os.getpriority(os.PRIO_PROCESS, pid) >= NICENESS
    if (autogroup := Path(f"/proc/{pid}/autogroup")).exists():
        assert autogroup.read_text().split()[-1] == str(NICENESS), "its session competes as a whole"
    again, bad = go(), go(weights=tmp_path)
    follow(jobs, again, bad)
    assert again.state == DONE and pid_of(jobs) == pid
    assert bad.state == FAILED and "does not contain FaceLift weights" in bad.error


# Drawing


def test_the_bar_moves_as_often_as_the_machine_draws_easily():
    throttle = RedrawThrottle(0.1)
    late, drawings, clock = 0.0, [], 0.0
    for cost in (0.002, 0.060):
        drawings.clear()
        start = clock
        while clock < start + 60:
            clock += 0.1 + late
            draw = throttle.look(clock, news=True, at_once=False, moving=True)
            late = cost if draw else 0.0
            drawings += [clock] if draw else []
        rate = len(drawings) / 60
        assert (1.5 < rate < 2.1) if cost < 0.01 else (0.4 < rate and rate * cost < 0.04), (cost, rate)
    assert throttle.look(clock + 0.1, news=False, at_once=True, moving=False), "an end is shown at once"
    assert not throttle.look(clock + 0.2, news=False, at_once=False, moving=False)
    assert not throttle.look(clock + 9.0, news=False, at_once=False, moving=False), "nothing new, nothing to draw"

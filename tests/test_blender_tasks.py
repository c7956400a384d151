"""Long work in a thread, as far as that goes without Blender."""

import sys
import threading
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent))

from facelift_blender.jobs.runner import CANCELLED, DONE, FAILED
from facelift_blender.jobs.task import LINES_KEPT, Task
from facelift_core import Cancelled, FaceLiftError


def finish(task: Task) -> None:
    deadline = time.monotonic() + 60
    while not task.over:
        assert time.monotonic() < deadline
        task.poll()
        time.sleep(0.005)


def test_task_tells_where_it_is_and_what_it_gave():
    go_on = threading.Event()

    def work(emit, cancelled):
        for number in range(LINES_KEPT + 5):
            emit({"event": "log", "line": f"line {number}"})
        emit({"event": "progress", "stage": "get", "fraction": 1.5, "message": "half", "left": 3.0})
        go_on.wait(60)
        return "result"

    task = Task("Work", work)
    task.start()
    while not task.message:
        task.poll()
    assert (task.stage, task.fraction, task.message, task.left) == ("get", 1.0, "half", 3.0) and not task.over
    assert len(task.lines) == LINES_KEPT and task.lines[-1] == f"line {LINES_KEPT + 4}"
    go_on.set()
    finish(task)
    assert task.state == DONE and task.result == "result" and task.ended >= task.started


@pytest.mark.parametrize(
    "error, state, words",
    [
        (FaceLiftError("The disk is full."), FAILED, "The disk is full."),
        (Cancelled(), CANCELLED, ""),
        (KeyError("x"), FAILED, "An error that should not happen: KeyError"),
    ],
    ids=repr,
)
def test_task_that_ends_badly(error, state, words):
    def work(emit, cancelled):
        raise error

    task = Task("Work", work)
    task.start()
    finish(task)
    assert task.state == state and words in task.error and task.result is None


def test_shutdown_cancels_and_waits():
    def work(emit, cancelled):
        while not cancelled():
            time.sleep(0.01)
        raise Cancelled

    task = Task("Work", work)
    task.start()
    task.shutdown()
    assert task.state == CANCELLED

"""The released weights in real Blenders, from a hub on this machine, and the task that fetches them."""

import sys
import time
from pathlib import Path

import pytest
from blenders import needs_blender
from local_hub import LICENCE, LocalHub, repository_of, wait_until
from test_blender_extension import blender, package  # noqa: F401
from test_blender_jobs import HERE
from test_released_weights import zipped

sys.path.insert(0, str(HERE.parent))

from facelift_blender.jobs import weights
from facelift_blender.jobs.task import Task
from facelift_core.weights import licence
from facelift_core.weights.catalogue import VARIABLE
from facelift_core.weights.inventory import status
from facelift_core.weights.store import Store

UNET = "mvdiffusion/pipeckpts/unet/diffusion_pytorch_model.safetensors"


@pytest.fixture
def hub(weights_folder, tmp_path, monkeypatch):
    with LocalHub(repository_of(weights_folder)) as hub:
        for name, value in {**hub.environment, VARIABLE: str(hub.write_catalogue(tmp_path / "c.json"))}.items():
            monkeypatch.setenv(name, value)
        yield hub


@needs_blender
def test_weights_in_blender(hub, blender, tmp_path):  # noqa: F811
    copy = zipped(tmp_path / "copy.zip", {f"top/{path}": content for path, content in hub.files.items()})
    blender("weights.py", TEST_COPY=str(copy), XDG_DATA_HOME=str(tmp_path / "data"))


def run(task: Task, until=None) -> Task:
    end = time.monotonic() + 120
    task.start()
    while not task.over and not (until and until()):
        assert time.monotonic() < end, task.message
        task.poll()
        time.sleep(0.02)
    return task


def test_a_task_downloads_in_a_process_of_its_own_and_is_cancelled(hub, tmp_path):
    own = Store(hub.catalogue(), tmp_path / "weights")
    licence.keep_text(own, LICENCE.encode())
    request = weights.Request("download", str(own.root))
    work = weights.work(request, Path(sys.executable))
    task = run(Task("no licence", work))
    assert task.state == "failed" and "not accepted" in task.error
    licence.accept(own)
    hub.stall[UNET] = [100_000]
    task = run(Task("stalled", work), until=lambda: hub.stalling)
    # The server may stall before the last word of the files before has been read.
    wait_until(lambda: (task.poll(), task.message.startswith("Downloading: "))[1])
    assert 0 < task.fraction < 1
    task.cancel.set()
    wait_until(lambda: task.poll() and task.over)
    assert task.state == "cancelled" and hub.stalling, "it did not wait for the server"
    task = run(Task("again", work))
    assert task.state == "done" and "are ready" in task.result and status(own).converted
    assert "bytes=100000-" in hub.asked_for(UNET)


def test_a_task_in_this_process(hub, tmp_path):
    request = weights.Request("verify", str(tmp_path))
    task = run(Task("verify", weights.work(request, None)))
    assert task.state == "failed" and "no weights to verify" in task.error


def test_a_runtime_that_cannot_be_started(tmp_path):
    task = run(Task("x", weights.work(weights.Request("verify", str(tmp_path)), tmp_path / "none")))
    assert task.state == "failed" and "Cannot start" in task.error

"""The released weights in real Blenders, from a hub on this machine, and the job that fetches them."""

import sys
from pathlib import Path

import pytest
from blenders import needs_blender
from fake_runtime import follow, gone, pid_of
from local_hub import LICENCE, LocalHub, repository_of
from test_released_weights import zipped

from facelift_blender.jobs.job import CANCELLED, DONE, FAILED, Job, WorkerSettings
from facelift_core.jobs import weights
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
def test_weights_in_blender(hub, blender, tmp_path):
    copy = zipped(tmp_path / "copy.zip", {f"top/{path}": content for path, content in hub.files.items()})
    blender("weights.py", TEST_COPY=str(copy), XDG_DATA_HOME=str(tmp_path / "data"))


def job(do: str, root: Path, python: Path = Path(sys.executable)) -> Job:
    return Job("weights", do, weights.Request(do, str(root)), WorkerSettings(python, offline=None))


def test_a_job_downloads_in_a_process_of_its_own_and_is_cancelled(hub, jobs, tmp_path):
    own = Store(hub.catalogue(), tmp_path / "weights")
    licence.keep_text(own, LICENCE.encode())
    refused = jobs.submit(job("download", own.root))
    follow(jobs, refused)
    assert refused.state == FAILED and "not accepted" in refused.error
    licence.accept(own)
    hub.stall[UNET] = [100_000]
    stalled = jobs.submit(job("download", own.root))
    follow(jobs, stalled, until=lambda job: hub.stalling or job.over)
    # The server may stall before the last word of the files before has been read.
    follow(jobs, stalled, until=lambda job: job.message.startswith("Downloading: ") or job.over)
    assert 0 < stalled.fraction < 1, stalled.error
    pid = pid_of(jobs, "weights")
    jobs.cancel(stalled)
    follow(jobs, stalled)
    assert stalled.state == CANCELLED and hub.stalling, "it did not wait for the server"
    assert gone(pid), "without models, nothing stays in memory"
    again = jobs.submit(job("download", own.root))
    follow(jobs, again)
    assert again.state == DONE and "are ready" in again.result["message"] and status(own).converted
    assert "bytes=100000-" in hub.asked_for(UNET)


def test_a_runtime_that_cannot_be_started(jobs, tmp_path):
    lost = jobs.submit(job("verify", tmp_path, tmp_path / "none"))
    follow(jobs, lost)
    assert lost.state == FAILED and "Cannot start" in lost.error

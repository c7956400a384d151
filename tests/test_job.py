"""Jobs for other programs: models stay loaded, the time is told, presets reach the diffusion."""

import json
import math
import sys
import time
from dataclasses import asdict
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent))

import facelift_core as fl
from facelift_blender.job.runner import How, Job, _apply
from facelift_core import job
from facelift_core.presets import PRESETS

PICTURE = Path(__file__).parent / "goldens" / "input.png"


def request(folder: Path, weights: Path, **settings) -> job.Request:
    plain = {"crop": False, "matting": "none", "device": "cpu", "steps": 2}
    return job.Request(str(PICTURE), str(folder), str(weights), **{**plain, **settings})


def run(models: job.Models, wanted: job.Request) -> list[dict]:
    events = []
    job.run(wanted, events.append, lambda: False, models)
    return json.loads(json.dumps(events))


def test_models_are_loaded_once_for_a_queue(weights_folder, tmp_path, monkeypatch):
    loads = []
    load = fl.FaceLift.from_pretrained
    monkeypatch.setattr(fl.FaceLift, "from_pretrained", lambda *a, **k: loads.append(a) or load(*a, **k))
    models = job.Models()
    for name in ("a", "b", "c"):
        events = run(models, request(tmp_path / name, weights_folder))
        assert events[-1]["event"] == "done" and (tmp_path / name / job.HEAD).is_file()
    assert len(loads) == 1
    models.release()
    run(models, request(tmp_path / "d", weights_folder))
    assert len(loads) == 2


def test_the_time_is_told_before_the_work(weights_folder, tmp_path):
    events = run(job.Models(), request(tmp_path / "job", weights_folder))
    stages = [event.get("stage", event["event"]) for event in events]
    assert list(dict.fromkeys(stages)) == [
        *("load", "estimate", "align", "cutout", "views", "gaussians", "filter", "done")
    ]
    assert next(event for event in events if event["event"] == "estimate")["seconds"] > 0
    done = events[-1]
    assert done["precision"] == "float32" and done["memory"] == "all weights loaded, 12 views at once"


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_and_their_steps(weights_folder, tmp_path, preset, monkeypatch):
    seen = []
    reconstruct = fl.FaceLift.reconstruct

    def remember(self, *arguments, **settings):
        seen.append((settings["preset"], settings["steps"]))
        return reconstruct(self, *arguments, **{**settings, "steps": 1})

    monkeypatch.setattr(fl.FaceLift, "reconstruct", remember)
    models = job.Models()
    run(models, request(tmp_path / "own", weights_folder, preset=preset, steps=0))
    run(models, request(tmp_path / "other", weights_folder, preset=preset, steps=3))
    assert seen == [(preset, None), (preset, 3)]


def test_unknown_presets_are_refused(weights_folder, tmp_path):
    with pytest.raises(fl.FaceLiftError, match="“best” is not a preset"):
        run(job.Models(), request(tmp_path / "job", weights_folder, preset="best"))


def test_requests_survive_json():
    wanted = job.Request("a.jpg", "out", preset="fast")
    assert job.Request.from_json(json.loads(json.dumps(asdict(wanted)))) == wanted


# --- The time that Blender's panel shows ---


@pytest.fixture
def waiting() -> Job:
    return Job("1", job.Request("a.jpg", "out"), How(None))


@pytest.mark.parametrize("nonsense", [None, "soon", -1, math.inf, math.nan])
def test_estimates_that_are_none(waiting, nonsense):
    _apply(waiting, {"event": "estimate", "seconds": nonsense})
    assert waiting.seconds_left() is None


def test_the_estimate_counts_until_the_run_knows_better(waiting):
    _apply(waiting, {"event": "started"})
    assert waiting.seconds_left() is None
    _apply(waiting, {"event": "estimate", "seconds": 1000})
    assert waiting.seconds_left() == 1000
    _apply(waiting, {"event": "progress", "stage": "views", "fraction": 0.05, "message": ""})
    waiting.computing = time.monotonic() - 100
    assert waiting.seconds_left() == pytest.approx(900, abs=5)
    _apply(waiting, {"event": "progress", "stage": "views", "fraction": 0.5, "message": ""})
    assert waiting.seconds_left() == pytest.approx(100, abs=5)

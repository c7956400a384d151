"""Jobs for other programs: models stay loaded, the time is told, presets reach the diffusion."""

import json
import math
import sys
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent.parent))

import facelift_core as fl
from facelift_blender.jobs.runner import How, Job, _apply
from facelift_core import align
from facelift_core.checkerboard import DARK, LIGHT, on_checker
from facelift_core.jobs import cutout as cutouts
from facelift_core.jobs import reconstruct as job
from facelift_core.presets import PRESETS

PICTURE = Path(__file__).parent / "goldens" / "input.png"


def request(folder: Path, weights: Path, **settings) -> job.Request:
    plain = {"crop": False, "matting": "none", "device": "cpu", "steps": 2, "likeness": "off"}
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


def test_requests_of_before_likeness_are_understood(tmp_path):
    old = asdict(job.Request("a.jpg", "out"))
    del old["likeness"], old["cutout"]
    assert job.Request.from_json(old) == job.Request("a.jpg", "out", likeness="photo", cutout="")


def test_likeness_reaches_the_reconstruction_and_unknown_ones_are_refused(weights_folder, tmp_path, monkeypatch):
    seen = []
    reconstruct = fl.FaceLift.reconstruct

    def remember(self, *arguments, **settings):
        seen.append(settings["likeness"])
        return reconstruct(self, *arguments, **{**settings, "likeness": "off"})

    monkeypatch.setattr(fl.FaceLift, "reconstruct", remember)
    models = job.Models()
    for likeness in ("off", "photo", "refined"):
        run(models, request(tmp_path / likeness, weights_folder, likeness=likeness))
    assert seen == ["off", "photo", "refined"]
    monkeypatch.undo()
    with pytest.raises(fl.FaceLiftError, match="“similar” is not a likeness"):
        job.Request.from_json({"photo": "a.jpg", "folder": "out", "likeness": "similar"})
    with pytest.raises(fl.FaceLiftError, match="“similar” is not a likeness"):
        run(models, request(tmp_path / "similar", weights_folder, likeness="similar"))


# --- Cut-outs ---


def test_a_painted_cutout_is_what_the_head_is_made_of(weights_folder, tmp_path):
    models = job.Models()
    plain, painted = tmp_path / "plain", tmp_path / "painted"
    events = run(models, request(plain, weights_folder))
    told = next(event for event in events if event["event"] == "cutout")
    assert told["cutout"] == str(plain / job.CUTOUT)
    with Image.open(plain / job.CUTOUT) as image:
        pixels = np.array(image.convert("RGBA"))
    half = len(pixels) // 2
    pixels[:half, :, 3] = 0
    Image.fromarray(pixels).save(tmp_path / "edited.png")
    run(models, request(painted, weights_folder, cutout=str(tmp_path / "edited.png")))
    before, after = (np.asarray(Image.open(folder / job.PORTRAIT)) for folder in (plain, painted))
    assert (after[:250] == 255).all() and (before[:250] != 255).any(), "what was erased is white"
    assert np.abs(after[262:].astype(int) - before[262:]).max() <= 2, "and the rest as it was"
    assert (plain / job.HEAD).read_bytes() != (painted / job.HEAD).read_bytes()
    Image.fromarray(pixels[:100]).save(tmp_path / "edited.png")
    with pytest.raises(fl.FaceLiftError, match="square"):
        run(models, request(painted, weights_folder, cutout=str(tmp_path / "edited.png")))


def cut_out(portraits: cutouts.Portraits, folder: Path, photo: Path = PICTURE, cancelled=False) -> list[dict]:
    events = []
    files = str(folder / "cutout.png"), str(folder / "preview.png")
    wanted = cutouts.Request(str(photo), *files, crop=False, matting="none")
    assert cutouts.Request.from_json(json.loads(json.dumps(asdict(wanted)))) == wanted
    cutouts.run(wanted, events.append, lambda: cancelled, portraits)
    return events


def test_a_cutout_is_made_once_for_looking_and_for_the_head(weights_folder, tmp_path, monkeypatch):
    aligned = []
    align_portrait = align.align_portrait
    monkeypatch.setattr(align, "align_portrait", lambda *a, **k: aligned.append(a) or align_portrait(*a, **k))
    models = job.Models()
    photo = tmp_path / "photo.png"
    photo.write_bytes(PICTURE.read_bytes())
    (done,) = cut_out(models.portraits, tmp_path / "new folder", photo)
    assert done["event"] == "done" and isinstance(done["notes"], list)
    with Image.open(done["cutout"]) as image, Image.open(tmp_path / "new folder" / "preview.png") as preview:
        assert image.mode == "RGBA" and image.width == image.height >= 512
        assert preview.mode == "RGB" and preview.width < image.width
    wanted = job.Request(str(photo), str(tmp_path / "job"), str(weights_folder), "cpu", steps=1, likeness="off")
    run(models, job.Request(**{**asdict(wanted), "crop": False, "matting": "none"}))
    assert len(aligned) == 1
    Image.open(photo).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(photo)
    cut_out(models.portraits, tmp_path, photo)
    assert len(aligned) == 2, "the photo is another one now"


def test_cutouts_that_are_none(tmp_path):
    portraits = cutouts.Portraits()
    with pytest.raises(fl.Cancelled):
        cut_out(portraits, tmp_path / "folder", cancelled=True)
    assert not (tmp_path / "folder").exists()
    with pytest.raises(fl.FaceLiftError, match=r"No face was found in input\.png"):
        cutouts.run(cutouts.Request(str(PICTURE), str(tmp_path / "a.png")), print, lambda: False, portraits)
    (tmp_path / "file").write_text("")
    with pytest.raises(fl.FaceLiftError, match="Cannot make the folder"):
        cut_out(portraits, tmp_path / "file" / "folder")
    for bad in ({}, {"photo": "a.jpg"}, {"photo": "a.jpg", "file": "a.png", "crop": 1}):
        with pytest.raises(fl.FaceLiftError, match="request"):
            cutouts.Request.from_json(bad)


def test_the_checker_shows_through_what_is_transparent_and_only_there():
    pixels = np.zeros((512, 512, 4), np.uint8)
    pixels[...] = 10, 200, 30, 0
    pixels[:256, :, 3] = 255
    shown = on_checker(pixels, 256)
    assert shown.shape == (256, 256, 3)
    assert (shown[:128] == (10, 200, 30)).all() and set(np.unique(shown[128:])) == {DARK, LIGHT}


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

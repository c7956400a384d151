"""Jobs for other programs: models stay loaded, the time is told, presets reach the diffusion."""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import facelift_core as fl
from facelift_core import align
from facelift_core.checkerboard import DARK, LIGHT, on_checker
from facelift_core.jobs import cutout as cutouts
from facelift_core.jobs import durations, handlers
from facelift_core.jobs import reconstruct as job
from facelift_core.presets import PRESETS
from facelift_core.processes.protocol import CutOut, Done, Event, Failed, Progress, Stopped

PICTURE = Path(__file__).parent / "goldens" / "input.png"


def request(folder: Path, weights: Path, **settings) -> job.Request:
    plain = {"crop": False, "matting": "none", "device": "cpu", "steps": 2, "likeness": "off"}
    return job.Request(str(PICTURE), str(folder), str(weights), **{**plain, **settings})


def run(models: job.Models, wanted: job.Request) -> tuple[list[Event], dict[str, Any]]:
    """The events and the result."""
    events = []
    result = job.run(wanted, events.append, lambda: False, models)
    return events, result


def test_models_are_loaded_once_for_a_queue(weights_folder, tmp_path, monkeypatch):
    loads = []
    load = fl.FaceLift.from_pretrained
    monkeypatch.setattr(fl.FaceLift, "from_pretrained", lambda *a, **k: loads.append(a) or load(*a, **k))
    models = job.Models()
    for name in ("a", "b", "c"):
        _, result = run(models, request(tmp_path / name, weights_folder))
        assert result["gaussians"] > 100 and (tmp_path / name / job.HEAD).is_file()
    assert len(loads) == 1
    models.release()
    run(models, request(tmp_path / "d", weights_folder))
    assert len(loads) == 2


def test_stages_are_told_in_order(weights_folder, tmp_path):
    events, result = run(job.Models(), request(tmp_path / "job", weights_folder))
    told = [event.stage if isinstance(event, Progress) else type(event).__name__ for event in events]
    assert list(dict.fromkeys(told)) == ["load", "align", "CutOut", "views", "Views", "gaussians", "filter"]
    assert result["precision"] == "float32" and result["memory"] == "all weights loaded, 12 views at once"


def test_the_second_run_knows_what_the_first_took(weights_folder, tmp_path):
    models = job.Models()
    wanted = request(tmp_path / "a", weights_folder, steps=6)
    assert durations.runs(wanted) == [] and durations.load_seconds(wanted) is None
    events, first = run(models, wanted)
    align = next(event for event in events if isinstance(event, Progress) and event.stage == "align")
    assert align.left is None, "at first, nobody knows"
    took = {stage: pytest.approx(seconds, abs=0.001) for stage, seconds in first["timings"].items()}
    assert durations.runs(wanted) == [took] and durations.load_seconds(wanted) == took["load"]
    assert durations.run_seconds(wanted) == pytest.approx(
        sum(first["timings"].values()) - took["load"].expected, abs=0.01
    )

    events, _ = run(models, request(tmp_path / "b", weights_folder, steps=6))
    assert "load" not in durations.runs(wanted)[1], "the models were there"
    told = [event for event in events if isinstance(event, Progress) and event.stage != "load"]
    assert told[0].left == pytest.approx(durations.without_load(durations.runs(wanted)[0]), rel=0.01)
    assert all(event.left is not None for event in told) and told[-1].left == pytest.approx(0, abs=0.01)
    whole = sum(seconds for stage, seconds in first["timings"].items() if stage != "load")
    gaussians = next(event for event in told if event.stage == "gaussians")
    assert gaussians.fraction == pytest.approx(
        (first["timings"]["align"] + first["timings"]["views"]) / whole, abs=0.01
    )
    assert durations.runs(request(tmp_path / "c", weights_folder, steps=7)) == [], "of other settings"
    assert durations.load_seconds(request(tmp_path / "c", weights_folder, steps=7)) is not None


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
    with pytest.raises(fl.FaceLiftError, match="Unknown preset “best”"):
        run(job.Models(), request(tmp_path / "job", weights_folder, preset="best"))


def by_kind(kind: str, wanted: Any, models: job.Models, cancelled=False) -> Event:
    """As the worker runs it."""
    data = wanted if isinstance(wanted, dict) else asdict(wanted)
    return handlers.run(kind, data, lambda event: None, lambda: cancelled, models)


def test_every_job_ends_in_one_event_whatever_happens(weights_folder, tmp_path, monkeypatch):
    models = job.Models()
    good = request(tmp_path / "job", weights_folder)
    done = by_kind("reconstruct", good, models)
    assert isinstance(done, Done) and done.result["photo"] == str(PICTURE)
    assert isinstance(by_kind("reconstruct", good, models, cancelled=True), Stopped)
    nobody_knows = {"photo": "a.jpg", "folder": "out", "likeness": "similar"}
    assert "Unknown likeness “similar”" in by_kind("reconstruct", nobody_knows, models).message
    assert "does not understand" in by_kind("cutout", {"photo": "a.jpg"}, models).message
    nowhere = cutouts.Request("a.jpg", str(tmp_path / "a.png"))
    assert by_kind("cutout", nowhere, models) == Failed("a.jpg does not exist.")
    monkeypatch.setattr(fl.FaceLift, "reconstruct", lambda *_, **__: 1 / 0)
    failed = by_kind("reconstruct", good, models)
    assert failed == Failed("Unexpected error: ZeroDivisionError: division by zero") and models.model is None
    monkeypatch.setitem(handlers.HANDLERS, "cutout", (cutouts.Request, {"photo"}, lambda *_: __import__("no_such")))
    assert "cannot run FaceLift: No module named 'no_such'" in by_kind("cutout", nowhere, models).message


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
    with pytest.raises(fl.FaceLiftError, match="Unknown likeness “similar”"):
        job.Request("a.jpg", "out", likeness="similar")
    with pytest.raises(fl.FaceLiftError, match="Unknown likeness “similar”"):
        run(models, request(tmp_path / "similar", weights_folder, likeness="similar"))


@pytest.mark.skipif(sys.platform == "win32", reason="limits the size of files as POSIX can")
@pytest.mark.parametrize("what", ["a file in the way", "disk full"])
def test_files_that_cannot_be_written(weights_folder, tmp_path, what):
    models, events = job.Models(), []
    folder = tmp_path / "job"
    if what == "a file in the way":
        folder.write_text("")
        with pytest.raises(fl.FaceLiftError, match="Cannot create the folder"):
            job.run(request(folder, weights_folder), events.append, lambda: False, models)
        return
    import resource

    models.get(str(weights_folder), "cpu")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        with pytest.raises(fl.FaceLiftError, match="Cannot write"):
            job.run(request(folder, weights_folder), events.append, lambda: False, models)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(folder.iterdir()) == [], "nothing half-written"


# --- Cut-outs ---


def test_a_painted_cutout_is_what_the_head_is_made_of(weights_folder, tmp_path):
    models = job.Models()
    plain, painted = tmp_path / "plain", tmp_path / "painted"
    events, _ = run(models, request(plain, weights_folder))
    told = next(event for event in events if isinstance(event, CutOut))
    assert told.cutout == str(plain / job.CUTOUT) and told.preview == str(plain / job.PREVIEW)
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


def cut_out(models: job.Models, folder: Path, photo: Path = PICTURE, cancelled=False) -> list[Event]:
    events = []
    files = str(folder / "cutout.png"), str(folder / "preview.png")
    wanted = cutouts.Request(str(photo), *files, crop=False, matting="none")
    assert cutouts.run(wanted, events.append, lambda: cancelled, models) == {}
    return events


def test_a_cutout_is_made_once_for_looking_and_for_the_head(tmp_path, monkeypatch):
    aligned = []
    align_portrait = align.align_portrait
    monkeypatch.setattr(align, "align_portrait", lambda *a, **k: aligned.append(a) or align_portrait(*a, **k))
    models = job.Models()
    photo = tmp_path / "photo.png"
    photo.write_bytes(PICTURE.read_bytes())
    (told,) = cut_out(models, tmp_path / "new folder", photo)
    assert isinstance(told, CutOut) and isinstance(told.notes, tuple)
    with Image.open(told.cutout) as image, Image.open(told.preview) as preview:
        assert image.mode == "RGBA" and image.width == image.height >= 512
        assert preview.mode == "RGB" and preview.width < image.width
    wanted = job.Request(str(photo), str(tmp_path / "job"), crop=False, matting="none")
    assert job._portrait(wanted, models.portraits).cutout.width >= 512 and len(aligned) == 1
    Image.open(photo).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(photo)
    cut_out(models, tmp_path, photo)
    assert len(aligned) == 2, "the photo is another one now"


def test_cutouts_that_are_none(tmp_path):
    models = job.Models()
    with pytest.raises(fl.Cancelled):
        cut_out(models, tmp_path / "folder", cancelled=True)
    assert not (tmp_path / "folder").exists()
    with pytest.raises(fl.FaceLiftError, match=r"No face was found in input\.png"):
        cutouts.run(cutouts.Request(str(PICTURE), str(tmp_path / "a.png")), print, lambda: False, models)
    (tmp_path / "file").write_text("")
    with pytest.raises(fl.FaceLiftError, match="Cannot create the folder"):
        cut_out(models, tmp_path / "file" / "folder")


def test_the_checker_shows_through_what_is_transparent_and_only_there():
    pixels = np.zeros((512, 512, 4), np.uint8)
    pixels[...] = 10, 200, 30, 0
    pixels[:256, :, 3] = 255
    shown = on_checker(pixels, 256)
    assert shown.shape == (256, 256, 3)
    assert (shown[:128] == (10, 200, 30)).all() and set(np.unique(shown[128:])) == {DARK, LIGHT}

"""Compiling pays if it saves more than it takes: told once, tried once, and remembered."""

from pathlib import Path

import pytest
import torch
from PIL import Image

import facelift_core as fl
from facelift_core.compute.stages import Stages
from facelift_core.jobs import reconstruct as job
from facelift_core.multiview import MultiViewDiffusion, when_to_compile
from facelift_core.multiview.when_to_compile import AGAIN_SECONDS, FIRST_SECONDS, MESSAGE, SAVED, pays, state
from facelift_core.presets import Sampling
from facelift_core.processes.protocol import Progress
from facelift_core.user_dirs import cache_folder

CPU = torch.device("cpu")
PORTRAIT = Path(__file__).parent / "goldens" / "input.png"


@pytest.fixture
def compiles(monkeypatch) -> list[tuple]:
    """As if on a card that takes ten minutes for the views of a head; what is asked to be compiled."""
    asked = []

    def compile_nothing(self, how, guidance_scale, backend):
        asked.append((how, backend))

    monkeypatch.setattr(when_to_compile, "possible", lambda model: True)
    monkeypatch.setattr(when_to_compile, "SAVED", SAVED * 1e6)
    monkeypatch.setattr(MultiViewDiffusion, "compile", compile_nothing)
    return asked


@pytest.fixture
def model(weights_folder) -> fl.FaceLift:
    return fl.FaceLift.from_pretrained(weights_folder, "cpu")


def head(model: fl.FaceLift, **settings) -> list[str]:
    """Make a head; returns the messages."""
    told = []
    plain = {"steps": 1, "crop": False, "matting": "none", "likeness": "off"}
    picture = Image.open(PORTRAIT).convert("RGB")
    model.reconstruct(picture, progress=lambda *event: told.append(event[2]), **{**plain, **settings})
    return told


def test_compiling_pays_by_the_time_that_it_saves():
    slow = FIRST_SECONDS / SAVED
    assert not pays([], None, True) and not pays([], 1000, True)  # nothing is known before the first head
    assert pays([slow], None, True) and not pays([slow * 0.99], None, True)
    assert pays([slow / 10], 10, True) and not pays([slow / 10], 9, True)  # a folder of photos: those to come
    assert pays([slow / 4] * 4, None, True) and not pays([slow / 4] * 3, None, True)  # else as many as were made
    assert pays([AGAIN_SECONDS / SAVED], None, False) and AGAIN_SECONDS < FIRST_SECONDS
    assert not pays([10 * slow, slow / 10], 9, True)  # the first head of a process takes longer


def test_the_user_is_told_once(model, compiles):
    assert MESSAGE not in head(model)
    assert state(CPU) == "not yet"
    assert MESSAGE in head(model)
    assert compiles == [(Sampling(1), "inductor")] and state(CPU) == "works"


def test_what_compiling_takes_is_not_time_of_the_views(model, compiles, monkeypatch):
    """From which the time of the next head is estimated."""
    order = []
    several = MultiViewDiffusion.several
    monkeypatch.setattr(MultiViewDiffusion, "compile", lambda *a: order.append("compile"))
    monkeypatch.setattr(MultiViewDiffusion, "several", lambda *a, **k: order.append("views") or several(*a, **k))
    stage = Stages.stage
    monkeypatch.setattr(Stages, "stage", lambda self, name, message: order.append(name) or stage(self, name, message))
    head(model), head(model)
    assert order[order.index("compile") - 1 :][:4] == ["align", "compile", "views", "views"]


def test_in_blender_it_is_a_message_of_the_job(weights_folder, tmp_path, compiles):
    models, told = job.Models(), []
    for name in ("a", "b"):
        request = job.Request(
            str(PORTRAIT), str(tmp_path / name), str(weights_folder), "cpu", steps=1, crop=False, matting="none",
            likeness="off",
        )  # fmt: skip
        events = []
        job.run(request, events.append, lambda: False, models)
        told.append([event.stage for event in events if isinstance(event, Progress) and event.message == MESSAGE])
    assert told == [[], ["views"]]


def test_other_settings_are_other_work(model, compiles):
    head(model)
    head(model, preset="fast", steps=2)
    assert not compiles
    head(model, preset="fast", steps=2)
    assert [how.reuse for how, _ in compiles] == [2]


def test_what_fails_is_tried_once_and_told_in_the_system_information(model, compiles, monkeypatch, caplog):
    tried = []
    monkeypatch.setattr(MultiViewDiffusion, "compile", lambda *a: tried.append(1) or "no compiler here")
    for _ in range(4):
        head(model)
    assert len(tried) == 1 and "no compiler here" in caplog.text
    assert state(CPU) == "does not work here (no compiler here)"


@pytest.mark.parametrize("content", [b"", b"[1]", b"{", b"\0" * 100, b'{"a": 1}'])
def test_a_damaged_file_knows_nothing(compiles, model, content):
    path = when_to_compile._path()
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    assert state(CPU) == "not yet"
    head(model), head(model)
    assert len(compiles) == 1 and state(CPU) == "works"


def test_what_is_remembered_goes_with_the_cache():
    assert cache_folder() in when_to_compile._path().parents


def test_a_processor_never_compiles(model):
    assert not when_to_compile.possible(model.multiview)
    model.multiview.experience.add(Sampling(1), 1e9)
    assert MESSAGE not in head(model)

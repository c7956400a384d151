"""What a program and its worker tell each other, and what a job is after it has been told."""

import json
import sys
import time
from dataclasses import asdict
from pathlib import Path

import pytest

from facelift_blender.jobs.job import DONE, FAILED, LOG_LINES, Job, Started, Usual, WorkerSettings
from facelift_core.errors import FaceLiftError
from facelift_core.jobs import cutout, reconstruct, weights
from facelift_core.processes import protocol
from facelift_core.processes.protocol import (
    CutOut,
    Done,
    Event,
    Failed,
    Log,
    Progress,
    Ready,
    Stopped,
    Views,
    decode,
    encode,
    read_request,
)

EVENTS = [
    Ready(protocol.VERSION, 7),
    Progress("views", 0.25, "Schritt 5 von 20, für Zoë"),
    Progress("download", 1.0, "", left=3.5),
    Log("a line"),
    CutOut("/a/cutout.png"),
    CutOut("/a/cutout.png", "/a/preview.png", ("2 faces were found.", "")),
    Views("/a/views.png"),
    Done(),
    Done({"photo": "a.jpg", "timings": {"load": 0.5}, "notes": ["x"], "none": None}),
    Failed("The disk is full."),
    Stopped(),
]


NO_SECONDS = (b"null", b'"soon"', b"-1", b"Infinity", b"NaN", b"1e999", b"1" + b"0" * 400)


# --- Events ---


def test_every_kind_of_event_is_tried():
    assert {type(event) for event in EVENTS} == set(Event.__args__)


@pytest.mark.parametrize("event", EVENTS, ids=repr)
def test_events_survive_the_way(event):
    line = encode(event, "job 3")
    assert "\n" not in line and line.isascii()
    assert decode(line) == decode(line.encode() + b"\n") == ("job 3", event)


@pytest.mark.parametrize("event", EVENTS, ids=repr)
def test_fields_that_are_new_do_not_matter_and_those_that_lack_do(event):
    data = json.loads(encode(event, "x"))
    assert decode(json.dumps({**data, "new": [1]})) == ("x", event)
    needed = {"stage", "fraction", "message", "seconds", "line", "views", "pid", "protocol"} & set(data)
    assert all(decode(json.dumps({k: v for k, v in data.items() if k != name})) is None for name in needed)


@pytest.mark.parametrize(
    "line",
    [
        b"[" * 100_000,
        b'{"event": "log", "job": "1", "line": "\xff\xfe"}',
        b"\x00\x01",
        b"",
        b"UserWarning: some library has something to say",
        b"[]",
        b"null",
        b'{"event": 7}',
        b'{"event": ["log"]}',
        b'{"event": "nonsense"}',
        b'{"event": "log", "line": 3}',
        b'{"event": "failed", "message": null}',
        b'{"event": "done", "result": []}',
        b'{"event": "cutout", "cutout": "a.png", "notes": "a"}',
        b'{"event": "progress", "stage": "a", "fraction": 1.5, "message": ""}',
        b'{"event": "progress", "stage": "a", "fraction": NaN, "message": ""}',
        b'{"event": "progress", "stage": "a", "fraction": true, "message": ""}',
        b'{"event": "progress", "stage": "a", "fraction": 0, "message": "", "left": "soon"}',
        *(
            b'{"event": "progress", "stage": "a", "fraction": 0, "message": "", "left": %s}' % n
            for n in (b"true", b"-1", b"Infinity", b"NaN", b"1e999", b"1" + b"0" * 400)
        ),
    ],
    ids=lambda line: line[:60].decode(errors="replace"),
)
def test_what_is_not_of_a_worker_of_ours(line):
    assert decode(line) is None


# --- Requests ---

HEAD = asdict(reconstruct.Request("a.jpg", "out", preset="fast"))
CUT = asdict(cutout.Request("a.jpg", "a.png", matting="none"))


def test_requests_survive_json():
    for wanted in (
        reconstruct.Request("a.jpg", "out", preset="fast", guidance_scale=2.5),
        cutout.Request("ü.jpg", "a.png", crop=False),
        weights.Request("verify", "store", remove_original=True),
    ):
        assert read_request(type(wanted), json.loads(json.dumps(asdict(wanted))), set()) == wanted


def test_whole_numbers_will_do_and_what_has_a_default_may_lack():
    assert read_request(reconstruct.Request, {**HEAD, "guidance_scale": 3}, {"photo"}).guidance_scale == 3
    old = {name: value for name, value in HEAD.items() if name not in ("likeness", "cutout")}
    read = read_request(reconstruct.Request, old, {"photo", "folder"})
    assert read == reconstruct.Request("a.jpg", "out", preset="fast", likeness="photo", cutout="")


@pytest.mark.parametrize(
    "cls, data",
    [
        *((reconstruct.Request, bad) for bad in ([], None, {}, {"photo": "a.jpg"})),
        *(
            (reconstruct.Request, {**HEAD, **bad})
            for bad in ({"new": 1}, {"steps": "50"}, {"crop": 1}, {"photo": None})
        ),
        (reconstruct.Request, {**HEAD, "steps": True}),
        (cutout.Request, {"photo": "a.jpg"}),
        (cutout.Request, {**CUT, "crop": 1}),
        (weights.Request, {"do": "nonsense"}),
        (weights.Request, {"do": "licence", "source": 3}),
    ],
    ids=str,
)
def test_requests_of_another_version_are_refused(cls, data):
    needed = {reconstruct.Request: {"photo", "folder"}, cutout.Request: {"photo", "file"}, weights.Request: {"do"}}
    with pytest.raises(FaceLiftError, match="request"):
        read_request(cls, data, needed[cls])


# --- The job that is told ---


@pytest.fixture
def job() -> Job:
    return Job("reconstruct", "a", reconstruct.Request("a.jpg", "out"), WorkerSettings(Path(sys.executable)))


def test_the_time_left_is_the_workers_and_the_usual_one_while_it_loads(job):
    job.apply(Started())
    assert job.seconds_left() is None, "nothing is known"
    job.usually = lambda: Usual(10.0, 90.0)
    job.apply(Started())
    assert job.seconds_left() == pytest.approx(100, abs=1)
    job.started = time.monotonic() - 20
    job.apply(Progress("load", 0.0, ""))
    assert job.seconds_left() == 90, "loading takes longer than usual"
    job.apply(Progress("views", 0.05, ""))
    assert job.seconds_left() is None, "the worker knows better, and says nothing"
    job.apply(Progress("views", 0.5, "", left=7.0))
    assert job.seconds_left() == 7.0


def test_the_bar_moves_while_models_load(job):
    job.usually = lambda: Usual(10.0, 90.0)
    job.apply(Started())
    seen = []
    for seconds in (0, 2, 5, 10, 30, 300):
        job.started = time.monotonic() - seconds
        seen.append(job.progress())
    assert seen == sorted(seen) and seen[0] < 0.001 < 0.03 < seen[1] and seen[-1] <= 0.1, seen
    job.apply(Progress("views", 0.5, ""))
    assert job.progress() == pytest.approx(0.55), "what is done of 100 s"
    job.apply(Started(loaded=True))
    assert job.progress() == 0.5, "nothing to load"
    job.usually = lambda: Usual(10.0)
    job.apply(Started())
    assert job.progress() == pytest.approx(0.1 + 0.9 * 0.5), "how long the rest takes is unknown"


def test_files_that_are_not_there_are_not_shown(job, tmp_path):
    picture = tmp_path / "a.png"
    job.apply(CutOut(str(picture), "", ("a note",)))
    job.apply(Views(str(tmp_path)))
    assert (job.cutout, job.preview, job.views, job.notes) == (None, None, None, ("a note",))
    picture.touch()
    job.apply(CutOut(str(picture), str(picture)))
    assert job.cutout == job.preview == picture and job.notes == ()


def test_only_the_end_of_a_log_is_kept(job):
    for number in range(LOG_LINES + 5):
        job.apply(Log(f"line {number}"))
    assert len(job.lines) == LOG_LINES and job.lines[-1] == f"line {LOG_LINES + 4}"


def test_how_a_job_ends(job):
    job.apply(Done({"gaussians": 3}))
    assert job.state == DONE and job.over and job.result == {"gaussians": 3} and job.ended is not None
    other = Job("weights", "w", weights.Request("verify"), job.worker)
    other.cancel.set()
    assert other.cancelling
    other.apply(Failed("No."))
    assert other.state == FAILED and other.error == "No." and not other.cancelling and other.id != job.id

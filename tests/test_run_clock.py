"""How much longer a run takes: what is told is right within a factor of 1.5, or nothing is told."""

import json

import pytest

from facelift_core.jobs import durations
from facelift_core.jobs.reconstruct import Request
from facelift_core.jobs.run_clock import RunClock
from facelift_core.user_dirs import data_folder

USUAL = {"align": 2.0, "views": 60.0, "gaussians": 8.0, "skin": 10.0}


def told(clock: RunClock, real: dict[str, float], every: float = 0.5):
    """(what is told, what is true, fraction told) along a run whose stages take `real` seconds at an even speed."""
    now, whole, before = 100.0, sum(USUAL.values()), 0.0
    end = now + sum(real.values())
    for stage, seconds in real.items():
        parts = max(1, round(seconds / every))
        for part in range(parts):
            then = now + seconds * part / parts
            fraction, left = clock.look(stage, (before + USUAL[stage] * part / parts) / whole, then)
            yield left, end - then, fraction
        now, before = now + seconds, before + USUAL[stage]


@pytest.mark.parametrize("slower", [1.0, 1.4])
def test_what_an_earlier_run_took_is_told_from_the_beginning(slower):
    past = {"align": 1.0, "views": 20.0, "gaussians": 30.0, "skin": 2.0}
    real = {stage: slower * seconds for stage, seconds in past.items()}
    for left, true, fraction in told(RunClock(USUAL, past), real):
        assert left is not None and left / 1.5 <= true + 0.5 and true <= left * 1.5, (left, true)
        assert fraction == pytest.approx(1 - true / sum(real.values()), abs=0.01), "the bar moves evenly in time"


@pytest.mark.parametrize("factors", [(1, 1), (0.2, 1), (20, 1), (20, 2), (5, 0.5), (0.3, 2), (1, 0.5)])
def test_without_one_it_is_told_when_it_can_be(factors):
    """The guess is wrong: by the first factor for the stage at hand, which is measured; by the second for the rest."""
    views, later = factors
    real = {"align": 2.0, "views": 60.0 * views, "gaussians": 8.0 * later, "skin": 10.0 * later}
    pairs = [(left, true) for left, true, _ in told(RunClock(USUAL), real)]
    assert pairs[0][0] is None
    assert all(left / 1.5 <= true <= left * 1.5 for left, true in pairs if left is not None and true > 1), pairs
    assert sum(left is not None for left, _ in pairs) > (0.4 if views >= 1 else 0.1) * len(pairs)


def test_what_is_kept(monkeypatch):
    request = Request("a.jpg", "out", weights="C:/my weights", device="cpu")
    run = {"load": 5.0, "align": 1.0, "views": 20.0}
    for seconds in (20.0, 21.0, 22.0, 23.0):
        durations.remember(request, run | {"views": seconds}, loaded=seconds == 21.0)
    assert [found["views"] for found in durations.runs(request)] == [21.0, 22.0, 23.0]
    assert durations.load_seconds(request) == 5.0 and durations.run_seconds(request) == 24.0
    durations.remember(request, run | {"views": 90.0}, loaded=False)
    assert durations.run_seconds(request) is None, "the last ones differ too much to tell"
    monkeypatch.setattr(durations, "KINDS", 2)
    for preset in ("fast", "balanced"):
        durations.remember(Request("a.jpg", "out", preset=preset), run, loaded=False)
    assert durations.runs(request) == [] and len(durations.runs(Request("b.jpg", "out", preset="fast", seed=9))) == 1


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{",
        "[" * 100_000,
        '{"a": 3}',
        '{"a": [{"views": -1}]}',
        '{"a": [{"views": "x"}, [], {}]}',
        " " * (1 << 19),
    ],
    ids=len,
)
def test_a_damaged_file_knows_nothing_and_is_replaced(text):
    request = Request("a.jpg", "out")
    data_folder().mkdir(parents=True)
    file = data_folder() / durations.FILE
    file.write_text(text)
    assert durations.runs(request) == [] and durations.load_seconds(request) is None
    durations.remember(request, {"views": 3.0}, loaded=False)
    assert durations.run_seconds(request) == 3.0
    kind = next(iter(json.loads(file.read_text())))
    file.write_text(json.dumps({kind: [{"views": float("inf")}]}))
    assert durations.run_seconds(request) is None


def test_a_folder_that_cannot_be_written_changes_nothing(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "file"))
    durations.remember(Request("a.jpg", "out"), {"views": 3.0}, loaded=False)
    assert durations.runs(Request("a.jpg", "out")) == []

"""Several photos on one command: aligned ahead, drawn together, written beside the next; each as if it were alone."""

import threading
from pathlib import Path

import pytest
import torch
from PIL import Image, ImageOps

import facelift_core as fl
from facelift_core.cli import batch, main
from facelift_core.cli.prefetch import prefetch
from facelift_core.cli.saving import Saver
from facelift_core.compute.device import NotEnoughMemory
from facelift_core.compute.memory_plan import HEADS_MAX, PLANS, RESERVE, SLACK, Needs, heads_at_once
from facelift_core.errors import Cancelled
from facelift_core.gaussians.tensors import Gaussians
from facelift_core.multiview import MultiViewDiffusion
from facelift_core.presets import Sampling

GOLDENS = Path(__file__).parent / "goldens"
ROUNDING = 2e-4
"""By which a pixel or a position differs where a larger batch is added up in another order, in float32."""


@pytest.fixture
def photos(tmp_path) -> list[Path]:
    """Three portraits whose alpha is the matte, so that no background has to be found."""
    portrait = Image.open(GOLDENS / "input.png").convert("RGB")
    others = (portrait, ImageOps.mirror(portrait), ImageOps.posterize(portrait, 3))
    paths = [tmp_path / name for name in ("anna.png", "bert.png", "carl.png")]
    for path, picture in zip(paths, others, strict=True):
        matte = Image.new("L", picture.size)
        matte.paste(255, (8, 4, 56, 64))
        picture.putalpha(matte)
        picture.save(path)
    return paths


@pytest.fixture
def run(weights_folder, tmp_path):
    """Run the command on photos; returns its exit code and the positions of the heads by name."""

    def command(photos: list[Path], folder: str, *more: str) -> tuple[int, dict[str, torch.Tensor]]:
        out = tmp_path / folder
        own = ["--weights", str(weights_folder), "--steps", "2", "--no-crop", "--device", "cpu", "--likeness", "off"]
        code = main(["reconstruct", *map(str, photos), "-o", f"{out}/", *own, *more])
        return code, {path.stem: fl.load(path).positions for path in out.glob("*.ply")}

    return command


def test_heads_drawn_together_are_those_drawn_alone(photos, run, monkeypatch):
    """Within rounding; and the odd one out is drawn alone."""
    code, alone = run(photos, "alone")
    drawn, together = [], batch.draw_together
    monkeypatch.setattr(batch, "heads_at_once", lambda model: 2)
    monkeypatch.setattr(batch, "draw_together", lambda *a, **k: drawn.append(len(a[1])) or together(*a, **k))
    code_together, together_heads = run(photos, "together")
    assert (code, code_together) == (0, 0) and drawn == [2]
    assert alone.keys() == together_heads.keys() == {"anna", "bert", "carl"}
    for name, positions in alone.items():
        found = torch.as_tensor(together_heads[name])
        torch.testing.assert_close(found, torch.as_tensor(positions), rtol=0, atol=ROUNDING)
    assert (together_heads["carl"] == alone["carl"]).all()


def test_one_bad_photo_of_two_leaves_the_other(photos, run, monkeypatch, capsys):
    monkeypatch.setattr(batch, "heads_at_once", lambda model: 2)
    photos[0].write_bytes(photos[0].read_bytes()[:200])
    code, heads = run(photos, "out")
    said = capsys.readouterr()
    assert code == 1 and heads.keys() == {"bert", "carl"} and "2 of 3 photos" in said.err
    assert sum(line.startswith(str(photos[0])) for line in said.err.splitlines()) == 1


@pytest.mark.parametrize("error", [NotEnoughMemory("too little"), RuntimeError("no such kernel")])
def test_what_cannot_be_drawn_together_is_drawn_alone(photos, run, monkeypatch, error):
    def fails(*_, **__):
        raise error

    expected = run(photos[:2], "alone")[1]
    monkeypatch.setattr(batch, "heads_at_once", lambda model: 2)
    monkeypatch.setattr(batch, "draw_together", fails)
    code, heads = run(photos[:2], "together")
    assert code == 0 and all((heads[name] == expected[name]).all() for name in ("anna", "bert"))


@pytest.mark.parametrize("how", [Sampling(3), Sampling(4, "dpm", reuse=2), Sampling(3, agreeing_steps=1)])
def test_views_of_several_portraits(weights_folder, how):
    """Each has its own random numbers, its own deep features, and agrees with itself."""
    model = MultiViewDiffusion.from_pretrained(weights_folder, "cpu")
    portrait = Image.open(GOLDENS / "input.png").convert("RGB")
    portraits = [portrait, ImageOps.invert(portrait)]

    def agree(views: torch.Tensor, monitor) -> torch.Tensor:
        return torch.cat([views[:1], views[1:].flip(-1)])

    agrees = [agree] * 2 if how.agreeing_steps else None
    together = model.several(portraits, guidance_scale=2.0, preset=how, agrees=agrees)
    for portrait, views in zip(portraits, together, strict=True):
        alone = model(portrait, guidance_scale=2.0, preset=how, agree=agrees and agree)
        torch.testing.assert_close(views, alone, rtol=0, atol=ROUNDING)
    assert (together[0] - together[1]).abs().max() > 100 * ROUNDING


def test_progress_of_several_portraits_never_goes_back(weights_folder):
    model, told = MultiViewDiffusion.from_pretrained(weights_folder, "cpu"), []
    portraits = [Image.new("RGB", (64, 64), color) for color in ("red", "blue")]
    model.several(
        portraits, preset=Sampling(3, agreeing_steps=2), agrees=[lambda views, monitor: views] * 2,
        progress=lambda stage, fraction, message: told.append(fraction),
    )  # fmt: skip
    assert told == sorted(told) and told[-1] == 1.0
    with pytest.raises(Cancelled):
        model.several(portraits, 3, cancelled=lambda: True)


def test_two_heads_need_room_for_another_batch():
    needs = Needs(weights={"unet": 100, "vae": 10}, parked={"unet": 0, "vae": 0}, work={"unet": 30, "vae": 20})
    enough = int(30 * 2 * HEADS_MAX * SLACK) + RESERVE + 1
    assert heads_at_once(enough, needs, PLANS[0]) == HEADS_MAX
    assert heads_at_once(enough - 2, needs, PLANS[0]) == heads_at_once(None, needs, PLANS[0]) == 1
    assert all(heads_at_once(1 << 50, needs, plan) == 1 for plan in PLANS[1:])
    assert needs.peak(PLANS[0], 1) == needs.peak(PLANS[0]) == 110 + 60


def test_on_a_processor_heads_are_drawn_one_by_one(weights_folder):
    assert batch.heads_at_once(fl.FaceLift.from_pretrained(weights_folder, "cpu")) == 1


# --- Writing beside the next ---


def test_files_are_written_while_the_next_head_is_made(photos, run, monkeypatch):
    """The first head's file waits for the second head to begin."""
    begun, save, reconstruct = threading.Event(), Gaussians.save, fl.FaceLift.reconstruct
    calls, threads = [], set()

    def save_after_the_next_begun(self, path):
        assert len(threads) or begun.wait(60), "nothing is made meanwhile"
        threads.add(threading.current_thread().name)
        save(self, path)

    def tell(self, *args, **how):
        calls.append(how["heads_to_come"])
        if len(calls) == 2:
            begun.set()
        return reconstruct(self, *args, **how)

    monkeypatch.setattr(Gaussians, "save", save_after_the_next_begun)
    monkeypatch.setattr(fl.FaceLift, "reconstruct", tell)
    code, heads = run(photos, "out")
    assert code == 0 and len(heads) == 3 and calls == [3, 2, 1]
    assert any(name.startswith("save") for name in threads)


def test_what_cannot_be_written_is_one_failure(photos, run, monkeypatch, capsys):
    save = Gaussians.save

    def full(self, path):
        if path.stem == "anna":
            raise OSError(28, "No space left on device", str(path))
        save(self, path)

    monkeypatch.setattr(Gaussians, "save", full)
    code, heads = run(photos, "out")
    said = capsys.readouterr()
    assert code == 1 and heads.keys() == {"bert", "carl"}
    assert said.err.count("No space left on device") == 1 and said.out.count("Gaussians in") == 2


def test_a_saver_ends_what_it_writes_at_an_interruption():
    started, seen = threading.Event(), []

    def write(check):
        started.set()
        try:
            while True:
                check()
        finally:
            seen.append("cleaned up")

    with pytest.raises(KeyboardInterrupt), Saver() as saver:
        saver.save(write, seen.append)
        started.wait(60)
        raise KeyboardInterrupt
    assert seen == ["cleaned up"]


def test_a_saver_tells_errors_in_the_thread_that_asked():
    told = []
    with Saver() as saver:
        saver.save(lambda check: 1 / 0, lambda error: told.append((type(error), threading.current_thread())))
        saver.save(lambda check: None, told.append)
        assert told == [(ZeroDivisionError, threading.main_thread())]
    assert told[1:] == [None]


@pytest.mark.parametrize("ahead", [1, 2])
def test_items_are_prepared_ahead_and_in_order(ahead):
    prepared = []
    for number, (item, future) in enumerate(prefetch(range(5), lambda item: prepared.append(item) or item, ahead)):
        assert item == number == future.result()
        assert len(prepared) <= number + 1 + ahead
    assert prepared == list(range(5))

"""A photo's whole way, on small random weights; what each stage computes is tested with that stage."""

import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

import facelift_core as fl
from facelift_core.gaussians.filters import keep_indices
from facelift_core.likeness.front import Front, with_photo_front
from facelift_core.multiview import agreement
from facelift_core.pipeline import TOO_LITTLE_MEMORY_TO_REFINE
from facelift_core.presets import Sampling
from facelift_core.rendering import render
from facelift_core.rendering.cameras import intrinsics, six_views

GOLDENS = Path(__file__).parent / "goldens"
FEW = 300
FIELDS = ("positions", "sh", "log_scales", "rotations", "opacity_logits")


@pytest.fixture(scope="module")
def model(weights_folder) -> fl.FaceLift:
    return fl.FaceLift.from_pretrained(weights_folder, device="cpu")


@pytest.fixture(scope="module")
def cut_out() -> Image.Image:
    """A portrait whose alpha is the matte, so that no background has to be found."""
    portrait = Image.open(GOLDENS / "input.png").convert("RGB")
    matte = Image.new("L", portrait.size)
    matte.paste(255, (8, 4, 56, 64))
    portrait.putalpha(matte)
    return portrait


@pytest.fixture(scope="module")
def result(model, cut_out) -> fl.Result:
    return model.reconstruct(cut_out, steps=2, crop=False, likeness="off")


def equal(a: fl.Gaussians, b: fl.Gaussians) -> bool:
    return all(torch.equal(getattr(a, name), getattr(b, name)) for name in FIELDS)


def test_result(result, model):
    assert result.portrait.mode == "RGB" and result.portrait.size == (512, 512)
    assert result.views.shape == (6, 3, model.multiview.image_size, model.multiview.image_size)
    assert result.views.dtype == torch.float32 and result.views.min() >= 0 and result.views.max() <= 1
    assert len(result.raw_gaussians) == 2 + 6 * 64 * 64
    assert result.likeness == "off"
    assert equal(result.gaussians, result.raw_gaussians[keep_indices(result.raw_gaussians)])
    assert 0 < len(result.gaussians) < len(result.raw_gaussians)
    assert list(result.timings) == ["align", "views", "gaussians", "filter"]
    assert all(seconds > 0 for seconds in result.timings.values())


def test_each_stage_is_what_the_stage_alone_computes(result, model):
    portrait = result.portrait.resize((64, 64), Image.Resampling.LANCZOS)
    assert torch.equal(result.views, model.multiview(portrait, steps=2))
    with torch.no_grad():
        (raw,) = model.gslrm(result.views[None], intrinsics(64).expand(1, 6, 4), six_views()[None])
    assert equal(result.raw_gaussians, raw)


def test_tensors_of_a_result_can_be_trained_on(result):
    positions = result.gaussians.positions.clone().requires_grad_()
    (positions * result.gaussians.positions).sum().backward()
    assert torch.equal(positions.grad, result.gaussians.positions)


def test_views_can_be_given(model, result):
    again = model.reconstruct_from_views(result.views)
    assert again.portrait is None and list(again.timings) == ["gaussians", "filter"]
    assert equal(again.gaussians, result.gaussians)


@pytest.mark.parametrize("shape", [(5, 3, 64, 64), (6, 4, 64, 64), (3, 64, 64), (6, 3, 60, 64)])
def test_views_of_another_shape_are_refused(model, shape):
    with pytest.raises(fl.FaceLiftError):
        model.reconstruct_from_views(torch.zeros(shape))
    with pytest.raises(fl.FaceLiftError, match="uint8"):
        model.reconstruct_from_views(torch.zeros(6, 3, 64, 64, dtype=torch.uint8))


def test_views_are_told_of_before_the_head_exists(model, cut_out, result):
    told = []
    again = model.reconstruct(
        cut_out,
        steps=2,
        crop=False,
        likeness="off",
        progress=lambda stage, *_: told.append(stage),
        views_done=lambda views: told.append(views),
    )
    (views,) = (word for word in told if not isinstance(word, str))
    at = next(n for n, word in enumerate(told) if word is views)
    assert torch.equal(views, again.views) and torch.equal(views, result.views)
    assert set(told[:at]) == {"align", "views"} and "gaussians" in told[at + 1 :]


def test_photos_as_path_image_and_array_are_the_same(model, cut_out, result, tmp_path):
    cut_out.save(tmp_path / "photo.png")
    for photo in (tmp_path / "photo.png", str(tmp_path / "photo.png"), np.array(cut_out)):
        assert equal(model.reconstruct(photo, steps=2, crop=False, likeness="off").gaussians, result.gaussians)


@pytest.mark.parametrize(
    "photo",
    [np.zeros((64, 64, 3)), np.zeros((64, 64, 2), np.uint8), np.zeros((0, 64, 3), np.uint8), np.zeros(64, np.uint8)],
)
def test_arrays_that_are_no_photo_are_refused(model, photo):
    with pytest.raises(fl.FaceLiftError, match="photo"):
        model.reconstruct(photo, crop=False)


def test_a_photo_without_a_face_says_so(model, cut_out):
    with pytest.raises(fl.FaceLiftError, match="face"):
        model.reconstruct(cut_out.resize((256, 256)), steps=1)


def test_settings_are_checked_before_the_photo_is_opened(model, tmp_path):
    with pytest.raises(fl.FaceLiftError, match="steps"):
        model.reconstruct(tmp_path / "none.jpg", steps=0)


STAGES = ["align", "views", "gaussians", "filter", "skin", "refine"]


@pytest.fixture
def short_likeness(monkeypatch) -> None:
    """Two steps of refinement, and few Gaussians: random weights make them as large as the picture."""
    for name in ("STEPS", "STEPS_BY_TORCH"):
        monkeypatch.setattr(f"facelift_core.likeness.refine.{name}", 2)
    monkeypatch.setattr(agreement, "render", lambda gaussians, *camera: render(gaussians[:FEW], *camera))
    monkeypatch.setattr(fl.pipeline, "with_photo_front", lambda head, *how: with_photo_front(head[:FEW], *how))


def test_progress_is_monotone_over_all_stages(model, cut_out, short_likeness):
    calls = []
    how = Sampling(4)
    model.reconstruct(cut_out, preset=how, crop=False, likeness="refined", progress=lambda *call: calls.append(call))
    stages = [stage for stage, _, _ in calls]
    fractions = [fraction for _, fraction, _ in calls]
    assert list(dict.fromkeys(stages)) == STAGES
    assert fractions == sorted(fractions) and fractions[0] == 0 and fractions[-1] == 1
    assert sum(message.startswith("Step") for _, _, message in calls) == 4 + 2
    assert sum(message.startswith("Layer") for _, _, message in calls) == len(model.gslrm.transformer_layers)


@pytest.mark.parametrize("stage", STAGES)
def test_cancelling_in_each_stage(model, cut_out, stage, result, short_likeness):
    assert not issubclass(fl.Cancelled, fl.FaceLiftError), "a cancelled run has not failed"
    reached = []
    with pytest.raises(fl.Cancelled):
        model.reconstruct(
            cut_out,
            steps=2,
            crop=False,
            likeness="refined",
            progress=lambda name, fraction, message: reached.append(name),
            cancelled=lambda: stage in reached,
        )
    assert reached[-1] == stage and reached.count(stage) == 1
    assert not any(layer._forward_pre_hooks for layer in model.gslrm.transformer_layers)
    again = model.reconstruct(cut_out, steps=2, crop=False, likeness="off")
    assert equal(again.gaussians, result.gaussians)  # as good as new


def test_without_memory_for_a_refinement_the_head_stays_unrefined(model, cut_out, monkeypatch):
    monkeypatch.setattr("facelift_core.pipeline.with_photo_front", lambda head, *_: Front(head, ("A note.",)))

    def exhausted(*_):
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr("facelift_core.pipeline.refined", exhausted)
    result = model.reconstruct(cut_out, preset=Sampling(1), crop=False, likeness="refined")
    assert result.likeness == "photo" and result.notes[-2:] == ("A note.", TOO_LITTLE_MEMORY_TO_REFINE)
    assert len(result.gaussians)


def test_a_head_that_is_filtered_away_is_an_error(model, result, monkeypatch):
    monkeypatch.setattr("facelift_core.pipeline.filter_gaussians", lambda gaussians: gaussians[:0])
    with pytest.raises(fl.FaceLiftError, match="Nothing is left"):
        model.reconstruct_from_views(result.views)


def test_running_out_of_memory_is_one_sentence(model, cut_out, monkeypatch):
    def exhausted(*_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.\nMore text")

    monkeypatch.setattr(type(model.gslrm), "tokens", exhausted)
    with pytest.raises(fl.FaceLiftError, match=r"Not enough graphics memory; .*“cpu”\."):
        model.reconstruct(cut_out, steps=1, crop=False)


def test_golden_views_to_gaussians(model):
    views = load_file(GOLDENS / "expected_views.safetensors")["views_seed4"]
    assert len(model.reconstruct_from_views(views).raw_gaussians) == 2 + 6 * 64 * 64


# --- The package ---


def test_importing_the_package_imports_nothing_heavy():
    code = (
        "import sys, facelift_core as fl; fl.FaceLiftError, fl.Cancelled;"
        "sys.exit(', '.join({'torch', 'numpy', 'PIL', 'cv2', 'diffusers', 'transformers'} & sys.modules.keys()) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_public_names():
    for name in fl.__all__:
        assert getattr(fl, name) is not None
    assert fl.multiview.MultiViewDiffusion and fl.gslrm.GSLRM and callable(fl.load) and callable(fl.render)
    assert set(fl.__all__) <= set(dir(fl)) and "multiview" in dir(fl)
    with pytest.raises(AttributeError, match="no_such_name"):
        fl.no_such_name  # noqa: B018


def test_one_version():
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    assert project.get("version", fl.__version__) == fl.__version__

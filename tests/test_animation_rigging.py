"""Rigs of heads: what Gaussians follow, what is added, expressions, films, the command and the job."""

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from synthetic_rig import make_rig as make_small_rig

import facelift_core as fl
from facelift_core.animation import SHAPES, own_response, rigging, tracking, video
from facelift_core.animation.animate import posed_vertices, strengths
from facelift_core.animation.binding import behind_lips, follow_samples
from facelift_core.animation.capture import read_take, write_csv
from facelift_core.animation.covered import TRANSPARENT, hide_covered
from facelift_core.animation.deform import deform
from facelift_core.animation.files import load_rig
from facelift_core.animation.rig import Binding, left_to_add
from facelift_core.animation.samples import Samples, quads_of, sample_quads
from facelift_core.animation.take import Take
from facelift_core.cli import main
from facelift_core.errors import FaceLiftError
from facelift_core.gaussians.arrays import SplatArrays
from facelift_core.jobs import handlers
from facelift_core.processes.protocol import Done
from facelift_core.rendering import cameras, render
from facelift_core.rendering.metrics import psnr
from facelift_core.training.heads.gaussians import surface_gaussians
from facelift_core.training.heads.scene import make_head

SEED = 1_000_101


@pytest.fixture(scope="module")
def head():
    """The surface of a person without expression, as Gaussians."""
    return surface_gaussians(make_head(SEED, {}), seed=0)


@pytest.fixture(scope="module")
def rig(head):
    return rigging.make_rig(head)


def shown(gaussians, size: int = 256) -> torch.Tensor:
    with torch.no_grad():
        picture = render(gaussians, cameras.six_views()[:1], cameras.intrinsics(size), size, size)
    return picture[0].clamp(0, 1).permute(2, 0, 1)


def moved(rig, weights: dict[str, float]) -> np.ndarray:
    """(N, 3) how the head's own Gaussians move."""
    return fl.animate(rig, weights).positions.numpy() - rig.gaussians.positions


def test_at_rest_the_head_looks_as_before(rig, head):
    assert len(rig.gaussians) > len(head)
    assert psnr(shown(rig.gaussians.to_gaussians()), shown(head)) > 38


def test_the_jaw_opens_and_the_top_of_the_head_stays(rig, head):
    motion = moved(rig, {"jawOpen": 1.0})[: len(head)]
    positions = rig.gaussians.positions[: len(head)]
    mouth = rig.mesh.vertices[rig.mesh.parts["lips"]].mean(0)
    chin = (np.abs(positions[:, 0] - mouth[0]) < 0.05) & (positions[:, 1] < mouth[1] + 0.1)
    chin &= (positions[:, 2] < mouth[2] - 0.15) & (positions[:, 2] > mouth[2] - 0.25)
    assert motion[chin, 2].mean() < -0.08
    above = positions[:, 2] > rig.mesh.vertices[rig.mesh.parts["eyes"], 2].max() + 0.2
    assert np.abs(motion[above]).max() < 0.01


def test_a_smile_adds_what_is_left_of_one():
    expression = np.zeros(len(SHAPES), np.float32)
    smile, blink, jaw = (SHAPES.index(name) for name in ("mouthSmileLeft", "eyeBlinkLeft", "jawOpen"))
    expression[[smile, blink]] = 0.75, 0.5
    assert left_to_add(expression)[[smile, blink, jaw]].tolist() == [0.25, 0.5, 1.0]
    assert left_to_add(expression, neutral=1.0).tolist() == [1.0] * len(SHAPES)


def test_smiles_add_up_to_one_at_most():
    rig = make_small_rig()
    smile = SHAPES.index("mouthSmileLeft")
    rig.mesh.expression[smile] = 0.75
    most = rig.mesh.vertices + 0.25 * rig.mesh.shapes[smile]
    expected = deform(rig, most).positions
    assert np.allclose(fl.animate(rig, {"mouthSmileLeft": 1.0}).positions.numpy(), expected, atol=1e-6)


def test_closed_lids_hide_the_eyes(rig):
    eyes = np.isin(rig.binding.corners[:, 0], rig.mesh.parts["eyes"])
    red = rig.gaussians.sh.copy()
    red[:, 0] = -1.77
    red[eyes, 0, 0] = 1.77
    painted = type(rig)(type(rig.gaussians)(**{**vars(rig.gaussians), "sh": red}), rig.mesh, rig.binding)
    amount = [
        float(shown(fl.animate(painted, {"eyeBlinkLeft": strength, "eyeBlinkRight": strength}), 512)[0].mean())
        for strength in (0.0, 1.0)
    ]
    background = float(shown(fl.animate(painted, {}), 512)[1].mean())
    assert amount[0] - background > 3 * max(amount[1] - background, 0)


def test_skin_below_the_face_keeps_away_from_the_lids(rig, head):
    corners, parts = rig.binding.corners[len(head) :], rig.mesh.parts
    below = np.isin(corners, parts["face"]).all(1)
    below &= ~np.isin(corners, np.union1d(parts["eyelids"], parts["lips"])).any(1)
    away = rig.gaussians.positions[len(head) :][below][:, None] - rig.mesh.vertices[parts["eyelids"]]
    assert below.sum() > 1000 and np.linalg.norm(away, axis=2).min() > 0.04


def test_eyes_turn_where_they_look(rig):
    eyes = np.isin(rig.binding.corners[:, 0], rig.mesh.parts["eyes"])
    front = eyes & (rig.gaussians.positions[:, 1] < np.quantile(rig.gaussians.positions[eyes, 1], 0.2))
    motion = moved(rig, {"eyeLookOutLeft": 1.0, "eyeLookInRight": 1.0})
    assert motion[front, 0].mean() > 0.01  # to the person's left
    assert np.abs(motion[~eyes]).mean() < 0.001


def test_the_head_turns_and_the_shoulders_stay(rig):
    turn = Rotation.from_euler("z", 30, degrees=True).as_matrix()
    motion = posed_vertices(rig.mesh, strengths({}), turn) - rig.mesh.vertices
    nose = rig.mesh.vertices[:, 1].argmin()
    low = rig.mesh.vertices[:, 2] < np.quantile(rig.mesh.vertices[rig.mesh.parts["skin"], 2], 0.03)
    assert motion[nose, 0] > 0.2 and np.abs(motion[low]).max() < 0.02


@pytest.mark.parametrize(
    ("weights", "says"),
    [({"jawopen": 1.0}, "no shape “jawopen”"), ([1.0, 2.0], "52 weights"), ({"jawOpen": float("nan")}, "from 0 to 1")],
)
def test_senseless_weights_get_a_sentence(rig, weights, says):
    with pytest.raises(FaceLiftError, match=says):
        fl.animate(rig, weights)


def test_the_command_writes_heads_pictures_and_films(rig, head, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(rigging, "make_rig", lambda *_: rig)
    path = tmp_path / "head.ply"
    head.save(path)
    pose = ["animate", str(path), "--pose", "mouthSmileLeft=.8, jawopen=.3"]
    assert main([*pose, "-o", str(tmp_path / "smile.ply")]) == 0
    assert len(fl.load(tmp_path / "smile.ply")) == len(rig.gaussians)
    assert main([*pose, "-o", str(tmp_path / "smile.png"), "--size", "64", "--turn", "20"]) == 0
    weights = np.zeros((3, len(SHAPES)), np.float32)
    weights[1, SHAPES.index("jawOpen")] = 1
    write_csv(Take(weights, np.zeros((3, 3), np.float32), np.arange(3) / 30), tmp_path / "take.csv")
    film = ["animate", str(path), "--csv", str(tmp_path / "take.csv"), "--size", "64"]
    assert main([*film, "-o", str(tmp_path / "take.mp4")]) == 0
    assert (tmp_path / "take.mp4").stat().st_size > 1000
    assert main([*film, "-o", str(tmp_path / "take.png")]) == 2
    assert main(["animate", str(path), "--pose", "smile", "-o", str(tmp_path / "a.ply")]) == 2
    assert "there is no shape “smile”" in capsys.readouterr().err


def test_a_head_performs_a_video_as_far_as_it_answers(rig, head, tmp_path, monkeypatch, capsys):
    made, used, own = [], [], object()
    take = Take(np.zeros((3, len(SHAPES)), np.float32), np.zeros((3, 3), np.float32), np.arange(3) / 30)

    def track(path, progress, response):
        used.append(response)
        return take

    monkeypatch.setattr(rigging, "make_rig", lambda *_: made.append(rig) or rig)
    monkeypatch.setattr(own_response, "with_answers_of", lambda *_: own)
    monkeypatch.setattr(tracking, "track_video", track)
    head.save(tmp_path / "head.ply")
    command = ["animate", str(tmp_path / "head.ply"), "--video", str(tmp_path / "me.mp4")]
    command += ["-o", str(tmp_path / "take.csv")]
    assert main(command) == 1 and "There is no video" in capsys.readouterr().err and not made
    monkeypatch.setattr(video, "open_video", lambda path: None)
    assert main(command) == 0 and used == [own]
    assert len(read_take(tmp_path / "take.csv")) == 3


def test_the_job_writes_the_rig(rig, head, tmp_path, monkeypatch):
    monkeypatch.setattr(rigging, "make_rig", lambda *_: rig)
    head.save(tmp_path / "head.ply")
    request = {"head": str(tmp_path / "head.ply"), "file": str(tmp_path / "rig.npz")}
    done = handlers.run("rig", request, lambda _: None, lambda: False, handlers.Models())
    assert done == Done({"added": len(rig.gaussians) - len(head)})
    assert len(load_rig(tmp_path / "rig.npz").gaussians) == len(rig.gaussians)


def test_what_fine_gaussians_of_the_lips_cover_is_no_curtain_in_an_open_mouth(rig):
    lips = sample_quads(rig.mesh, quads_of(rig.mesh, "lips"), 0.002)
    lips = lips[lips.normals[:, 1] < -0.5]
    chin = sample_quads(rig.mesh, np.setdiff1d(quads_of(rig.mesh, "face"), quads_of(rig.mesh, "lips")), 0.02)[:100]
    behind = lips[::20]
    points = np.concatenate([lips.points, behind.points + np.array([0, 0.02, 0]), chin.points]).astype(np.float32)
    count = len(points)
    sizes = np.full(count, np.log(0.0015), np.float32)
    sizes[len(lips) :] = np.log(0.012)
    splats = SplatArrays(
        points, np.zeros((count, 1, 3), np.float32), np.repeat(sizes[:, None], 3, 1),
        np.tile(np.array([1, 0, 0, 0], np.float32), (count, 1)), np.full(count, 4.0, np.float32),
    )  # fmt: skip
    binding = follow_samples(Samples(**{
        name: np.concatenate([getattr(part, name) for part in (lips, behind, chin)]) for name in vars(lips)
    }))  # fmt: skip
    logits = hide_covered(splats, binding, rig.mesh, np.zeros(0, int)).opacity_logits
    assert (logits[: len(lips)] == 4).all()
    assert (logits[len(lips) : len(lips) + len(behind)] == TRANSPARENT).mean() > 0.8
    assert (logits[-len(chin) :] == 4).all()
    alone = splats[np.arange(count) >= len(lips)]  # a head without a photo's pixels: its lips are the coarse ones
    own = Binding(binding.corners[len(lips) :], binding.shares[len(lips) :])
    assert hide_covered(alone, own, rig.mesh, np.zeros(0, int)) is alone


def test_what_lies_behind_the_teeth_of_the_photo_stays_behind_them(rig):
    """Both go back to the same surface, where the coarse one would otherwise come first."""
    teeth = sample_quads(rig.mesh, quads_of(rig.mesh, "teeth"), 0.02)
    teeth = teeth[[teeth.points[:, 1].argmin()]]
    points = (teeth.points[0] - np.array([[0, 0.06, 0], [0, 0.04, 0]])).astype(np.float32)
    splats = SplatArrays(
        points, np.zeros((2, 1, 3), np.float32), np.log([[0.0015] * 3, [0.012] * 3]).astype(np.float32),
        np.tile(np.array([1, 0, 0, 0], np.float32), (2, 1)), np.full(2, 4.0, np.float32),
    )  # fmt: skip
    binding = follow_samples(teeth[[0, 0]])
    moved = behind_lips(splats, binding, np.arange(2), rig.mesh).positions[:, 1]
    assert (moved > points[:, 1] + 0.02).all() and moved[1] > moved[0] + 0.02

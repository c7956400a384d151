"""Relighting: normals, albedo and light of a ball whose own are known; lamps; refusals in a sentence."""

import threading

import cv2
import numpy as np
import pytest
import torch

import facelift_core as fl
from facelift_core.cli import main
from facelift_core.gaussians.tensors import SH_C0, Gaussians
from facelift_core.gaussians.transforms import basis
from facelift_core.jobs import handlers
from facelift_core.jobs.reconstruct import Models
from facelift_core.photos.colors import linear_to_srgb, srgb_to_linear
from facelift_core.relighting import Reflectance, estimate, solid
from facelift_core.relighting.environment import Environment, Sun
from facelift_core.relighting.estimation import without_light
from facelift_core.relighting.harmonics import projected, radiance
from facelift_core.relighting.normals import agreeing
from facelift_core.relighting.shading import Relightable

RADIUS = 0.75
SKIN, HAIR = np.array([0.5, 0.3, 0.22]), np.array([0.1, 0.06, 0.05])
SIDE = np.array([-0.8, -0.6, 0.0])
"""Toward the light, which is on the left in a picture from the front."""


def unit_vectors(count: int) -> np.ndarray:
    k = np.arange(count) + 0.5
    z, turn = 1 - 2 * k / count, k * np.pi * (3 - 5**0.5)
    return np.stack([np.cos(turn) * np.sqrt(1 - z * z), np.sin(turn) * np.sqrt(1 - z * z), z], 1)


def ball(colors: np.ndarray, unit: np.ndarray) -> Gaussians:
    """Discs on a sphere with (N, 3) linear `colors`; their smallest axis is the normal, with either sign."""
    n = len(unit)
    sh = ((linear_to_srgb(colors) - 0.5) / SH_C0)[:, None]
    # A rotation by half a turn around the middle of z and the normal moves the one to the other.
    halfway = unit + np.array([0, 0, 1.0])
    halfway /= np.linalg.norm(halfway, axis=1, keepdims=True)
    rotations = np.concatenate([np.zeros((n, 1)), halfway], axis=1)
    fields = (unit * RADIUS, sh, np.tile(np.log([0.02, 0.02, 0.006]), (n, 1)), rotations)
    return Gaussians(*(torch.tensor(x, dtype=torch.float32) for x in fields), torch.full((n,), 4.0))


def light_of_side() -> np.ndarray:
    """(9, 3) harmonics: twice as bright from the side as from the other."""
    toward = unit_vectors(400)
    bright = 0.75 + 0.5 * toward @ SIDE
    return (basis(toward, 2).T @ np.tile(bright[:, None], 3)) * 4 * np.pi / len(toward)


def irradiance(normals: np.ndarray, light: np.ndarray) -> np.ndarray:
    """(N, 3) irradiance / π without shadows, by summing directions."""
    toward = unit_vectors(400)
    return (normals @ toward.T).clip(0) @ (basis(toward, 2) @ light) * 4 / len(toward)


@pytest.fixture(scope="module", autouse=True)
def coarse():
    """A coarser grid: a ball has no fine detail."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(solid, "STEP", 0.026)
        yield


@pytest.fixture(scope="module")
def lit() -> tuple[Gaussians, np.ndarray, np.ndarray]:
    """A ball under a light from the side, its normals, and its albedo: skin in front, hair behind."""
    unit = unit_vectors(8_000)
    albedo = np.where(unit[:, 1:2] < 0.2, SKIN, HAIR)
    return ball(albedo * irradiance(unit, light_of_side()), unit), unit, albedo


@pytest.fixture(scope="module")
def found(lit) -> Reflectance:
    return estimate(lit[0])


def test_normals_are_those_of_the_surface_and_point_outward(lit, found):
    above = lit[1][:, 2] > -0.7  # below, the solid is cut
    angles = np.degrees(np.arccos((found.normals * lit[1]).sum(1).clip(-1, 1)))
    assert angles[above].mean() < 3 and angles[above].max() < 15
    assert np.allclose(np.linalg.norm(found.normals, axis=1), 1, atol=1e-4)


def test_the_albedo_has_no_light_in_it(lit, found):
    gaussians, unit, albedo = lit
    assert len(found) == len(gaussians) and found.albedo.dtype == found.normals.dtype == found.light.dtype == np.float32
    assert found.albedo.min() >= 0 and found.albedo.max() <= 1 and found.light.shape == (9, 3)
    face = (unit[:, 1] < -0.3) & (np.abs(unit[:, 2]) < 0.6)
    ratio = found.albedo / albedo
    level = np.median(ratio[face])  # one factor is not known
    assert 0.5 < level < 2
    assert np.abs(ratio[face] / level - 1).mean() < 0.06
    seen = np.abs(unit[:, 2]) < 0.6
    assert np.abs(ratio[seen] / level - 1).mean() < 0.2, "the rest, too"
    # In the colors themselves, there is light.
    colors = irradiance(unit, light_of_side())
    assert np.abs(colors[face] / np.median(colors[face]) - 1).mean() > 0.12


def test_an_error_of_the_light_does_not_burn_out_the_albedo():
    colors = np.array([[0.2, 0.1, 0.1]] * 4, np.float32)
    arriving = np.array([[1.0] * 3, [1.0] * 3, [0.0] * 3, [50.0] * 3])
    albedo = without_light(colors, arriving, np.array([True, True, False, False]))
    assert np.allclose(albedo[0], colors[0], atol=1e-3)
    assert (albedo[2] < 2.1 * colors[2]).all() and (albedo[3] > 0.36 * colors[3]).all()
    bright = without_light(np.full((2, 3), [[3.0, 2.0, 0.71]]), np.ones((2, 3)), np.ones(2, bool))
    assert bright.max() < 0.96 and bright[0, 2] == pytest.approx(0.71, abs=0.01)


def test_normals_that_contradict_those_around_give_way():
    random = np.random.default_rng(0)
    points = np.concatenate([random.uniform(-0.5, 0.5, (4000, 3)) * [1, 0.02, 1]])
    front = np.tile(np.float32([0, -1, 0]), (4000, 1))
    turned = front.copy()
    turned[::20] *= -1
    assert (agreeing(points, turned, 0.025) * front).sum(1).min() > 0.9
    ridge = np.where(points[:, :1] < 0, np.float32([[-0.6, -0.8, 0]]), np.float32([[0.6, -0.8, 0]]))
    kept = agreeing(points, ridge.astype(np.float32), 0.025)
    away = np.abs(points[:, 0]) > 0.3
    assert (kept * ridge).sum(1)[away].min() > 0.99, "a slope stays"


def test_the_light_comes_from_its_side(found):
    toward = unit_vectors(500)
    shown = (basis(toward, 2) @ found.light).mean(axis=1)
    assert (shown * (toward @ SIDE)).sum() > 0
    assert shown[(toward @ SIDE) > 0.8].mean() > 1.3 * shown[(toward @ SIDE) < -0.3].mean()


def test_size_and_place_make_no_difference(lit, found):
    gaussians = lit[0]
    moved = Gaussians(gaussians.positions * 0.2 + torch.tensor([3.0, -2, 1]), *list(vars(gaussians).values())[1:])
    shrunk = Gaussians(moved.positions, moved.sh, moved.log_scales + np.log(0.2), moved.rotations, moved.opacity_logits)
    other = estimate(shrunk)
    assert np.abs(other.normals - found.normals).mean() < 0.02 and np.abs(other.albedo - found.albedo).mean() < 0.03


def test_refusals_are_sentences(lit):
    green = Gaussians(**{**vars(lit[0]), "opacity_logits": torch.full((len(lit[0]),), -9.0)})
    with pytest.raises(fl.FaceLiftError, match="too few visible"):
        estimate(green)
    with pytest.raises(fl.FaceLiftError, match="no Gaussians"):
        estimate(lit[0][:0])
    black = Gaussians(**{**vars(lit[0]), "sh": torch.full_like(lit[0].sh, -0.5 / SH_C0)})
    with pytest.raises(fl.FaceLiftError, match="No skin"):
        estimate(black)


def test_a_job_writes_its_file_at_once_and_stops(lit, tmp_path):
    lit[0].save(tmp_path / "head.ply")
    request = {"head": str(tmp_path / "head.ply"), "output": str(tmp_path / "light.npz")}
    events = []
    done = handlers.run("relight", request, events.append, lambda: False, Models())
    assert done.result == {"count": len(lit[0])}
    with np.load(tmp_path / "light.npz") as arrays:
        assert sorted(arrays) == ["albedo", "light", "normals"]
        assert arrays["normals"].shape == arrays["albedo"].shape == (len(lit[0]), 3)
        assert (arrays["normals"] * lit[1]).sum(1).mean() > 0.95, "in the order of the file"
    assert {event.stage for event in events} == {"surface", "light"}
    fractions = [event.fraction for event in events]
    assert fractions == sorted(fractions) and 0 <= fractions[0] and fractions[-1] <= 1
    (tmp_path / "light.npz").unlink()
    stop = threading.Event()
    stopped = handlers.run("relight", request, lambda event: stop.set(), stop.is_set, Models())
    assert type(stopped).__name__ == "Stopped" and [path.name for path in tmp_path.iterdir()] == ["head.ply"]


# --- Other light ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def lightable(lit) -> Relightable:
    """The ball with its true normals, white."""
    gaussians, unit, _ = lit
    white = np.full((len(unit), 3), 0.6, np.float32)
    return Relightable(gaussians, Reflectance(unit.astype(np.float32), white, np.zeros((9, 3), np.float32)))


def linear_colors(gaussians: Gaussians) -> np.ndarray:
    return srgb_to_linear(gaussians.colors.numpy().clip(0))


def test_a_lamp_lights_its_side_with_its_color(lit, lightable):
    gaussians, unit, _ = lit
    shown = lightable.under(Environment((Sun((-1, 0, 0), (1.0, 0.5, 0.0)),)))
    assert len(shown) == len(gaussians)
    for name in ("positions", "log_scales", "rotations", "opacity_logits"):
        assert torch.equal(getattr(shown, name), getattr(gaussians, name))
    colors = linear_colors(shown)
    left, right = unit[:, 0] < -0.9, unit[:, 0] > 0.1
    assert colors[left].mean(axis=0) == pytest.approx([0.6 * 0.95, 0.3 * 0.95, 0], abs=0.03)
    assert colors[right].max() < 0.02
    across = np.abs(unit[:, 2]) < 0.6
    assert np.abs(colors[across, 0] - 0.6 * -unit[across, 0].clip(None, 0)).mean() < 0.03


def test_directions_are_named_as_seen_from_the_head():
    assert np.allclose(Sun.at(0, 0).direction, (0, -1, 0)) and np.allclose(Sun.at(90, 0).direction, (1, 0, 0))
    assert np.allclose(Sun.at(180, 0).direction, (0, 1, 0)) and np.allclose(Sun.at(20, 90).direction, (0, 0, 1))


def test_light_from_everywhere_has_no_side(lit, lightable):
    colors = linear_colors(lightable.under(Environment.uniform((0.5, 1.0, 1.0))))
    across = np.abs(lit[1][:, 2]) < 0.6
    assert colors[across].mean(axis=0) == pytest.approx([0.3, 0.6, 0.6], rel=0.04)
    assert colors[across, 0].std() < 0.02


def test_what_is_in_front_of_a_lamp_casts_a_shadow():
    unit = unit_vectors(4_000)
    large, small = unit * RADIUS, unit[::4] * 0.25 + np.array([0, -1.1, 0])
    both = np.concatenate([large, small])
    normals = np.concatenate([unit, unit[::4]]).astype(np.float32)
    n = len(both)
    made = (both, np.zeros((n, 1, 3)), np.full((n, 3), np.log(0.025)), np.tile([1.0, 0, 0, 0], (n, 1)))
    # A bridge, because a head is one solid.
    bridge = np.linspace([0, -0.7, 0], [0, -0.9, 0], 60)
    made = [np.concatenate([field, np.repeat(field[:1], 60, axis=0)]) for field in made]
    made[0][-60:], made[2][-60:] = bridge, np.log(0.04)
    gaussians = Gaussians(*(torch.tensor(x, dtype=torch.float32) for x in made), torch.full((n + 60,), 4.0))
    normals = np.concatenate([normals, np.tile([[0, -1, 0]], (60, 1))]).astype(np.float32)
    reflectance = Reflectance(normals, np.full((n + 60, 3), 0.6, np.float32), np.zeros((9, 3), np.float32))
    colors = linear_colors(fl.relight(gaussians, Environment((Sun((0, -1, 0)),)), reflectance))[: len(unit), 0]
    away = np.hypot(large[:, 0], large[:, 2])
    behind, beside = (away < 0.15) & (unit[:, 1] < 0), (away > 0.4) & (away < 0.5) & (unit[:, 1] < 0)
    assert colors[behind].mean() < 0.1 and colors[beside].mean() > 0.35


def test_a_picture_of_the_surroundings_is_placed_as_in_blender():
    picture = np.full((32, 64, 3), 0.1, np.float32)
    picture[8:24, 28:36] = 3.0  # its middle is in the direction +X
    around = Environment.of_picture(picture).around
    axes = np.array([[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]], float)
    assert radiance(around, axes)[:, 0].argmax() == 0
    picture[8:24, 28:36] = 0.1
    picture[8:24, 12:20] = 3.0  # a quarter to the left: +Y
    assert radiance(Environment.of_picture(picture).around, axes)[:, 0].argmax() == 2
    same = Environment.of_picture(np.ones((16, 32, 3))).around
    assert radiance(same, axes) == pytest.approx(1, abs=0.01)
    toward = unit_vectors(400)
    assert np.allclose(projected(toward, np.full((400, 3), 4 * np.pi / 400)), same, atol=0.02)


@pytest.mark.parametrize("suffix", [".hdr", ".png"])
def test_a_picture_of_the_surroundings_comes_from_a_file(tmp_path, suffix):
    picture = np.full((64, 128, 3), 0.1, np.float32)
    picture[:32, :, 2] = 0.5  # a red sky, in the order of OpenCV
    path = str(tmp_path / f"sky{suffix}")
    cv2.imwrite(path, picture if suffix == ".hdr" else np.round(255 * linear_to_srgb(picture)).astype(np.uint8))
    around = Environment.of_file(path).around
    up, down = radiance(around, np.array([[0, 0, 1.0], [0, 0, -1.0]]))
    assert up[0] > 0.4 and down[0] < 0.2 and up[1:] == pytest.approx(0.1, abs=0.01)


def test_wrong_light_is_refused_in_a_sentence(lit, found, tmp_path):
    with pytest.raises(fl.FaceLiftError, match="not all zero"):
        Environment((Sun((0, 0, 0)),))
    with pytest.raises(fl.FaceLiftError, match="at least 0"):
        Environment((Sun((0, 0, 1), (1, -1, 1)),))
    with pytest.raises(fl.FaceLiftError, match="9 × 3"):
        Environment((), np.zeros((4, 3)))
    with pytest.raises(fl.FaceLiftError, match=r"\(H, W, 3\)"):
        Environment.of_picture(np.zeros((4, 8)))
    with pytest.raises(fl.FaceLiftError, match="finite"):
        Environment.of_picture(np.full((4, 8, 3), np.nan))
    with pytest.raises(fl.FaceLiftError, match="reflectance is of"):
        fl.relight(lit[0][:100], Environment.uniform(), found)
    (tmp_path / "none.hdr").write_bytes(b"#?RADIANCE\n")
    (tmp_path / "empty.hdr").write_bytes(b"")
    (tmp_path / "huge.hdr").write_bytes(b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 90000 +X 90000\n")
    (tmp_path / "cut.hdr").write_bytes(b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 64 +X 64\n\2\2")
    for name in ("none.hdr", "empty.hdr", "missing.hdr", "huge.hdr", "cut.hdr", "missing.png"):
        with pytest.raises(fl.FaceLiftError, match=name):
            Environment.of_file(tmp_path / name)


def test_the_command(lit, tmp_path, capsys):
    lit[0].save(tmp_path / "head.ply")
    head, lamp = str(tmp_path / "head.ply"), ["--sun", "-90", "0", "--color", "#ff8800"]
    assert main(["relight", head, "-o", str(tmp_path / "lit.ply"), *lamp]) == 0
    shown, unit = fl.load(tmp_path / "lit.ply").colors.numpy(), lit[1]
    skin = (unit[:, 1] < 0) & (np.abs(unit[:, 2]) < 0.5)
    assert shown[skin & (unit[:, 0] < -0.5)].mean() > 1.5 * shown[skin & (unit[:, 0] > 0.5)].mean()
    assert "8,000 Gaussians" in capsys.readouterr().out
    assert main(["relight", head, "-o", str(tmp_path / "a.ply")]) == 2
    assert main(["relight", head, "-o", str(tmp_path / "a.ply"), "--hdri", "a.hdr", "--color", "red"]) == 2
    assert main(["relight", head, "-o", str(tmp_path / "a.ply"), "--hdri", str(tmp_path / "a.hdr")]) == 1
    assert main(["relight", head, "-o", str(tmp_path / "a.jpg"), *lamp]) == 1
    assert capsys.readouterr().err.count("facelift: ") == 4


def test_a_file_that_cannot_be_written_is_one_sentence(found, tmp_path):
    with pytest.raises(fl.FaceLiftError, match="Cannot write"):
        found.save(tmp_path / "none" / "light.npz")

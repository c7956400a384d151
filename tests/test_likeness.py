"""The front of a head is its photo: landmarks, surface, skin, harmony, refinement."""

import hashlib
import math
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from scipy.spatial.transform import Rotation

import facelift_core as fl
from facelift_core.align import align_cutout, align_portrait, detect_faces
from facelift_core.align.landmarks import CHIN, EYES, FOREHEAD, Landmarks, find_landmarks
from facelift_core.gaussians.tensors import SH_C0, Gaussians, concatenate
from facelift_core.likeness import LIKENESS, check, refine
from facelift_core.likeness.depth import MIDDLE, SCALE, WEIGHTS, DepthNetwork, portrait_depth
from facelift_core.likeness.front import NO_LANDMARKS, pixels_of, with_photo_front
from facelift_core.likeness.harmony import harmonized
from facelift_core.likeness.skin import _quaternions, carve, skin, skin_weight
from facelift_core.likeness.surface import blur, front_depth, front_surface, in_front_camera, project, to_world
from facelift_core.progress import Monitor
from facelift_core.rendering.cameras import intrinsics, orbit, six_views
from facelift_core.rendering.metrics import psnr
from facelift_core.rendering.projection import rotation_matrices
from facelift_core.weights.state_dict import save_safetensors

SIZE, RADIUS = 512, 0.5
MONITOR = Monitor("skin")


def ball(color: tuple[float, float, float] = (0.8, 0.5, 0.4), count: int = 6000) -> Gaussians:
    """A sphere of opaque discs around the origin."""
    index = torch.arange(count) + 0.5
    polar, around = torch.acos(1 - 2 * index / count), math.pi * (1 + 5**0.5) * index
    normals = torch.stack([around.cos() * polar.sin(), around.sin() * polar.sin(), polar.cos()], dim=1)
    side = torch.linalg.cross(normals, torch.tensor([0.3, 0.5, 0.8]).expand_as(normals))
    side = side / side.norm(dim=1, keepdim=True)
    axes = torch.stack([side, torch.linalg.cross(normals, side), normals], dim=2)
    spacing = RADIUS * (4 * math.pi / count) ** 0.5
    scales = torch.tensor([spacing, spacing, 0.2 * spacing]).expand(count, 3)
    rotations = torch.from_numpy(Rotation.from_matrix(axes.numpy()).as_quat()[:, [3, 0, 1, 2]]).float()
    sh = ((torch.tensor(color) - 0.5) / SH_C0).expand(count, 1, 3).contiguous()
    return Gaussians(RADIUS * normals, sh, scales.log(), rotations, torch.full((count,), 3.0))


def picture(head: Gaussians, azimuth: float = 270.0, size: int = SIZE) -> torch.Tensor:
    """(3, size, size) on white."""
    return fl.render(head, orbit(torch.tensor([azimuth])), intrinsics(size), size, size)[0].permute(2, 0, 1)


@pytest.fixture(scope="module")
def portrait():
    return align_portrait(Path(__file__).parent / "data" / "portrait.jpg")


@pytest.fixture(scope="module")
def checked():
    """A ball's cut-out with a pattern that the ball itself does not have."""
    y, x = np.mgrid[:SIZE, :SIZE]
    pattern = np.stack([128 + 100 * np.sin(x / 9), 128 + 100 * np.sin(y / 13), 0 * x + 90, 0 * x], axis=-1)
    silhouette = RADIUS / (2.7**2 - RADIUS**2) ** 0.5 * intrinsics(SIZE)[0].item()
    pattern[..., 3] = 255 * ((x + 0.5 - 256) ** 2 + (y + 0.5 - 256) ** 2 < silhouette**2)
    return align_cutout(Image.fromarray(pattern.astype(np.uint8), "RGBA"))


# --- Landmarks ---


def test_landmarks_lie_on_the_face(portrait):
    landmarks = find_landmarks(portrait.image)
    points = landmarks.points
    assert points.shape == (468, 3) and landmarks.confidence > 0.9
    # Another network's five points: eyes, tip of the nose, corners of the mouth.
    (face,) = detect_faces(portrait.image)
    ours = [points[list(index), :2].mean(0) for index in ((33, 133), (362, 263), (1,), (61,), (291,))]
    assert np.abs(np.array(ours) - face.landmarks).max() < 8
    assert points[1, 2] < points[EYES[0], 2] < points[234, 2]  # nose before eye before the edge of the cheek
    assert np.allclose(landmarks.axes @ landmarks.axes.T, np.eye(3), atol=1e-5)
    assert np.degrees(np.arccos(landmarks.axes[2] @ (0, 0, 1))) < 25  # she looks into the camera


@pytest.mark.parametrize("turn", [-20, 20])
def test_landmarks_turn_with_the_picture(portrait, turn):
    turned = portrait.image.rotate(turn, Image.Resampling.BICUBIC, center=(252, 280), fillcolor="white")
    found, expected = find_landmarks(turned).points[:, :2], find_landmarks(portrait.image).points[:, :2]
    angle = math.radians(-turn)
    rotation = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    assert np.abs(found - ((expected - (252, 280)) @ rotation.T + (252, 280))).mean() < 3


def test_where_there_is_no_face_there_are_no_landmarks():
    assert find_landmarks(Image.new("RGB", (SIZE, SIZE), "white")) is None
    noise = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
    assert find_landmarks(Image.fromarray(noise)) is None


# --- Surface ---


def test_the_depth_is_that_of_the_ball():
    alpha, depth = front_depth(ball())
    assert alpha[256, 256] > 0.99 and alpha[5, 5] == 0
    assert depth[256, 256] == pytest.approx(2.7 - RADIUS, abs=0.02)
    surface = front_surface(ball(), None)
    center = np.array([0.0, 0.0, 2.7])
    for row, column in ((256, 256), (256, 200), (200, 290)):
        point = surface.points[row, column]
        assert np.linalg.norm(point - center) == pytest.approx(RADIUS, abs=0.02)
        assert surface.normals[row, column] @ ((point - center) / RADIUS) > 0.98
    assert surface.facing[256, 256] > 0.98 and (surface.face == 0).all()


def test_depth_told_by_the_portrait_is_moved_to_the_head():
    along = np.arange(SIZE) + 0.5 - SIZE / 2
    x, y = np.meshgrid(along / intrinsics(SIZE)[0].item(), along / intrinsics(SIZE)[0].item())
    # Where rays meet the ball; predicted at another distance than the head.
    slope = 1 + x**2 + y**2
    root = 2.7**2 - slope * (2.7**2 - RADIUS**2)
    true = np.where(root > 0, (2.7 - np.sqrt(root.clip(0))) / slope, np.nan).astype(np.float32)
    predicted = front_surface(ball(), None, true + 0.3).points[..., 2]
    inner = root > 0.3 * RADIUS**2
    own = front_surface(ball(), None).points[..., 2]
    assert np.isfinite(predicted).all() and np.abs(predicted - true)[inner].max() < 0.025
    assert (predicted - true)[inner].std() < 0.1 * (own - true)[inner].std()
    nobody = np.full((SIZE, SIZE), np.nan, np.float32)
    assert np.array_equal(front_surface(ball(), None, nobody).points[..., 2], own)


def test_the_installed_weights_are_those_described():
    content = WEIGHTS.read_bytes()
    assert hashlib.sha256(content).hexdigest() in (WEIGHTS.parent / "README.md").read_text(encoding="utf-8")


def test_the_portrait_tells_its_depth(checked, tmp_path, monkeypatch):
    cutout = pixels_of(checked.cutout, SIZE)
    monkeypatch.setattr("facelift_core.likeness.depth.WEIGHTS", tmp_path / "depth.safetensors")
    assert portrait_depth(cutout) is None
    network = DepthNetwork()
    torch.nn.init.constant_(network.head.bias, 0.5)
    save_safetensors(network.state_dict(), tmp_path / "depth.safetensors", {})
    depth = portrait_depth(cutout)
    assert depth.shape == (SIZE, SIZE) and depth.dtype == np.float32
    assert np.array_equal(np.isfinite(depth), cutout[..., 3] > 0.5)
    assert depth[256, 256] == pytest.approx(MIDDLE + 0.5 * SCALE, abs=1e-4)


def test_the_face_has_the_depth_of_its_landmarks(portrait):
    landmarks = find_landmarks(portrait.image)
    flat, shaped = front_surface(ball(), None), front_surface(ball(), landmarks)
    x, y = landmarks.points[1, :2].astype(int)
    focal = intrinsics(SIZE)[0].item()
    relief = (landmarks.points[1, 2] - landmarks.points[EYES[0], 2]) * shaped.points[y, x, 2] / focal
    ex, ey = landmarks.points[EYES[0], :2].astype(int)
    measured = shaped.points[y, x, 2] - shaped.points[ey, ex, 2]
    assert measured == pytest.approx(relief, abs=0.06) and abs(measured) > 0.08
    assert shaped.face[y, x] > 0.9 and shaped.face[5, 5] == 0
    assert np.allclose(shaped.points[20, 20], flat.points[20, 20], atol=1e-3)


def test_of_a_face_that_hides_itself_the_nearest_side_is_seen(portrait):
    landmarks = find_landmarks(portrait.image)
    angle = math.radians(50)
    turn = np.array([[math.cos(angle), 0, math.sin(angle)], [0, 1, 0], [-math.sin(angle), 0, math.cos(angle)]])
    center = landmarks.points.mean(0)
    side = Landmarks(((landmarks.points - center) @ turn.T + center).astype(np.float32), 1.0)
    from facelift_core.likeness.surface import _relief

    relief = _relief(side)
    for x, y, z in side.points[[1, 4, FOREHEAD, CHIN]]:
        around = relief[int(y) - 2 : int(y) + 3, int(x) - 2 : int(x) + 3]
        assert np.nanmin(around) < z + 15


# --- Skin ---


@pytest.mark.parametrize("sigma", [20.0, 48.0, 130.0])
def test_wide_blurs_on_smaller_pictures_are_blurs(sigma):
    y, x = np.mgrid[:SIZE, :SIZE].astype(np.float32) / SIZE
    picture = x + np.sin(9 * y)
    picture[100:300, 200:260] += 1
    exact = cv2.GaussianBlur(picture, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)
    assert np.abs(blur(picture, sigma) - exact).max() < 0.03 * np.ptp(picture)


def test_rotations_of_discs_are_those_of_their_axes():
    turns = Rotation.random(500, np.random.default_rng(0)).as_matrix()
    halves = Rotation.from_rotvec(math.pi * np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [0.6, 0, -0.8]])).as_matrix()
    matrices = torch.from_numpy(np.concatenate([turns, halves, np.eye(3)[None]])).float()
    torch.testing.assert_close(rotation_matrices(_quaternions(matrices)), matrices, atol=1e-5, rtol=0)


def test_from_the_front_the_head_is_the_photo(checked):
    front = with_photo_front(ball(), checked, 400_000, MONITOR)
    cutout = torch.from_numpy(pixels_of(checked.cutout, SIZE)).permute(2, 0, 1)
    target = cutout[:3] * cutout[3:] + 1 - cutout[3:]
    before, after = (psnr(picture(head).clamp(0, 1), target).item() for head in (ball(), front.gaussians))
    assert after > 28 and after > before + 8, (before, after)
    assert front.notes == (NO_LANDMARKS,)
    far = ball().positions[ball().positions[:, 1] > 0.1]
    assert set(map(tuple, far.tolist())) <= set(map(tuple, front.gaussians.positions.tolist()))  # the far side stays


def test_the_skin_lies_on_the_ball_with_its_thin_side_outwards(checked):
    surface = front_surface(ball(), None)
    layer = skin(
        surface, pixels_of(checked.cutout, SIZE), skin_weight(surface, pixels_of(checked.cutout, SIZE)[..., 3]), 50_000
    )
    front = layer[layer.positions.norm(dim=1) > RADIUS - 0.01]
    assert 0 < len(front) and (front.positions.norm(dim=1) - RADIUS).abs().median() < 0.015
    thin = front.log_scales.argmin(dim=1)
    assert (thin == 2).all()
    axes = torch.from_numpy(Rotation.from_quat(front.rotations[:, [1, 2, 3, 0]].numpy()).as_matrix()).float()
    outwards = (axes[:, :, 2] * front.positions / front.positions.norm(dim=1, keepdim=True)).sum(1)
    assert outwards.abs().median() > 0.98


@pytest.mark.parametrize("limit", [2_000, 20_000, 60_000])
@pytest.mark.parametrize("side", [512, 900])
def test_the_number_of_gaussians_is_bounded(checked, portrait, limit, side):
    surface = front_surface(ball(), find_landmarks(portrait.image))
    weight = skin_weight(surface, pixels_of(checked.cutout, SIZE)[..., 3])
    cutout = pixels_of(checked.cutout.resize((side, side)), side)
    assert 0.5 * limit < len(skin(surface, cutout, weight, limit)) <= 1.05 * limit


def test_the_face_has_all_of_the_photos_pixels(checked, portrait):
    surface = front_surface(ball(), find_landmarks(portrait.image))
    weight = skin_weight(surface, pixels_of(checked.cutout, SIZE)[..., 3])
    counts = [
        len(skin(surface, pixels_of(checked.cutout.resize((side, side)), side), weight, 400_000))
        for side in (512, 1024)
    ]
    face = int((surface.face > 0).sum())
    assert counts[1] - counts[0] >= 2.5 * face


def test_nothing_of_the_head_stays_before_the_skin_or_outside_the_silhouette(checked):
    speck = ball()[:50]
    before = Gaussians(
        torch.tensor([[0.1, -0.8, 0.1]]).expand(50, 3),
        speck.sh,
        speck.log_scales,
        speck.rotations,
        speck.opacity_logits,
    )
    beside = Gaussians(
        torch.tensor([[0.75, 0.0, 0.1]]).expand(50, 3),
        speck.sh,
        speck.log_scales,
        speck.rotations,
        speck.opacity_logits,
    )
    surface = front_surface(ball(), None)
    alpha = pixels_of(checked.cutout, SIZE)[..., 3]
    kept = carve(concatenate([ball(), before, beside]), surface, skin_weight(surface, alpha), alpha)
    positions = in_front_camera(kept.positions)
    assert positions[:, 2].min() > 2.7 - RADIUS
    assert (project(positions)[:, 0] - 256).abs().max() < 130
    assert len(kept) > 0.4 * len(ball())


def test_no_specks_stay_along_the_cut_where_the_photo_ends(checked):
    surface = front_surface(ball(), None)
    alpha = pixels_of(checked.cutout, SIZE)[..., 3].copy()
    alpha[300:] = 0
    below, _ = to_world(*(torch.from_numpy(surface.points[301, 200:300]),) * 2)
    speck = ball(count=100)
    specks = Gaussians(below, speck.sh, speck.log_scales - 3, speck.rotations, speck.opacity_logits)
    kept = carve(specks, surface, skin_weight(surface, alpha), alpha)
    assert len(kept) == 0


def test_spherical_harmonics_of_the_head_stay(checked):
    head = ball()
    rich = Gaussians(
        head.positions, torch.cat([head.sh, torch.zeros(len(head), 3, 3)], 1), *list(vars(head).values())[2:]
    )
    front = with_photo_front(rich, checked, 100_000, MONITOR).gaussians
    assert front.sh_degree == 1 and (front.sh[:, 1:] == 0).all()


# --- Harmony ---


def test_what_the_front_teaches_reaches_the_back():
    head, surface = ball((0.5, 0.5, 0.5)), front_surface(ball(), None)
    cutout = np.concatenate(
        [np.full((SIZE, SIZE, 3), (0.7, 0.4, 0.5), np.float32), np.ones((SIZE, SIZE, 1), np.float32)], 2
    )
    back = head[head.positions[:, 1] > 0.2]
    moved = harmonized(back, head, surface, cutout)
    share = (moved.colors.mean(0) - 0.5)[:2] / torch.tensor([0.2, -0.1])
    assert (share > 0.5).all() and (share < 1).all() and (share[0] - share[1]).abs() < 0.05


def test_each_colour_follows_its_own_kind():
    """Dark hair is to become lighter, light skin redder: a change by place alone would mix them."""
    head, surface = ball(), front_surface(ball(), None)
    dark = head.positions[:, 2] > 0
    sh = torch.where(dark[:, None, None], torch.tensor(-0.3 / SH_C0), torch.tensor(0.2 / SH_C0)).expand(-1, 1, 3)
    head = Gaussians(head.positions, sh.contiguous(), head.log_scales, head.rotations, head.opacity_logits)
    cutout = np.ones((SIZE, SIZE, 4), np.float32)
    cutout[:256, :, :3], cutout[256:, :, :3] = 0.3, (0.9, 0.6, 0.6)
    back = head.positions[:, 1] > 0.3
    colors = harmonized(head[back], head, surface, cutout).colors
    share = (colors[dark[back]].mean(0) - 0.2) / 0.1
    assert (share > 0.5).all() and (share < 1).all()
    share = (colors[~dark[back]].mean(0) - 0.7) / torch.tensor([0.2, -0.1, -0.1])
    assert (share > 0.5).all() and (share < 1).all()


# --- Refinement ---


@pytest.mark.parametrize("compiled", [True, False])
def test_refinement_brings_the_front_nearer_and_leaves_the_rest(checked, compiled, monkeypatch):
    if compiled and not refine.native.available("splatter"):
        compiled = False
    monkeypatch.setattr(refine.native, "available", lambda name: compiled)
    monkeypatch.setattr(refine, "STEPS", 8)
    monkeypatch.setattr(refine, "STEPS_BY_TORCH", 3)
    head = with_photo_front(ball(count=1500), checked, 15_000, MONITOR).gaussians
    steps = []
    after = refine.refined(head, checked, Monitor("refine", lambda *call: steps.append(call[2])))
    cutout = torch.from_numpy(pixels_of(checked.cutout, SIZE)).permute(2, 0, 1)
    target = cutout[:3] * cutout[3:] + 1 - cutout[3:]
    gained = psnr(picture(after), target) - psnr(picture(head), target)
    assert gained > (1.0 if compiled else 0.4)
    assert psnr(picture(after, 90.0, 128), picture(head, 90.0, 128)) > 28
    assert (after.positions - head.positions).norm(dim=1).max() < 0.02
    assert len(steps) == (8 if compiled else 3) and len(after) == len(head)


def test_a_card_draws_what_it_refines(monkeypatch):
    """Also without gsplat, when the batched renderer would blend on the processor."""
    head = SimpleNamespace(sh_degree=0, positions=SimpleNamespace(device=torch.device("cuda")))
    monkeypatch.setattr(refine.native, "available", lambda name: True)
    for gsplat in (None, object()):
        monkeypatch.setattr(refine.gsplat_backend, "rasterization", lambda gsplat=gsplat: gsplat)
        assert refine._batched(head) == (gsplat is not None)


# --- The whole ---


def test_an_unknown_likeness_is_one_sentence():
    for likeness in LIKENESS:
        check(likeness)
    with pytest.raises(fl.FaceLiftError, match="off, photo, refined"):
        check("better")


@pytest.fixture(scope="module")
def mini() -> fl.FaceLift:
    return fl.FaceLift.from_pretrained("mini", "cpu")


def test_a_portrait_has_the_photo_in_front_and_off_has_not(mini, portrait):
    photo, off = (mini.reconstruct(portrait, steps=2, likeness=likeness) for likeness in ("photo", "off"))
    assert (photo.likeness, off.likeness) == ("photo", "off")
    target = torch.from_numpy(np.array(portrait.image)).permute(2, 0, 1) / 255
    eyes = (slice(None), slice(220, 330), slice(180, 310))
    closeness = [psnr(picture(result.gaussians)[eyes], target[eyes]).item() for result in (photo, off)]
    assert closeness[0] > 24 and closeness[0] > closeness[1] + 5, closeness
    assert "skin" in photo.timings and NO_LANDMARKS not in photo.notes


def test_views_made_by_hand_go_with_their_portrait(mini, portrait):
    views = torch.ones(6, 3, 128, 128)
    small = torch.from_numpy(np.array(portrait.image.resize((128, 128)))).permute(2, 0, 1) / 255
    views[:] = small
    alone = mini.reconstruct_from_views(views)
    together = mini.reconstruct_from_views(views, portrait=portrait)
    assert alone.likeness == "off" and alone.portrait is None
    assert together.likeness == "photo" and together.portrait is portrait.image
    assert len(together.gaussians) > len(alone.gaussians) and torch.equal(
        together.raw_gaussians.positions, alone.raw_gaussians.positions
    )
    assert six_views().shape == (6, 4, 4)

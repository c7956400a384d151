"""The tile renderer against brute force: every Gaussian at every pixel, in float64, from the published equations."""

from __future__ import annotations

import math
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from facelift_core.errors import FaceLiftError
from facelift_core.gaussians.tensors import Gaussians
from facelift_core.rendering import cameras, gsplat_backend, render, render_rgba, tiles

FIELDS = ("positions", "sh", "log_scales", "rotations", "opacity_logits")


def handful(sh_degree: int = 0, count: int = 40, seed: int = 0) -> Gaussians:
    """Overlapping anisotropic Gaussians: needles, discs, opaque ones, some behind and some beside the camera."""
    draw = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=draw, dtype=torch.float64)

    positions = 0.5 * normal(count, 3)
    positions[0] = torch.tensor([0.0, -3.0, 0.0])  # behind a camera at y = −2.7
    positions[1] = torch.tensor([0.0, -2.6, 0.0])  # nearer than the near plane
    positions[2] = torch.tensor([2.5, 0.0, 0.0])  # centre outside the picture, edge inside
    positions[3] = torch.tensor([9.0, 1.0, 9.0])  # far outside
    log_scales = math.log(0.08) + 0.8 * normal(count, 3)
    log_scales[2] = math.log(0.5)
    log_scales[4] = torch.tensor([0.6, -7.0, -7.0]).double()  # a needle hundreds of pixels long
    log_scales[5] = -9.0  # far smaller than a pixel
    log_scales[6] = 0.5  # covers the whole picture
    opacity_logits = 2.0 * normal(count)
    opacity_logits[7:12] = 9.0  # above the limit of .99
    opacity_logits[6] = -3.0
    opacity_logits[12] = -7.0  # below 1/255: never seen
    sh = normal(count, (sh_degree + 1) ** 2, 3)
    sh[:, 1:] *= 0.4
    return Gaussians(positions, sh, log_scales, normal(count, 4), opacity_logits)


def legendre_basis(direction: torch.Tensor, degree: int) -> torch.Tensor:
    """(N, K) real spherical harmonics from associated Legendre functions, with the Condon–Shortley phase."""
    x, y, z = direction.unbind(-1)
    phi, sine = torch.atan2(y, x), (x * x + y * y).sqrt()
    legendre = {
        (0, 0): torch.ones_like(z),
        (1, 0): z,
        (1, 1): -sine,
        (2, 0): (3 * z**2 - 1) / 2,
        (2, 1): -3 * z * sine,
        (2, 2): 3 * sine**2,
        (3, 0): (5 * z**3 - 3 * z) / 2,
        (3, 1): -1.5 * (5 * z**2 - 1) * sine,
        (3, 2): 15 * z * sine**2,
        (3, 3): -15 * sine**3,
    }
    values = []
    for band in range(degree + 1):
        for m in range(-band, band + 1):
            k = abs(m)
            norm = (2 * band + 1) / (4 * math.pi) * math.factorial(band - k) / math.factorial(band + k)
            wave = (
                torch.ones_like(phi) if m == 0 else math.sqrt(2) * (torch.sin(k * phi) if m < 0 else torch.cos(m * phi))
            )
            values.append(math.sqrt(norm) * wave * legendre[band, k])
    return torch.stack(values, dim=-1)


def brute_force(g: Gaussians, c2w, fxfycxcy, width, height, background=(1.0, 1.0, 1.0), dilation=0.3) -> torch.Tensor:
    """(height, width, 3) float64; written from the equations, sharing nothing with the renderer."""
    fx, fy, cx, cy = fxfycxcy.tolist()
    view = torch.inverse(c2w)
    columns, rows = torch.meshgrid(
        torch.arange(width, dtype=torch.float64) + 0.5, torch.arange(height, dtype=torch.float64) + 0.5, indexing="xy"
    )
    pixels = torch.stack([columns, rows], dim=-1)
    image = torch.zeros(height, width, 3, dtype=torch.float64)
    transmittance = torch.ones(height, width, 1, dtype=torch.float64)
    centers = g.positions @ view[:3, :3].T + view[:3, 3]
    for i in torch.argsort(centers[:, 2]).tolist():
        x, y, z = centers[i]
        if z < 0.2:
            continue
        w, a, b, c = g.rotations[i] / g.rotations[i].norm()
        cross = torch.stack([torch.stack([0 * w, -c, b]), torch.stack([c, 0 * w, -a]), torch.stack([-b, a, 0 * w])])
        rotation = torch.eye(3, dtype=torch.float64) + 2 * w * cross + 2 * cross @ cross
        covariance = rotation @ torch.diag(torch.exp(2 * g.log_scales[i])) @ rotation.T
        u = torch.clamp(x / z, -1.3 * width / 2 / fx, 1.3 * width / 2 / fx) * z  # principal point in the middle
        v = torch.clamp(y / z, -1.3 * height / 2 / fy, 1.3 * height / 2 / fy) * z
        zero = 0 * z
        jacobian = torch.stack(
            [torch.stack([fx / z, zero, -fx * u / z**2]), torch.stack([zero, fy / z, -fy * v / z**2])]
        )
        transform = jacobian @ view[:3, :3]
        flat = transform @ covariance @ transform.T + dilation * torch.eye(2, dtype=torch.float64)
        offset = pixels - torch.stack([fx * x / z + cx, fy * y / z + cy])
        distance = torch.einsum("hwi,ij,hwj->hw", offset, torch.inverse(flat), offset)
        alpha = torch.sigmoid(g.opacity_logits[i]) * torch.exp(-0.5 * distance)
        alpha = torch.where(alpha < 1 / 255, 0.0, torch.clamp(alpha, max=0.99))[..., None]
        direction = g.positions[i] - c2w[:3, 3]
        harmonics = legendre_basis((direction / direction.norm())[None], g.sh_degree)[0]
        color = torch.clamp(0.5 + harmonics @ g.sh[i], min=0)
        image = image + transmittance * alpha * color
        transmittance = transmittance * (1 - alpha)
    return image + transmittance * torch.tensor(background, dtype=torch.float64)


@pytest.mark.parametrize("sh_degree", [0, 1, 2, 3])
def test_equals_brute_force(sh_degree):
    gaussians = handful(sh_degree)
    poses = cameras.orbit(torch.tensor([270.0, 20.0, 140.0]), torch.tensor([0.0, 30.0, -50.0]))
    focal = cameras.intrinsics(150, 100)
    found = render(gaussians, poses, focal, 150, 100)
    assert found.shape == (3, 100, 150, 3) and found.dtype == torch.float32
    for picture, pose in zip(found, poses, strict=True):
        expected = brute_force(gaussians, pose, focal, 150, 100)
        assert expected.std() > 0.1
        assert (picture - expected).abs().max() <= 1e-4


def test_background_dilation_and_single_camera():
    gaussians = handful(seed=1)
    pose, focal = cameras.six_views()[3], cameras.intrinsics(65, 41)
    found = render(gaussians, pose, focal, 65, 41, background=(0.2, 0.0, 0.7), dilation=0.05)
    expected = brute_force(gaussians, pose, focal, 65, 41, background=(0.2, 0.0, 0.7), dilation=0.05)
    assert found.shape == (1, 41, 65, 3)
    assert (found[0] - expected).abs().max() <= 1e-4


def test_each_camera_has_its_own_intrinsics():
    gaussians = handful(seed=2)
    poses = cameras.six_views()[:2]
    focals = torch.stack([cameras.intrinsics(48), cameras.intrinsics(48) * torch.tensor([2.0, 1.5, 1.0, 1.0])])
    together = render(gaussians, poses, focals, 48, 48)
    for picture, pose, focal in zip(together, poses, focals, strict=True):
        assert torch.equal(picture, render(gaussians, pose, focal, 48, 48)[0])
        assert (picture - brute_force(gaussians, pose, focal, 48, 48)).abs().max() <= 1e-4


def test_a_crop_is_part_of_the_whole():
    """A shifted principal point with a smaller picture shows the same pixels, wherever the tile borders fall."""
    gaussians = handful(seed=3)[7:]
    gaussians.positions.mul_(0.3)  # centres inside the crop, where no Jacobian is clamped
    pose, focal = cameras.six_views()[0], cameras.intrinsics(96)
    left, top = 21, 10
    whole = render(gaussians, pose, focal, 96, 96)[0]
    crop = render(gaussians, pose, focal - torch.tensor([0.0, 0.0, left, top]), 50, 70)[0]
    assert (crop - whole[top : top + 70, left : left + 50]).abs().max() <= 1e-5


def test_alpha_and_color_are_premultiplied():
    one = Gaussians(
        torch.zeros(1, 3),
        torch.zeros(1, 1, 3),
        torch.full((1, 3), -2.0),
        torch.tensor([[1.0, 0, 0, 0]]),
        torch.zeros(1),
    )
    rgba = render_rgba(one, cameras.six_views()[0], cameras.intrinsics(33), 33, 33)[0]
    assert rgba[16, 16, 3] == pytest.approx(0.5, abs=1e-6)  # the centre of the middle pixel is the projected centre
    assert rgba[0, 0].abs().max() == 0
    assert torch.allclose(rgba[..., :3], 0.5 * rgba[..., 3:], atol=1e-7)


@pytest.mark.parametrize("sh_degree", [0, 3])
def test_gradients_equal_brute_force(sh_degree):
    draw = torch.Generator().manual_seed(5)
    size = 40
    weights = torch.randn(size, size, 3, generator=draw)
    pose, focal = cameras.orbit(torch.tensor([300.0]), 20.0)[0], cameras.intrinsics(size)
    gradients = []
    for precision in (torch.float32, torch.float64):
        gaussians = handful(sh_degree, count=30, seed=7).to(precision)
        leaves = [getattr(gaussians, name).requires_grad_() for name in FIELDS]
        if precision is torch.float32:
            loss = (render(gaussians, pose, focal, size, size)[0] * weights).sum()
        else:
            loss = (brute_force(gaussians, pose, focal, size, size) * weights).sum()
        gradients.append(torch.autograd.grad(loss, leaves))
    for name, found, expected in zip(FIELDS, *gradients, strict=True):
        assert expected.abs().max() > 0.1, name
        assert torch.isfinite(found).all(), name
        assert (found - expected).abs().max() <= 1e-3 * expected.abs().max(), name


def test_alpha_has_gradients_too():
    gaussians = handful(count=30, seed=8)
    logits = gaussians.opacity_logits.requires_grad_()
    pose, focal = cameras.six_views()[0], cameras.intrinsics(32)
    (found,) = torch.autograd.grad(render_rgba(gaussians, pose, focal, 32, 32)[..., 3].sum(), logits)
    black = Gaussians(gaussians.positions, torch.full_like(gaussians.sh, -9.0), *_shape(gaussians), logits)
    (expected,) = torch.autograd.grad(-brute_force(black, pose, focal, 32, 32)[..., 0].sum(), logits)
    assert (found - expected).abs().max() <= 1e-4 * expected.abs().max()


def _shape(gaussians: Gaussians) -> tuple[torch.Tensor, torch.Tensor]:
    return gaussians.log_scales, gaussians.rotations


def test_many_regions_and_groups_give_the_same_picture(monkeypatch):
    """Splitting the work to bound memory changes nothing, forwards or backwards."""
    gaussians = handful(1, count=200, seed=9)
    positions = gaussians.positions.requires_grad_()
    pose, focal = cameras.six_views()[1], cameras.intrinsics(100)

    def both() -> tuple[torch.Tensor, torch.Tensor]:
        picture = render(gaussians, pose, focal, 100, 100)
        return picture.detach(), torch.autograd.grad(picture.square().sum(), positions)[0]

    picture, gradient = both()
    monkeypatch.setattr(tiles, "IN_CACHE", replace(tiles.IN_CACHE, pairs=300, tiles=5))
    split_picture, split_gradient = both()
    assert torch.equal(picture, split_picture)
    assert torch.allclose(gradient, split_gradient, rtol=1e-4, atol=1e-4 * float(gradient.abs().max()))


@pytest.mark.parametrize("look", [1, 2])
def test_a_cards_pace_gives_the_same_picture_and_gradients(monkeypatch, look):
    """Splats in blocks by products along them, as on a card: rounding apart, with opaque ones that end tiles early."""
    gaussians = handful(1, count=300, seed=12)
    gaussians.opacity_logits[::7] = 9.0
    leaves = [getattr(gaussians, name).requires_grad_() for name in FIELDS]
    pose, focal = cameras.six_views()[1], cameras.intrinsics(100)
    weights = torch.randn(100, 100, 4, generator=torch.Generator().manual_seed(1))

    def both() -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
        picture = render_rgba(gaussians, pose, focal, 100, 100)[0]
        return picture.detach(), torch.autograd.grad((picture * weights).sum(), leaves)

    picture, gradients = both()
    monkeypatch.setattr(tiles, "IN_CACHE", replace(tiles.ON_CARD, look=look))
    fast_picture, fast_gradients = both()
    assert not torch.equal(picture, fast_picture)  # another way of adding up
    assert (picture - fast_picture).abs().max() <= 1e-4  # of which light that finished tiles let through is the most
    for name, found, expected in zip(FIELDS, fast_gradients, gradients, strict=True):
        assert (found - expected).abs().max() <= 1e-3 * expected.abs().max(), name


def test_opaque_stack_ends_early_with_the_right_color(monkeypatch):
    """Behind a thousand opaque layers nothing is visible, and the walk does not go there."""
    count = 1000
    positions = torch.zeros(count, 3)
    positions[:, 1] = torch.linspace(-0.5, 0.5, count)
    sh = torch.zeros(count, 1, 3)
    sh[:8] = 1.0
    layers = Gaussians(
        positions,
        sh,
        torch.full((count, 3), 1.0),
        torch.tensor([[1.0, 0, 0, 0]]).repeat(count, 1),
        torch.full((count,), 5.0),
    )
    steps = []
    blend = tiles._blend
    monkeypatch.setattr(tiles, "_blend", lambda *arguments: (steps.append(1), blend(*arguments)))
    picture = render(layers, cameras.six_views()[0], cameras.intrinsics(64), 64, 64)
    assert len(steps) <= 8 < count / tiles.IN_CACHE.depth
    assert torch.allclose(picture, torch.full_like(picture, 0.5 + 0.28209479177387814), atol=2e-4)


def test_what_shines_through_a_thousandth_is_still_there():
    """Early termination is for transmittances that nobody sees, not for one of 1/400 before something bright."""
    dark, bright = 8 * tiles.IN_CACHE.depth, 8 * tiles.IN_CACHE.depth
    count = dark + bright
    positions = torch.zeros(count, 3)
    positions[:, 1] = torch.linspace(-0.5, 0.5, count)
    sh = torch.full((count, 1, 3), -0.5 / 0.28209479177387814)  # black
    sh[dark:] = 20.0
    opacity = 1 - (1 / 400) ** (1 / dark)
    layers = Gaussians(
        positions,
        sh,
        torch.full((count, 3), 1.0),
        torch.tensor([[1.0, 0, 0, 0]]).repeat(count, 1),
        torch.full((count,), opacity).logit(),
    )
    view = layers, cameras.six_views()[0], cameras.intrinsics(24), 24, 24
    doubled = Gaussians(*(field.double() for field in vars(layers).values()))
    picture, expected = render(*view), brute_force(doubled, *view[1:])
    assert float(expected.max()) > 0.01, "there is something to be lost"
    assert torch.allclose(picture, expected.to(picture), rtol=0.01, atol=1e-4)


def test_nothing_to_see():
    empty = handful()[torch.zeros(0, dtype=torch.long)]
    behind = handful()[:1]
    for gaussians in (empty, behind):
        picture = render(gaussians, cameras.six_views()[0], cameras.intrinsics(20), 20, 20, background=(0, 1, 0))
        assert torch.equal(picture, torch.tensor([0.0, 1.0, 0.0]).expand(1, 20, 20, 3))


def test_degenerate_gaussians_do_not_spoil_the_picture():
    gaussians = handful(seed=4)
    pose, focal = cameras.six_views()[0], cameras.intrinsics(40)
    clean = render(gaussians, pose, focal, 40, 40)
    odd = handful(seed=6)[:6]
    odd.positions[0] = math.nan
    odd.positions[1] = 1e30
    odd.log_scales[2] = 1e4
    odd.rotations[3] = math.nan
    odd.opacity_logits[4] = -math.inf
    odd.opacity_logits[5] = math.nan
    together = Gaussians(*(torch.cat([getattr(gaussians, name), getattr(odd, name)]) for name in FIELDS))
    assert torch.equal(render(together, pose, focal, 40, 40), clean)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"c2w": torch.eye(3)}, "c2w must have shape"),
        ({"c2w": torch.full((4, 4), math.nan)}, "not a camera pose"),
        ({"c2w": torch.zeros(4, 4)}, "not a camera pose"),
        ({"fxfycxcy": torch.ones(3, 4)}, "fxfycxcy must have shape"),
        ({"fxfycxcy": torch.tensor([0.0, 1.0, 1.0, 1.0])}, "focal lengths above 0"),
        ({"width": 0}, "each side must be from 1 to"),
        ({"height": 10**6}, "each side must be from 1 to"),
        ({"background": (1.0, 1.0)}, "three numbers"),
    ],
)
def test_bad_arguments_get_a_sentence(change, words):
    arguments = {"c2w": cameras.six_views(), "fxfycxcy": cameras.intrinsics(8), "width": 8, "height": 8} | change
    with pytest.raises(FaceLiftError, match=words):
        render(handful(), **arguments)


@pytest.mark.slow
def test_memory_stays_bounded():
    """160,000 Gaussians at 512², forwards and backwards, in far less than 4 GB; close up the pairs are split."""
    script = """
import resource, torch
from facelift_core import Gaussians, render
from facelift_core.rendering import cameras
torch.set_num_threads(1)
draw = torch.Generator().manual_seed(0)
normal = lambda *shape: torch.randn(*shape, generator=draw)
n = 160_000
direction = torch.nn.functional.normalize(normal(n, 3), dim=-1)
position = direction * torch.tensor([.42, .5, .62])
head = Gaussians(position, normal(n, 1, 3), -5 + .4 * normal(n, 3), normal(n, 4), normal(n))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
head.positions.requires_grad_()
picture = render(head, cameras.six_views()[1], cameras.intrinsics(512), 512, 512)
picture.sum().backward()
assert head.positions.grad.abs().max() > 0 and picture.min() < .9
with torch.no_grad():  # the same, but every splat 20 pixels wide: 17 million pairs in all
    wide = Gaussians(head.positions, head.sh, head.log_scales + 1.5, head.rotations, head.opacity_logits)
    render(wide, cameras.six_views()[1], cameras.intrinsics(512), 512, 512)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""
    if sys.platform != "linux":
        pytest.skip("ru_maxrss is in KiB on Linux only")
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr
    print(run.stdout)
    assert float(run.stdout) < 2000  # MiB


def test_gsplat_gets_the_right_arguments(monkeypatch):
    """The adapter for CUDA, with a stand-in for gsplat that draws by brute force what it is given."""

    def stand_in(
        means, quats, scales, opacities, colors, viewmats, Ks, width, height, near_plane, eps2d, packed, rasterize_mode
    ):
        assert all(t.dtype == torch.float32 for t in (means, quats, scales, opacities, colors, viewmats, Ks))
        assert (near_plane, rasterize_mode) == (0.2, "classic")
        assert viewmats.shape == (1, 4, 4) and Ks.shape == (1, 3, 3)
        degree_0 = ((colors - 0.5) / 0.28209479177387814)[:, None]
        given = Gaussians(means, degree_0, scales.log(), quats, opacities.logit()).to(torch.float64)
        focal = Ks[0, [0, 1, 0, 1], [0, 1, 2, 2]].double()
        black, white = (
            brute_force(given, torch.inverse(viewmats[0].double()), focal, width, height, (gray,) * 3, eps2d)
            for gray in (0.0, 1.0)
        )
        alpha = 1 - (white - black)[..., :1]
        return black[None].float(), alpha[None].float(), {}

    monkeypatch.setattr(gsplat_backend, "rasterization", lambda: stand_in)
    gaussians = handful(2, seed=11).to(torch.float32)
    pose, focal = cameras.orbit(torch.tensor([250.0]), 10.0)[0], cameras.intrinsics(40, 30)
    found = gsplat_backend.draw(gaussians, pose, focal, 40, 30, 0.3)
    expected = tiles.draw(gaussians, pose, focal, 40, 30, 0.3)
    assert found.shape == (30, 40, 4)
    assert (found - expected).abs().max() <= 2e-4


@pytest.mark.skipif(torch.cuda.is_available(), reason="gsplat may work here")
def test_without_gsplat_there_is_one_warning(caplog):
    gsplat_backend.rasterization.cache_clear()
    assert gsplat_backend.rasterization() is None
    assert gsplat_backend.rasterization() is None
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "rendering with PyTorch instead" in caplog.text


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_equals_cpu():
    gaussians = handful(3).to(torch.float32)
    poses, focal = cameras.six_views(), cameras.intrinsics(64)
    expected = render(gaussians, poses, focal, 64, 64)
    found = render(gaussians.to("cuda"), poses, focal, 64, 64).cpu()
    on_gsplat = gsplat_backend.rasterization() is not None
    assert (found - expected).abs().max() <= (2e-2 if on_gsplat else 1e-4)
    gradients = []
    for device in ("cpu", "cuda"):
        leaves = [getattr(gaussians, name).detach().to(device).requires_grad_() for name in FIELDS]
        picture = tiles.draw(Gaussians(*leaves), poses[1], focal, 64, 64, 0.3)
        gradients.append(torch.autograd.grad(picture.square().sum(), leaves))
    for name, one, other in zip(FIELDS, *gradients, strict=True):
        assert (one - other.cpu()).abs().max() <= 1e-3 * one.abs().max(), name

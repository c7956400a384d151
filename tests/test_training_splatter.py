"""The training splatter against plain per-pixel blending with autograd in float64."""

import torch

from facelift_core.rendering import cameras, gsplat_backend
from facelift_core.rendering.splatter import GaussianBatch, _by_gsplat, splat

SIZE, FOCAL, DILATION = 24, 25.7, 0.1


def rotation(quaternion: torch.Tensor) -> torch.Tensor:
    """(4,) w, x, y, z to (3, 3) by Rodrigues' formula."""
    w, x, y, z = quaternion / quaternion.norm()
    zero = torch.zeros_like(w)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero]).view(3, 3)
    return torch.eye(3) + 2 * w * cross + 2 * cross @ cross


def brute_force(g: GaussianBatch, c2w: torch.Tensor, background: torch.Tensor) -> torch.Tensor:
    """(B, V, 3, SIZE, SIZE): every Gaussian at every pixel, no windows, no sharing of code with the splatter."""
    pictures = []
    centres = torch.arange(SIZE, dtype=torch.float64) + 0.5
    py, px = torch.meshgrid(centres, centres, indexing="ij")
    for b in range(len(c2w)):
        for camera in c2w[b]:
            w2c = camera[:3, :3].T
            local = (g.positions[b] - camera[:3, 3]) @ w2c.T
            blended, remaining = torch.zeros(3, SIZE, SIZE, dtype=torch.float64), torch.ones(SIZE, SIZE)
            for i in local[:, 2].argsort().tolist():
                x, y, z = local[i]
                jacobian = torch.zeros(2, 3, dtype=torch.float64)
                jacobian[0, 0] = jacobian[1, 1] = FOCAL / z
                jacobian[0, 2], jacobian[1, 2] = -FOCAL * x / z**2, -FOCAL * y / z**2
                spread = rotation(g.rotations[b, i]) * g.log_scales[b, i].exp()
                projected = jacobian @ w2c @ spread
                conic = torch.linalg.inv(projected @ projected.T + DILATION * torch.eye(2))
                d = torch.stack([px - (FOCAL * x / z + SIZE / 2), py - (FOCAL * y / z + SIZE / 2)], -1)
                falloff = torch.exp(-0.5 * torch.einsum("hwi,ij,hwj->hw", d, conic, d))
                alpha = (g.opacity_logits[b, i].sigmoid() * falloff).clamp(max=0.99)
                alpha = torch.where(alpha < 1 / 255, 0, alpha)
                blended = blended + remaining * alpha * g.colors[b, i][:, None, None]
                remaining = remaining * (1 - alpha)
            pictures.append(blended + remaining * background[b][:, None, None])
    return torch.stack(pictures).unflatten(0, c2w.shape[:2])


def scene() -> tuple[GaussianBatch, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    random = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)  # noqa: E731
    gaussians = GaussianBatch(
        positions=0.4 * random(2, 9, 3),
        colors=0.5 + 0.2 * random(2, 9, 3),
        log_scales=-2 + 0.4 * random(2, 9, 3),
        rotations=random(2, 9, 4),
        opacity_logits=random(2, 9),
    )
    c2w = torch.stack([cameras.orbit(torch.tensor([270.0, 10.0, 77.0]), 20.0)] * 2)
    return gaussians, c2w, torch.tensor([[1.0, 1.0, 1.0], [0.1, 0.5, 0.2]], dtype=torch.float64)


def test_picture_and_gradients_equal_brute_force():
    gaussians, c2w, background = scene()
    single = GaussianBatch(*(value.float().requires_grad_() for value in vars(gaussians).values()))
    for value in vars(gaussians).values():
        value.requires_grad_()
    weights = torch.randn(2, 3, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    expected = brute_force(gaussians, c2w, background)
    expected_gradients = torch.autograd.grad((expected * weights).sum(), list(vars(gaussians).values()))

    found = splat(single, c2w.float(), FOCAL, SIZE, background.float(), DILATION)
    gradients = torch.autograd.grad((found * weights.float()).sum(), list(vars(single).values()))

    assert (found - expected).abs().max() < 1e-4
    for mine, reference in zip(gradients, expected_gradients, strict=True):
        assert (mine - reference).abs().max() <= 2e-3 * reference.abs().max()


def test_supersampling_averages_a_larger_picture():
    gaussians, c2w, background = scene()
    gaussians = GaussianBatch(*(value.float() for value in vars(gaussians).values()))
    large = splat(gaussians, c2w.float(), 2 * FOCAL, 2 * SIZE, background.float())
    small = splat(gaussians, c2w.float(), FOCAL, SIZE, background.float(), supersample=2)
    averaged = torch.nn.functional.avg_pool2d(large.flatten(0, 1), 2).view_as(small)
    assert torch.allclose(small, averaged, atol=1e-6)


def test_gsplat_gets_the_right_arguments(monkeypatch):
    """The way for CUDA, with a stand-in for gsplat that draws by brute force what it is given."""
    gaussians, c2w, background = scene()

    def stand_in(
        means, quats, scales, opacities, colors, viewmats, Ks, width, height, near_plane, eps2d, packed, backgrounds
    ):
        assert (width, height, eps2d) == (SIZE, SIZE, DILATION) and not packed and near_plane > 0
        wanted = torch.tensor([[FOCAL, 0, SIZE / 2], [0, FOCAL, SIZE / 2], [0, 0, 1]], dtype=torch.float64)
        assert torch.allclose(Ks, wanted.expand(2, 3, 3, 3)) and torch.equal(backgrounds[:, 1], background)
        given = GaussianBatch(means, colors, scales.log(), quats, opacities.logit())
        pictures = brute_force(given, torch.linalg.inv(viewmats), backgrounds[:, 0])
        return pictures.permute(0, 1, 3, 4, 2), None, {}

    monkeypatch.setattr(gsplat_backend, "rasterization", lambda: stand_in)
    found = _by_gsplat(gaussians, c2w, FOCAL, SIZE, background, DILATION)
    assert torch.allclose(found, brute_force(gaussians, c2w, background).flatten(0, 1), atol=1e-6)

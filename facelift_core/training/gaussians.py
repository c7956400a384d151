"""Stage 2: train GS-LRM, from scratch at `mini`'s size or from a checkpoint of any size (docs/model.md, 4).

The losses are those of the paper: L2 and a perceptual term (here SSIM and multi-scale edges) on renders of input views
and unseen views. An untrained transformer learns depth from renders slowly. Therefore training from scratch starts with
direct supervision of each pixel's Gaussian by the z-buffer (position, color, opacity, size), which is faded out.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange, reduce, repeat
from PIL import Image
from torch import Tensor, nn

from ..errors import FaceLiftError
from ..gaussians.tensors import SH_C0
from ..gslrm.network import GSLRM, camera_rays, patch_side
from ..rendering.cameras import intrinsics
from ..rendering.metrics import edge_distance, psnr, ssim
from ..rendering.splatter import GaussianBatch, splat
from ..weights.layout import find_checkpoint
from ..weights.named import find_weights
from .batches import WHITE, composite, picture_grid, random_backgrounds
from .heads.dataset import HeadDataset
from .loop import LoopOptions, Task, averaged_weights, checkpoint_activations, load_learned, read_origin, train
from .reconstruction import VIEWS, PixelTargets, ReconstructionBatch

INITIAL_STD = 0.02
DIRECT_ONLY = 0.25
"""Fraction of the steps before the first render."""
TARGETS = 2
"""Input views and unseen views rendered per head and step, each."""
SSIM_WEIGHT = 0.2
FRONT = 0
"""Index of the front view; always rendered if the inputs are sampled views, because it is the portrait's."""


def build_gslrm(width: int = 256, layers: int = 6) -> GSLRM:
    """An untrained model: patches of 8 pixels, two free Gaussians, attention heads of 64, SH degree 0."""
    model = GSLRM(width=width, layers=layers)
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=INITIAL_STD)
    for block in model.transformer_layers:
        for last in (block.attn.fc, block.mlp.mlp[2]):
            nn.init.trunc_normal_(last.weight, std=INITIAL_STD / (2 * layers) ** 0.5)
    nn.init.trunc_normal_(model.gaussian_position_embeddings, std=INITIAL_STD)
    return model


def gslrm_of(origin: str | None) -> GSLRM:
    """The trainable GS-LRM of the checkpoint `origin` (in the released layout), or an untrained one if None.

    Raises:
        FaceLiftError: as :meth:`GSLRM.from_checkpoint`, or the checkpoint has view-dependent colors.
    """
    if origin is None:
        return build_gslrm()
    checkpoint = find_checkpoint(find_weights(origin))
    if checkpoint.sh_degree:
        raise FaceLiftError(
            f"{origin} has spherical harmonics of degree {checkpoint.sh_degree}; only degree 0 can be trained."
        )
    model = GSLRM.from_checkpoint(checkpoint.gslrm, checkpoint.head_dim, 0, "cpu", torch.float32)
    for parameter in model.parameters():  # no longer mapped from the file
        parameter.data = parameter.data.clone()
    return model.requires_grad_(True)


def gslrm_of_run(run: Path) -> GSLRM:
    """The trainable GS-LRM with the averaged weights of a run of `facelift-train gaussians`.

    Raises:
        FaceLiftError: there is no run, it belongs to another model, or as :func:`gslrm_of`.
    """
    model, weights = gslrm_of(read_origin(run)), averaged_weights(run)
    embedding = weights.get("patch_embedder.1.weight")
    if embedding is not None:  # the run may have another patch size than its origin
        model = with_patches(model, patch_side(embedding))
    load_learned(model, weights, run)
    return model


@torch.no_grad()
def with_patches(model: GSLRM, patch_size: int) -> GSLRM:
    """Return the same model with another patch size, which sees images as if they were resized by the same ratio.

    Smaller patches describe each pixel in more detail, with more tokens: before any training, 64² images in patches of
    4 are only 1 to 2 dB below patches of 8. Larger patches adapt a model trained on small images to larger ones.

    Raises:
        FaceLiftError: neither size is a multiple of the other.
    """
    old = model.patch_size
    small, large = sorted((old, patch_size))
    if small < 1 or large % small:
        raise FaceLiftError(
            f"Patches of {old} pixels cannot become patches of {patch_size}; choose a divisor or a multiple."
        )
    if small == large:
        return model
    state = model.state_dict()
    embedding, decoder = "patch_embedder.1.weight", "pixel_gaussian_decoder.1.weight"
    split = {"p": small, "r": large // small, "q": small, "s": large // small}
    if patch_size == small:
        # An enlarged pixel is embedded ratio² times, and the parameters decoded for it are averaged.
        state[embedding] = reduce(state[embedding], "w (p r q s c) -> w (p q c)", "sum", **split)
        state[decoder] = reduce(state[decoder], "(p r q s n) w -> (p q n) w", "mean", **split)
    else:
        share = (small / large) ** 2
        state[embedding] = share * repeat(state[embedding], "w (p q c) -> w (p r q s c)", **split)
        state[decoder] = repeat(state[decoder], "(p q n) w -> (p r q s n) w", **split)
    other = GSLRM(
        width=model.input_layer_norm.weight.shape[0],
        layers=len(model.transformer_layers),
        patch_size=patch_size,
        free_gaussians=len(model.gaussian_position_embeddings),
        head_dim=head_dim(model),
    )
    other.load_state_dict(state)
    return other


def head_dim(model: GSLRM) -> int:
    """Width of one attention head."""
    return model.input_layer_norm.weight.shape[0] // model.transformer_layers[0].attn.heads


Degrade = Callable[[Tensor, np.random.Generator], Tensor]
"""Maps true views (B, 6, 3, H, H) to imitations of generated views."""


def train_gaussians(
    heads: HeadDataset,
    held_out: HeadDataset,
    model: GSLRM | None,
    options: LoopOptions,
    batch: int,
    degrade: Degrade | None = None,
    gradient_checkpointing: bool = False,
) -> nn.Module:
    """Train on a few views of `batch` heads per step, mostly the standard six, and on renders of these and other views.

    Args:
        model: the model to train; None trains an untrained one, with direct supervision first.
        degrade: applied to the true inputs of half of the batches.

    Raises:
        FaceLiftError: the heads have no views besides the six, or as :func:`train`.
    """
    if min(heads.views, held_out.views) <= VIEWS:
        raise FaceLiftError("Training GS-LRM needs views besides the six canonical ones, and these heads have none.")
    size, device = heads.size, options.device
    focal = intrinsics(size)[0].item()
    direct_until = 0.0 if model or heads[0].depth is None else DIRECT_ONLY
    model = model or _with_color_shortcut(build_gslrm(), ReconstructionBatch.first(heads, 16))
    model = model.to(device)
    if gradient_checkpointing:
        checkpoint_activations(model.transformer_layers)
    fixed = ReconstructionBatch.first(held_out, 16).to(device)

    def loss(step: int, drawn: ReconstructionBatch, random: np.random.Generator, logged: dict[str, float]) -> Tensor:
        drawn = drawn.to(device)
        inputs = drawn.inputs
        if degrade and drawn.true_inputs and random.random() < 0.5:
            inputs = degrade(inputs, random)
        count = drawn.views
        predicted, origins, directions, free = _predict(model, inputs, drawn.c2w[:, :count])
        direct = predicted.positions.new_zeros(())
        if drawn.depth is not None:
            forward = drawn.c2w[:, :count, :3, 2]
            targets = PixelTargets.of(
                drawn.rgba[:, :count], drawn.depth[:, :count], origins, directions, forward, focal, model.patch_size
            )
            direct = _direct_loss(predicted, targets, free)
            logged["direct"] = direct.item()
            if step < direct_until * options.steps:
                return direct
        rendered, truth = (x.flatten(0, 1) for x in _render_targets(predicted, drawn, random, focal))
        error = rendered - truth
        unlike = 1 - ssim(rendered, truth).mean()
        logged |= {"l1": error.abs().mean().item(), "ssim": 1 - unlike.item()}
        pixels = 8 * error.square().mean() + 2 * error.abs().mean()
        return pixels + 0.5 * edge_distance(rendered, truth) + SSIM_WEIGHT * unlike + 0.05 * direct

    def rendered_views(averaged: nn.Module, batch: ReconstructionBatch) -> Tensor:
        predicted, *_ = _predict(averaged, batch.inputs, batch.c2w[:, : batch.views])
        white = WHITE.to(device).expand(len(batch.rgba), -1)
        return splat(predicted, batch.c2w, focal, size, white, supersample=2).clamp(0, 1)

    def validate(averaged: nn.Module) -> dict[str, float]:
        renders, truth = rendered_views(averaged, fixed), composite(fixed.rgba, WHITE.to(device))
        quality = psnr(renders, truth)
        unseen = (x[:, VIEWS:].flatten(0, 1) for x in (renders, truth))
        return {
            "psnr_input": quality[:, :VIEWS].mean().item(),
            "psnr_unseen": quality[:, VIEWS:].mean().item(),
            "ssim_unseen": ssim(*unseen).mean().item(),
        }

    def picture(averaged: nn.Module) -> Image.Image:
        shown = fixed.part(6)
        pairs = zip(composite(shown.rgba, WHITE.to(device)), rendered_views(averaged, shown), strict=True)
        return picture_grid([row for pair in pairs for row in pair])

    matrices = [parameter for parameter in model.transformer_layers.parameters() if parameter.ndim == 2]
    draw = partial(ReconstructionBatch.draw, heads, batch)
    return train(Task(model, draw, loss, validate, picture, matrices), options)


def as_diffused(autoencoder: nn.Module) -> Degrade:
    """Imitate generated views: encode and decode, with noise in the latents and a sub-pixel shift per view."""

    @torch.no_grad()
    def degrade(views: Tensor, random: np.random.Generator) -> Tensor:
        shift = torch.from_numpy(random.normal(0, 0.4 / views.shape[-1], (views.shape[0] * views.shape[1], 2)))
        shift = shift.to(views)
        theta = torch.eye(2, 3, device=views.device).repeat(len(shift), 1, 1)
        theta[:, :, 2] = 2 * shift
        flat = views.flatten(0, 1)
        moved = F.grid_sample(
            flat,
            F.affine_grid(theta, list(flat.shape), align_corners=False),
            padding_mode="border",
            align_corners=False,
        )
        latents = autoencoder.encode(moved * 2 - 1).latent_dist.mode().float()
        latents = latents + latents.std() * random.uniform(0, 0.15) * torch.randn_like(latents)
        return (autoencoder.decode(latents).sample.float() / 2 + 0.5).clamp(0, 1).view_as(views)

    return degrade


def _predict(model: GSLRM, inputs: Tensor, c2w: Tensor) -> tuple[GaussianBatch, Tensor, Tensor, Tensor]:
    """Return the Gaussians, ray origins, ray directions, and the raw parameters of the free Gaussians."""
    cameras = intrinsics(inputs.shape[-1]).float().to(inputs.device).expand(*inputs.shape[:2], 4)
    origins, directions = camera_rays(cameras, c2w, *inputs.shape[-2:])
    free, pixels = model.decode(model.tokens(inputs, origins, directions))
    positions, sh, *shape = model.activate(free.float(), pixels.float(), origins, directions)
    return GaussianBatch(positions, 0.5 + SH_C0 * sh[:, :, 0], *shape), origins, directions, free


def _direct_loss(predicted: GaussianBatch, targets: PixelTargets, free: Tensor) -> Tensor:
    free_count, inside = free.shape[1], targets.inside
    area = inside.sum().clamp(min=1)

    def over_head(error: Tensor) -> Tensor:
        return (error * inside).sum() / area

    positions, colors, log_scales, rotations, opacity = (x[:, free_count:] for x in vars(predicted).values())
    identity = rotations.new_tensor([1.0, 0, 0, 0])
    return (
        4 * over_head((positions - targets.positions).norm(dim=-1))
        + 2 * over_head((colors - targets.colors).abs().mean(-1))
        + F.binary_cross_entropy_with_logits(opacity, 0.9 * inside + 0.02 * (1 - inside))
        + 0.2 * over_head((log_scales - targets.log_scales).abs().mean(-1))
        + 0.1 * (rotations - identity).square().mean()
        + 0.05 * F.softplus(predicted.opacity_logits[:, :free_count] + 3).mean()
        + 0.01 * free.square().mean()
    )


def _render_targets(
    predicted: GaussianBatch, drawn: ReconstructionBatch, random: np.random.Generator, focal: float
) -> tuple[Tensor, Tensor]:
    """Return renders and ground truth (B, 2·TARGETS, 3, H, H) over one background color per head."""
    count, unseen = drawn.views, drawn.rgba.shape[1] - drawn.views
    seen = random.permutation(count)[:TARGETS]
    if not drawn.true_inputs and FRONT not in seen:
        seen[0] = FRONT
    views = np.concatenate([seen, count + random.permutation(unseen)[:TARGETS]])
    background = random_backgrounds(random, len(drawn.rgba)).to(drawn.rgba.device)
    truth = composite(drawn.rgba[:, views], background[:, None])
    size, scale = truth.shape[-1], int(random.integers(1, 5))
    cameras = drawn.c2w[:, views]
    with torch.autocast(background.device.type, enabled=False):
        # Averaged renders train detail. Large renders show the gaps between Gaussians, which averaging hides.
        if random.random() < 0.5:
            return splat(predicted, cameras, focal, size, background, supersample=scale), truth
        large = F.interpolate(truth.flatten(0, 1), scale_factor=scale, mode="bilinear").unflatten(0, truth.shape[:2])
        return splat(predicted, cameras, focal * scale, size * scale, background), large


@torch.no_grad()
def _with_color_shortcut(model: GSLRM, sample: ReconstructionBatch) -> GSLRM:
    """Initialize the model so that each pixel's color passes through to its Gaussian, which shortens training.

    The RGB columns of the patch embedding become orthonormal in most of the token, and the rays get the rest. The color
    rows of the decoder are set by ridge regression to read the colors from untrained tokens.
    """
    width, patch = model.input_layer_norm.weight.shape[0], model.patch_size
    columns = torch.arange(9 * patch**2).view(patch**2, 9)
    basis = torch.linalg.qr(torch.randn(width, width)).Q
    colors = min(3 * patch**2, width * 3 // 4)
    mix = torch.linalg.qr(torch.randn(3 * patch**2, colors)).Q
    rays = torch.randn(1, 6, width - colors).expand(patch**2, -1, -1) * 3 / patch
    rays = rays + 0.3 * torch.randn(patch**2, 6, width - colors)
    embedding = model.patch_embedder[1].weight
    embedding[:, columns[:, :3].flatten()] = 0.45 * (mix @ basis[:colors]).T
    embedding[:, columns[:, 3:].flatten()] = (rays.flatten(0, 1) @ basis[colors:] / (width - colors) ** 0.5).T

    c2w = sample.c2w[:, :VIEWS]
    cameras = intrinsics(sample.inputs.shape[-1]).float().expand(*c2w.shape[:2], 4)
    tokens = model.tokens(sample.inputs, *camera_rays(cameras, c2w, *sample.inputs.shape[-2:]))
    normed = model.pixel_gaussian_decoder[0](tokens[:, len(model.gaussian_position_embeddings) :]).flatten(0, 1)
    wanted = rearrange((sample.inputs - 0.5) / SH_C0, "b v c (h p) (w q) -> (b v h w) (p q c)", p=patch, q=patch)
    gram = normed.T @ normed / len(normed) + 1e-3 * torch.eye(width)
    rows = torch.linalg.solve(gram, normed.T @ wanted / len(normed)).T
    decoder = model.pixel_gaussian_decoder[1].weight.view(patch**2, -1, width)
    decoder[:, 3:6] = rows.view(patch**2, 3, width)
    return model

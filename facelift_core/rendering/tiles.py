"""Blend splats in PyTorch: list the splats of each 8 × 8 tile, and process all lists front to back in parallel.

The forward and the backward pass walk the same lists in the same order and store nothing per pixel and splat, so
:attr:`BatchSizes.pairs` bounds the memory of both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..gaussians.tensors import Gaussians
from .batch_sizes import IN_CACHE, ON_CARD, BatchSizes
from .projection import ALPHA_CUT, Splats, project

TILE = 8
PIXELS = TILE * TILE
Weigh = Callable[[Tensor, Tensor], Tensor]
Differentiate = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
MAX_ALPHA = 0.99
"""Maximum alpha, as in 3DGS, so that the transmittance never becomes zero."""
MIN_TRANSMITTANCE = 1e-4
"""A tile is finished when the transmittance of all its pixels is at most this."""
_TRANSPARENT = -1e4


@dataclass(frozen=True)
class TileLists:
    """The (tile, splat) pairs of a region of tiles.

    Attributes:
        splats: (P,) splat index of each pair, grouped by tile, front to back inside a tile.
        pair_tiles: (P,) tile index of each pair; tiles are numbered row by row over the whole image.
        tiles: (T,) tiles with at least one pair, longest list first.
        starts: (T,) index of the first pair of each of these tiles.
        lengths: (T,) number of pairs of each of these tiles.
    """

    splats: Tensor
    pair_tiles: Tensor
    tiles: Tensor
    starts: Tensor
    lengths: Tensor


def draw(gaussians: Gaussians, c2w: Tensor, fxfycxcy: Tensor, width: int, height: int, dilation: float) -> Tensor:
    """Render one image; arguments as for :func:`.projection.project`, result as of :func:`composite`."""
    device = gaussians.positions.device
    return composite(project(gaussians, c2w.to(device), fxfycxcy, width, height, dilation), width, height)


def composite(splats: Splats, width: int, height: int) -> Tensor:
    """Blend splats front to back at the pixel centers.

    Args:
        splats: the splats, ordered front to back.
        width, height: image size in pixels.

    Returns:
        (height, width, 4) float32: premultiplied display-referred RGB, and alpha = 1 − transmittance.
    """
    columns, rows = -(-width // TILE), -(-height // TILE)
    bounds = _tile_bounds(splats, width, height)
    parameters = torch.cat([splats.means, splats.whitening, splats.log_opacities[:, None], splats.colors], dim=1)
    colors, transmittance = _Composite.apply(parameters, bounds, columns, rows)
    canvas = torch.cat([colors, 1.0 - transmittance[:, None]], dim=1)
    image = canvas.view(rows, columns, 4, TILE, TILE).permute(0, 3, 1, 4, 2).reshape(rows * TILE, columns * TILE, 4)
    return image[:height, :width]


def _tile_bounds(splats: Splats, width: int, height: int) -> Tensor:
    """Return the first column, first row, last column and last row of the tiles of each splat, (M, 4) int64."""
    last_pixel = torch.tensor([width - 1, height - 1], dtype=torch.float64, device=splats.means.device)
    means = splats.means.detach()
    first = (means - splats.half_extents - 0.5).ceil().clamp(min=0.0).minimum(last_pixel)
    last = (means + splats.half_extents - 0.5).floor().clamp(min=0.0).minimum(last_pixel)
    return (torch.cat([first, last], dim=1) / TILE).floor().long()


def _batch_sizes(device: torch.device) -> BatchSizes:
    return ON_CARD if device.type == "cuda" else IN_CACHE


def _regions(bounds: Tensor, columns: int, rows: int, most: int) -> Iterator[tuple[int, int, int, int]]:
    """Yield rectangles of tiles (column, row, end column, end row) with at most `most` pairs, or of a single tile."""
    # Count the pairs per tile: each splat adds ±1 at the corners of its rectangle, and two cumulative sums fill it.
    edges = torch.zeros((rows + 1) * (columns + 1), dtype=torch.int64, device=bounds.device)
    left, top, right, bottom = bounds.unbind(1)
    for row, column, sign in ((top, left, 1), (top, right + 1, -1), (bottom + 1, left, -1), (bottom + 1, right + 1, 1)):
        edges += sign * torch.bincount(row * (columns + 1) + column, minlength=edges.numel())
    counts = edges.view(rows + 1, columns + 1).cumsum(0).cumsum(1)[:rows, :columns].cpu()

    pending = [(0, 0, columns, rows)]
    while pending:
        x0, y0, x1, y1 = pending.pop()
        pairs = int(counts[y0:y1, x0:x1].sum())
        if pairs == 0:
            continue
        if pairs <= most or (x1 - x0) * (y1 - y0) == 1:
            yield x0, y0, x1, y1
        elif x1 - x0 >= y1 - y0:
            middle = (x0 + x1) // 2
            pending += [(x0, y0, middle, y1), (middle, y0, x1, y1)]
        else:
            middle = (y0 + y1) // 2
            pending += [(x0, y0, x1, middle), (x0, middle, x1, y1)]


def _tile_lists(bounds: Tensor, region: tuple[int, int, int, int], columns: int) -> TileLists:
    x0, y0, x1, y1 = region
    left, top, right, bottom = bounds.unbind(1)
    touching = ((left < x1) & (right >= x0) & (top < y1) & (bottom >= y0)).nonzero().squeeze(1)
    left, right = left[touching].clamp(min=x0), right[touching].clamp(max=x1 - 1)
    top, bottom = top[touching].clamp(min=y0), bottom[touching].clamp(max=y1 - 1)

    spans = right - left + 1
    sizes = spans * (bottom - top + 1)
    owner = torch.repeat_interleave(sizes)
    within = torch.arange(len(owner), device=bounds.device) - (sizes.cumsum(0) - sizes)[owner]
    row = torch.div(within, spans[owner], rounding_mode="floor")
    # first tile + row · columns + (within − row · spans), with all terms that depend only on the splat gathered once
    tile = (top * columns + left)[owner] + within + row * (columns - spans)[owner]

    tile, order = torch.sort(tile.int(), stable=True)  # stable: inside a tile the splats stay front to back
    tiles, lengths = torch.unique_consecutive(tile, return_counts=True)
    starts = lengths.cumsum(0) - lengths
    longest_first = torch.argsort(lengths, descending=True, stable=True)
    return TileLists(
        splats=touching[owner[order]],
        pair_tiles=tile.long(),
        tiles=tiles[longest_first].long(),
        starts=starts[longest_first],
        lengths=lengths[longest_first],
    )


def _features(parameters: Tensor, lists: TileLists, columns: int) -> Tensor:
    """Return the features of each pair, (P + 1, 9) float32: coefficients of log-alpha, and RGB.

    Log-alpha is a polynomial in the pixel's offset from the tile center, see :func:`_monomials`. Its coefficients are
    small where the splat is visible, so float32 suffices. The last row is a transparent splat, used as padding.
    """
    pairs = parameters.index_select(0, lists.splats)
    centers = torch.stack([lists.pair_tiles % columns, lists.pair_tiles // columns], dim=1) * TILE + TILE / 2
    dx, dy = (pairs[:, :2] - centers).unbind(1)
    l0, l1, l2, log_opacity = pairs[:, 2:6].unbind(1)
    v0, v1 = l0 * dx + l1 * dy, l2 * dy
    coefficients = torch.stack(
        [
            log_opacity - 0.5 * (v0 * v0 + v1 * v1),
            l0 * v0,
            l1 * v0 + l2 * v1,
            -0.5 * l0 * l0,
            -l0 * l1,
            -0.5 * (l1 * l1 + l2 * l2),
        ],
        dim=1,
    )
    padding = parameters.new_zeros(1, 9)
    padding[0, 0] = _TRANSPARENT
    return torch.cat([torch.cat([coefficients, pairs[:, 6:]], dim=1), padding]).float()


def _monomials(device: torch.device) -> Tensor:
    """Return 1, x, y, x², xy, y² at the pixel centers of a tile, relative to its center, (6, 64)."""
    offsets = torch.arange(TILE, dtype=torch.float32, device=device) - (TILE - 1) / 2
    y, x = (grid.flatten() for grid in torch.meshgrid(offsets, offsets, indexing="ij"))
    return torch.stack([torch.ones_like(x), x, y, x * x, x * y, y * y])


def _walk(
    lists: TileLists, sizes: BatchSizes, state: Sequence[Tensor], step: Callable[[list[Tensor], Tensor], None]
) -> None:
    """Process all tile lists front to back.

    Args:
        state: tensors with one row per tile of the image, updated in place; the first is the transmittance.
        step: called with the rows of the A open tiles, which it updates in place, and with their next pairs,
            (A · depth,) row indices of the features.
    """
    padding = len(lists.splats)
    for group in range(0, len(lists.tiles), sizes.tiles):
        tiles, starts, lengths = (
            field[group : group + sizes.tiles] for field in (lists.tiles, lists.starts, lists.lengths)
        )
        rows = [tensor.index_select(0, tiles) for tensor in state]
        done = number = 0
        while (active := int((lengths > done).sum())) > 0:  # sorted by length, so the open tiles come first
            depth = max(sizes.depth, sizes.step // active)
            position = torch.arange(done, done + depth, device=lists.splats.device)
            pairs = torch.where(position < lengths[:active, None], starts[:active, None] + position, padding)
            step([tensor[:active] for tensor in rows], pairs.view(-1))
            done, number = done + depth, number + 1
            if number % sizes.look == 0:
                open_tiles = (rows[0][:active].amax(dim=1) > MIN_TRANSMITTANCE).nonzero().squeeze(1)
                if len(open_tiles) < 0.75 * active:
                    for tensor, part in zip(state, rows, strict=True):
                        tensor.index_copy_(0, tiles, part)
                    tiles, starts, lengths = (field[open_tiles] for field in (tiles, starts, lengths))
                    rows = [tensor.index_select(0, open_tiles) for tensor in rows]
        for tensor, part in zip(state, rows, strict=True):
            tensor.index_copy_(0, tiles, part)


def _blend(weigh: Weigh, features: Tensor, monomials: Tensor, state: list[Tensor], pairs: Tensor) -> None:
    """Blend a block of splats into the state (transmittance, RGB)."""
    left, rgb = state
    block = features.index_select(0, pairs)
    alphas = torch.mm(block[:, :6], monomials).exp_()
    torch.threshold_(alphas, ALPHA_CUT, 0.0).clamp_(max=MAX_ALPHA)
    weights = weigh(alphas.view(len(left), -1, PIXELS), left)
    rgb.baddbmm_(block[:, 6:].view(len(left), -1, 3).transpose(1, 2), weights)


def _weights_in_turn(alphas: Tensor, left: Tensor) -> Tensor:
    """Return the weights alpha · transmittance of splats in order, computed one after the other.

    Args:
        alphas: (A, depth, 64), overwritten by the weights.
        left: (A, 64) transmittance, updated in place.
    """
    for alpha in alphas.unbind(1):
        left.sub_(alpha.mul_(left))
    return alphas


def _weights_at_once(alphas: Tensor, left: Tensor) -> Tensor:
    """Compute :func:`_weights_in_turn` with a fixed number of operations; does not overwrite `alphas`."""
    through = torch.cumprod(1.0 - alphas, dim=1)
    weights = alphas * left[:, None]
    weights[:, 1:].mul_(through[:, :-1])
    left.mul_(through[:, -1])
    return weights


def _blend_backward(
    differentiate: Differentiate,
    features: Tensor,
    grad_features: Tensor,
    monomials: Tensor,
    state: list[Tensor],
    pairs: Tensor,
) -> None:
    """Write the gradients of a block of splats.

    The state is (transmittance, contribution to the loss of everything behind, gradient of RGB).
    """
    left, rest, grad_rgb = state
    block = features.index_select(0, pairs)
    alphas = torch.mm(block[:, :6], monomials).exp_()
    saturated = alphas > MAX_ALPHA
    torch.threshold_(alphas, ALPHA_CUT, 0.0).clamp_(max=MAX_ALPHA)
    gains = torch.bmm(block[:, 6:].view(len(left), -1, 3), grad_rgb)
    weights = differentiate(alphas.view(len(left), -1, PIXELS), gains, left, rest)
    grad_logs = gains.view(-1, PIXELS).masked_fill_(saturated, 0.0)
    grad_coefficients = torch.mm(grad_logs, monomials.T)
    grad_rgb_features = torch.bmm(weights, grad_rgb.transpose(1, 2)).view(-1, 3)
    grad_features.index_copy_(0, pairs, torch.cat([grad_coefficients, grad_rgb_features], dim=1))


def _differentiate_in_turn(alphas: Tensor, gains: Tensor, left: Tensor, rest: Tensor) -> Tensor:
    """Compute the weights of splats in order and the gradients of their log-alphas, one after the other.

    Args:
        alphas: (A, depth, 64).
        gains: (A, depth, 64) ∂loss/∂weight, overwritten by ∂loss/∂log-alpha.
        left: (A, 64) transmittance, updated in place.
        rest: (A, 64) contribution to the loss of everything behind, updated in place.

    Returns:
        (A, depth, 64) weights alpha · transmittance.
    """
    weights = torch.empty_like(alphas)
    for alpha, gain, weight in zip(alphas.unbind(1), gains.unbind(1), weights.unbind(1), strict=True):
        torch.mul(alpha, left, out=weight)
        gain.mul_(weight)
        rest.sub_(gain)
        gain.sub_(rest * alpha / (1.0 - alpha))
        left.sub_(weight)
    return weights


def _differentiate_at_once(alphas: Tensor, gains: Tensor, left: Tensor, rest: Tensor) -> Tensor:
    """Compute :func:`_differentiate_in_turn` with a fixed number of operations."""
    weights = _weights_at_once(alphas, left)
    gains.mul_(weights)
    rests = rest[:, None] - torch.cumsum(gains, dim=1)
    rest.copy_(rests[:, -1])
    gains.sub_(rests.mul_(alphas).div_(1.0 - alphas))
    return weights


class _Composite(torch.autograd.Function):
    """Blend parameters (M, 9: mean, whitening, log-opacity, color) to float32 RGB (tiles, 3, 64) and transmittance
    (tiles, 64)."""

    @staticmethod
    def forward(ctx, parameters: Tensor, bounds: Tensor, columns: int, rows: int):
        monomials, sizes = _monomials(parameters.device), _batch_sizes(parameters.device)
        weigh = _weights_at_once if sizes.at_once else _weights_in_turn
        transmittance = torch.ones(columns * rows, PIXELS, device=parameters.device)
        colors = torch.zeros(columns * rows, 3, PIXELS, device=parameters.device)
        for region in _regions(bounds, columns, rows, sizes.pairs):
            lists = _tile_lists(bounds, region, columns)
            features = _features(parameters, lists, columns)
            _walk(lists, sizes, (transmittance, colors), partial(_blend, weigh, features, monomials))
        ctx.save_for_backward(parameters, bounds, colors, transmittance)
        ctx.grid = columns, rows
        return colors, transmittance

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_colors: Tensor, grad_transmittance: Tensor):
        parameters, bounds, colors, transmittance = ctx.saved_tensors
        columns, rows = ctx.grid
        monomials, sizes = _monomials(parameters.device), _batch_sizes(parameters.device)
        differentiate = _differentiate_at_once if sizes.at_once else _differentiate_in_turn
        # The contribution of all splats and the background to the loss; walking front to back subtracts each splat's.
        rest = (grad_colors * colors).sum(dim=1) + grad_transmittance * transmittance
        state = (torch.ones_like(transmittance), rest, grad_colors.clone())
        grad_parameters = torch.zeros_like(parameters)
        for region in _regions(bounds, columns, rows, sizes.pairs):
            lists = _tile_lists(bounds, region, columns)
            leaf = parameters.detach().requires_grad_()
            with torch.enable_grad():
                features = _features(leaf, lists, columns)
            grad_features = torch.zeros_like(features)
            step = partial(_blend_backward, differentiate, features.detach(), grad_features, monomials)
            _walk(lists, sizes, state, step)
            grad_parameters += torch.autograd.grad(features, leaf, grad_features)[0]
        return grad_parameters, None, None, None

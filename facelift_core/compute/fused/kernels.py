"""Triton kernels of :mod:`facelift_core.compute.fused`. Raises ImportError if Triton is not installed.

An image is a matrix of pixels (rows) by channels, which are contiguous. A small group is normalized by one program in a
single kernel, because a launch takes about 50 µs, longer than the work itself. For larger groups, the statistics are
computed in two steps to use the whole GPU: each program of the first kernel computes mean and sum of squared deviations
for some rows and channels; the second kernel merges these into one factor and offset per channel, which include the
shift of the input and the affine parameters. All sums are in float32.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

ROWS, CHANNELS = 64, 64
"""Size of the tile of one program."""
CHUNKS_MAX = 256
"""Maximum number of chunks of rows with statistics of their own."""
MERGED_AT_ONCE = 64
HELD_MAX = 32768
"""Maximum size of a group that one program normalizes, with both sides rounded up to powers of two."""
HELD_PER_WARP, WARPS_MIN = 2048, 4


def group_norm(
    x: Tensor, groups: int, weight: Tensor, bias: Tensor, eps: float, silu: bool, shift: Tensor | None
) -> Tensor:
    """:func:`facelift_core.compute.fused.group_norm` for `x` in channels last."""
    items, channels = x.shape[:2]
    rows, width = x[0, 0].numel(), channels // groups
    out = torch.empty_like(x)
    given, shift_stride = (bias, 0) if shift is None else (shift, shift.stride(0))
    held = triton.next_power_of_2(rows), triton.next_power_of_2(width)
    if held[0] * held[1] <= HELD_MAX:
        _whole[(groups, items)](
            x, weight, bias, given, out, rows, channels, shift_stride, eps, width, shift is not None, silu, *held,
            num_warps=max(WARPS_MIN, held[0] * held[1] // HELD_PER_WARP),
        )  # fmt: skip
        return out
    tiles = triton.cdiv(rows, ROWS)
    tiles_per_chunk = triton.cdiv(tiles, CHUNKS_MAX)
    chunks = triton.cdiv(tiles, tiles_per_chunk)
    blocks = triton.cdiv(channels, CHANNELS)
    moments = torch.empty(2, items, chunks, channels, device=x.device)
    factors = torch.empty(2, items, channels, device=x.device)
    _moments[(chunks, blocks, items)](x, moments, items, rows, channels, chunks, tiles_per_chunk, ROWS, CHANNELS)
    _factors[(groups, items)](
        moments, weight, bias, given, factors, items, rows, channels, chunks, tiles_per_chunk * ROWS, width,
        shift_stride, eps, shift is not None, triton.cdiv(chunks, MERGED_AT_ONCE),
        MERGED_AT_ONCE, triton.next_power_of_2(width),
    )  # fmt: skip
    _apply[(tiles, blocks, items)](x, factors, out, items, rows, channels, silu, ROWS, CHANNELS)
    return out


def add(x: Tensor, bias: Tensor, other: Tensor) -> Tensor:
    """:func:`facelift_core.compute.fused.add` for `x` and `other` in channels last."""
    items, channels = x.shape[:2]
    rows = x[0, 0].numel()
    out = torch.empty_like(x)
    grid = triton.cdiv(rows, ROWS), triton.cdiv(channels, CHANNELS), items
    _add[grid](x, bias, other, out, rows, channels, ROWS, CHANNELS)
    return out


@triton.jit
def _tile(rows, channels, start, ROWS: tl.constexpr, CHANNELS: tl.constexpr):
    """Return the offsets of this program's tile in an image, with rows from `start`, and a mask of those that exist."""
    row = start + tl.arange(0, ROWS)
    channel = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    offsets = row[:, None] * channels + channel[None, :]
    return offsets, (row < rows)[:, None] & (channel < channels)[None, :]


@triton.jit(do_not_specialize=["shift_stride"])
def _whole(
    x, weight, bias, shift, out, rows, channels, shift_stride, eps, width: tl.constexpr, SHIFTED: tl.constexpr,
    SILU: tl.constexpr, ROWS: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    group, item = tl.program_id(0), tl.program_id(1)
    row, within = tl.arange(0, ROWS), tl.arange(0, WIDTH)
    channel, here = group * width + within, within < width
    there = (row < rows)[:, None] & here[None, :]
    offsets = item.to(tl.int64) * rows * channels + row[:, None] * channels + channel[None, :]
    values = tl.load(x + offsets, mask=there, other=0.0).to(tl.float32)
    if SHIFTED:
        values += tl.load(shift + item * shift_stride + channel, mask=here, other=0.0).to(tl.float32)[None, :]
    size = rows * width * 1.0
    center = tl.sum(tl.sum(tl.where(there, values, 0.0), 0), 0) / size
    values = tl.where(there, values - center, 0.0)
    factor = 1.0 / tl.sqrt(tl.sum(tl.sum(values * values, 0), 0) / size + eps)
    factor = factor * tl.load(weight + channel, mask=here, other=0.0).to(tl.float32)
    values = values * factor[None, :] + tl.load(bias + channel, mask=here, other=0.0).to(tl.float32)[None, :]
    if SILU:
        values = values * tl.sigmoid(values)
    tl.store(out + offsets, values.to(out.dtype.element_ty), mask=there)


@triton.jit(do_not_specialize=["items", "chunks"])
def _moments(
    x, moments, items, rows, channels, chunks, TILES: tl.constexpr, ROWS: tl.constexpr, CHANNELS: tl.constexpr
):  # fmt: skip
    chunk, item = tl.program_id(0), tl.program_id(2)
    x += item.to(tl.int64) * rows * channels
    count = 0.0
    mean = tl.zeros([CHANNELS], tl.float32)
    squares = tl.zeros([CHANNELS], tl.float32)
    for tile in range(TILES):
        first = (chunk * TILES + tile) * ROWS
        offsets, there = _tile(rows, channels, first, ROWS, CHANNELS)
        values = tl.load(x + offsets, mask=there, other=0.0).to(tl.float32)
        new = tl.minimum(tl.maximum(rows - first, 0), ROWS).to(tl.float32)
        new_mean = tl.sum(values, 0) / tl.maximum(new, 1.0)
        deviation = tl.where(there, values - new_mean[None, :], 0.0)
        both = tl.maximum(count + new, 1.0)
        difference = new_mean - mean
        squares += tl.sum(deviation * deviation, 0) + difference * difference * (count * new / both)
        mean += difference * (new / both)
        count += new
    channel = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    target = moments + (item * chunks + chunk) * channels + channel
    tl.store(target, mean, mask=channel < channels)
    tl.store(target + items * chunks * channels, squares, mask=channel < channels)


@triton.jit(do_not_specialize=["items", "rows", "channels", "chunks", "rows_per_chunk", "width", "shift_stride"])
def _factors(
    moments, weight, bias, shift, factors, items, rows, channels, chunks, rows_per_chunk, width, shift_stride, eps,
    SHIFTED: tl.constexpr, PARTS: tl.constexpr, CHUNKS: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    group, item = tl.program_id(0), tl.program_id(1)
    within = tl.arange(0, WIDTH)
    channel = group * width + within
    here = within < width
    moved = tl.zeros([WIDTH], tl.float32)
    if SHIFTED:
        moved = tl.load(shift + item * shift_stride + channel, mask=here, other=0.0).to(tl.float32)
    moments += item * chunks * channels
    total = tl.zeros([CHUNKS, WIDTH], tl.float32)
    for part in range(PARTS):
        chunk = part * CHUNKS + tl.arange(0, CHUNKS)
        there = (chunk < chunks)[:, None] & here[None, :]
        count = tl.minimum(tl.maximum(rows - chunk * rows_per_chunk, 0), rows_per_chunk).to(tl.float32)
        mean = tl.load(moments + chunk[:, None] * channels + channel[None, :], mask=there, other=0.0)
        total += tl.where(there, (mean + moved[None, :]) * count[:, None], 0.0)
    size = rows * width * 1.0
    center = tl.sum(tl.sum(total, 0), 0) / size
    total = tl.zeros([CHUNKS, WIDTH], tl.float32)
    for part in range(PARTS):
        chunk = part * CHUNKS + tl.arange(0, CHUNKS)
        there = (chunk < chunks)[:, None] & here[None, :]
        count = tl.minimum(tl.maximum(rows - chunk * rows_per_chunk, 0), rows_per_chunk).to(tl.float32)
        source = moments + chunk[:, None] * channels + channel[None, :]
        away = tl.load(source, mask=there, other=0.0) + moved[None, :] - center
        squares = tl.load(source + items * chunks * channels, mask=there, other=0.0)
        total += tl.where(there, squares + away * away * count[:, None], 0.0)
    factor = 1.0 / tl.sqrt(tl.sum(tl.sum(total, 0), 0) / size + eps)
    factor = factor * tl.load(weight + channel, mask=here, other=0.0).to(tl.float32)
    offset = tl.load(bias + channel, mask=here, other=0.0).to(tl.float32) + (moved - center) * factor
    target = factors + item * channels + channel
    tl.store(target, factor, mask=here)
    tl.store(target + items * channels, offset, mask=here)


@triton.jit(do_not_specialize=["items"])
def _apply(
    x, factors, out, items, rows, channels, SILU: tl.constexpr, ROWS: tl.constexpr, CHANNELS: tl.constexpr
):  # fmt: skip
    item = tl.program_id(2)
    offsets, there = _tile(rows, channels, tl.program_id(0) * ROWS, ROWS, CHANNELS)
    channel = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    source = factors + item * channels + channel
    factor = tl.load(source, mask=channel < channels, other=0.0)
    offset = tl.load(source + items * channels, mask=channel < channels, other=0.0)
    start = item.to(tl.int64) * rows * channels
    values = tl.load(x + start + offsets, mask=there, other=0.0).to(tl.float32)
    values = values * factor[None, :] + offset[None, :]
    if SILU:
        values = values * tl.sigmoid(values)
    tl.store(out + start + offsets, values.to(out.dtype.element_ty), mask=there)


@triton.jit
def _add(x, bias, other, out, rows, channels, ROWS: tl.constexpr, CHANNELS: tl.constexpr):
    item = tl.program_id(2)
    offsets, there = _tile(rows, channels, tl.program_id(0) * ROWS, ROWS, CHANNELS)
    channel = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    added = tl.load(bias + channel, mask=channel < channels, other=0.0).to(tl.float32)
    start = item.to(tl.int64) * rows * channels
    values = tl.load(x + start + offsets, mask=there, other=0.0).to(tl.float32)
    values += tl.load(other + start + offsets, mask=there, other=0.0).to(tl.float32)
    tl.store(out + start + offsets, (values + added[None, :]).to(out.dtype.element_ty), mask=there)

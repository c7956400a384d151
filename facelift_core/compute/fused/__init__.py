"""Group normalisation with what is around it, in one pass each, for channels-last half precision on CUDA.

PyTorch's group normalisation has no kernel for channels last: it copies its input to channels first, the convolution
after it copies back, and SiLU, a bias and a residual are a pass over memory each. The kernels here are written in
Triton, which comes with PyTorch's CUDA builds for Linux; where there is none, or it fails, and for everything else, the
same is computed by PyTorch.
"""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from ...errors import first_line
from ...user_dirs import keep_kernels

HALF = (torch.float16, torch.bfloat16)
TOLERANCE = 4e-3
"""Of the trial: a few roundings of half precision at numbers of about one."""


def group_norm(
    x: Tensor, groups: int, weight: Tensor, bias: Tensor, eps: float, silu: bool = False, shift: Tensor | None = None
) -> Tensor:
    """Group normalisation of ``x + shift``, then SiLU if asked for.

    Args:
        x: (N, C, …).
        weight, bias: (C,).
        shift: (N, C), or None for 0.

    Returns:
        As `x`; in channels last where the kernel was used.
    """
    if pays(x):
        from . import kernels

        return kernels.group_norm(channels_last(x), groups, weight, bias, eps, silu, shift)
    return group_norm_by_torch(x, groups, weight, bias, eps, silu, shift)


def add(x: Tensor, bias: Tensor | None, other: Tensor) -> Tensor:
    """x + bias + other, of which `bias` is (C,) and the others (N, C, H, W)."""
    if pays(x) and bias is not None:
        from . import kernels

        return kernels.add(channels_last(x), bias, channels_last(other))
    return add_by_torch(x, bias, other)


def group_norm_by_torch(
    x: Tensor, groups: int, weight: Tensor, bias: Tensor, eps: float, silu: bool = False, shift: Tensor | None = None
) -> Tensor:
    """As :func:`group_norm`; what the kernels are checked against."""
    if shift is not None:
        x = x + shift.view(*shift.shape, *(1,) * (x.ndim - 2))
    x = F.group_norm(x, groups, weight, bias, eps)
    return F.silu(x) if silu else x


def add_by_torch(x: Tensor, bias: Tensor | None, other: Tensor) -> Tensor:
    """As :func:`add`; what the kernel is checked against."""
    return other + (x if bias is None else x + bias.view(-1, 1, 1))


def pays(x: Tensor) -> bool:
    """Whether the kernels work on `x`."""
    return x.is_cuda and x.dtype in HALF and not torch.is_grad_enabled() and problem() is None


def channels_last(x: Tensor) -> Tensor:
    """`x` (N, C, …) with its channels next to each other in memory; itself where they are."""
    last = x.movedim(1, -1)
    return x if last.is_contiguous() else last.contiguous().movedim(-1, 1)


@lru_cache(maxsize=1)
def problem() -> str | None:
    """Why the kernels cannot be used on this machine, or None; tried once, which takes a few seconds the first time."""
    if not torch.cuda.is_available():
        return "no CUDA device"
    keep_kernels()
    try:
        from . import kernels
    except ImportError:
        return "Triton is not installed"
    try:
        return trial(kernels, torch.device("cuda"))
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # compilers, drivers and Triton's versions fail in their own ways
        return f"Triton fails ({first_line(error)})"


@torch.no_grad()
def trial(kernels, device: torch.device) -> str | None:
    """What is wrong with the results of the kernels on `device`, or None."""
    generator = torch.Generator().manual_seed(0)

    def numbers(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator).half().to(device)

    x, other, shift = channels_last(numbers(2, 96, 9, 7)), channels_last(numbers(2, 96, 9, 7)), numbers(2, 96)
    large = channels_last(numbers(2, 96, 110, 100))  # too large a group for one program
    weight, bias = numbers(96), numbers(96)
    pairs = [(kernels.add(x, bias, other), add_by_torch(x.float(), bias.float(), other.float()))]
    for given, silu in ((x, False), (x, True), (large, True)):
        ours = kernels.group_norm(given, 32, weight, bias, 1e-5, silu, shift)
        exact = group_norm_by_torch(given.float(), 32, weight.float(), bias.float(), 1e-5, silu, shift.float())
        pairs.append((ours, exact))
    errors = [((ours.float() - exact).norm() / exact.norm()).item() for ours, exact in pairs]
    return None if max(errors) < TOLERANCE else f"Triton computes wrongly here (error {max(errors):.1g})"

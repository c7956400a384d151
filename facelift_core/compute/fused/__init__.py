"""Fused group normalization and residual addition for half precision in channels last on CUDA.

PyTorch's group normalization has no channels-last kernel: it copies its input to channels first, and the next
convolution copies back. SiLU, bias and residual are one more pass over memory each. The kernels here are written in
Triton, which PyTorch's CUDA builds for Linux include. Without a working Triton, and for other inputs, PyTorch computes
the same.
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
"""Maximum relative error in :func:`trial`: a few rounding steps of half precision."""


def group_norm(
    x: Tensor, groups: int, weight: Tensor, bias: Tensor, eps: float, silu: bool = False, shift: Tensor | None = None
) -> Tensor:
    """Group normalization of ``x + shift``, optionally followed by SiLU.

    Args:
        x: (N, C, …).
        weight, bias: (C,).
        shift: (N, C), or None for 0.

    Returns:
        A tensor of the shape of `x`, in channels last if the kernel was used.
    """
    if pays(x):
        from . import kernels

        return kernels.group_norm(channels_last(x), groups, weight, bias, eps, silu, shift)
    return group_norm_by_torch(x, groups, weight, bias, eps, silu, shift)


def add(x: Tensor, bias: Tensor | None, other: Tensor) -> Tensor:
    """Compute x + bias + other; `bias` is (C,) or None, the others are (N, C, H, W)."""
    if pays(x) and bias is not None:
        from . import kernels

        return kernels.add(channels_last(x), bias, channels_last(other))
    return add_by_torch(x, bias, other)


def group_norm_by_torch(
    x: Tensor, groups: int, weight: Tensor, bias: Tensor, eps: float, silu: bool = False, shift: Tensor | None = None
) -> Tensor:
    """:func:`group_norm` in PyTorch; the reference for the kernels."""
    if shift is not None:
        x = x + shift.view(*shift.shape, *(1,) * (x.ndim - 2))
    x = F.group_norm(x, groups, weight, bias, eps)
    return F.silu(x) if silu else x


def add_by_torch(x: Tensor, bias: Tensor | None, other: Tensor) -> Tensor:
    """:func:`add` in PyTorch; the reference for the kernel."""
    return other + (x if bias is None else x + bias.view(-1, 1, 1))


def pays(x: Tensor) -> bool:
    """Return whether to use the kernels for `x`. What is compiled is left to the compiler, which fuses the same."""
    usual = x.is_cuda and x.dtype in HALF and not torch.is_grad_enabled()
    return usual and not torch.compiler.is_compiling() and problem() is None


def channels_last(x: Tensor) -> Tensor:
    """Return `x` (N, C, …) in channels last, without a copy if it already is."""
    last = x.movedim(1, -1)
    return x if last.is_contiguous() else last.contiguous().movedim(-1, 1)


@lru_cache(maxsize=1)
def problem() -> str | None:
    """Return why the kernels cannot be used on this machine, or None. The first call compiles and tests them."""
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
    """Compare the kernels with their references on `device`. Return what is wrong, or None."""
    generator = torch.Generator().manual_seed(0)

    def numbers(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator).half().to(device)

    x, other, shift = channels_last(numbers(2, 96, 9, 7)), channels_last(numbers(2, 96, 9, 7)), numbers(2, 96)
    large = channels_last(numbers(2, 96, 110, 100))  # its groups are too large for one program
    weight, bias = numbers(96), numbers(96)
    pairs = [(kernels.add(x, bias, other), add_by_torch(x.float(), bias.float(), other.float()))]
    for given, silu in ((x, False), (x, True), (large, True)):
        ours = kernels.group_norm(given, 32, weight, bias, 1e-5, silu, shift)
        exact = group_norm_by_torch(given.float(), 32, weight.float(), bias.float(), 1e-5, silu, shift.float())
        pairs.append((ours, exact))
    errors = [((ours.float() - exact).norm() / exact.norm()).item() for ours, exact in pairs]
    return None if max(errors) < TOLERANCE else f"Triton computes wrong results here (error {max(errors):.1g})"

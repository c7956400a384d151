"""Compile the UNet and the decoder with ``torch.compile``, each as a whole and for static shapes.

Compiling takes about a minute once per machine. The kernels are cached in
:func:`~facelift_core.user_dirs.kernels_folder`, so later processes only trace the networks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from types import FunctionType

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import nn

from ..user_dirs import keep_kernels
from .deep_cache import evaluate

ATTRIBUTE = "compiled_by_facelift"
Variant = tuple[int, bool]
"""A kind of evaluation: number of rows, and whether it is given the output of the deep blocks."""


@dataclass
class Compiled:
    """What is compiled of a UNet, by kind of evaluation. Other kinds run as they are."""

    backend: str
    functions: dict[Variant, Callable] = field(default_factory=dict)


def compile_unet(unet: UNet2DConditionModel, variants: set[Variant], backend: str) -> None:
    """Compile evaluations of `unet`, each at its first call."""
    keep_kernels()
    compiled = _compiled(unet) or Compiled(backend)
    for variant in variants - set(compiled.functions):
        # A function of its own for each variant: for a compiler, one that it knows with other shapes is a recompile.
        compiled.functions[variant] = _static(_own_evaluation(), backend)
    setattr(unet, ATTRIBUTE, compiled)


def compile_decoder(vae: AutoencoderKL, backend: str) -> None:
    """Compile the decoder of `vae` at its first call; it then decodes one view at a time."""
    keep_kernels()
    if not is_compiled(vae):
        vae.decoder.forward = _static(vae.decoder.forward, backend)
        setattr(vae, ATTRIBUTE, Compiled(backend))


def undo(unet: UNet2DConditionModel, vae: AutoencoderKL) -> None:
    """Undo :func:`compile_unet` and :func:`compile_decoder`."""
    if is_compiled(vae):
        vae.decoder.__dict__.pop("forward", None)
    for network in (unet, vae):
        network.__dict__.pop(ATTRIBUTE, None)


def is_compiled(network: nn.Module) -> bool:
    return _compiled(network) is not None


def compiled_variants(unet: UNet2DConditionModel) -> set[Variant]:
    """Return the kinds of evaluation that are compiled."""
    compiled = _compiled(unet)
    return set(compiled.functions) if compiled else set()


def evaluator(unet: UNet2DConditionModel, rows: int, reused: bool) -> Callable:
    """Return :func:`.deep_cache.evaluate`, compiled if this kind of evaluation is."""
    compiled = _compiled(unet)
    return evaluate if compiled is None else compiled.functions.get((rows, reused), evaluate)


def _compiled(network: nn.Module) -> Compiled | None:
    return network.__dict__.get(ATTRIBUTE)


def _own_evaluation() -> Callable:
    """Return a copy of :func:`.deep_cache.evaluate`, for which the compiler starts anew."""
    return FunctionType(evaluate.__code__.replace(), evaluate.__globals__, evaluate.__name__, evaluate.__defaults__)


def _static(function: Callable, backend: str) -> Callable:
    return torch.compile(function, dynamic=False, fullgraph=True, backend=backend)

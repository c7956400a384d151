"""Sampling settings for the six views, and presets that trade quality for speed. Does not import PyTorch."""

from __future__ import annotations

import math
import numbers
from dataclasses import dataclass, replace
from typing import Literal, get_args

from .errors import FaceLiftError

Solver = Literal["ddim", "dpm", "dpm-sde", "unipc"]
"""DDIM with eta = 1 (as in the reference), DPM-Solver++ 2M for the ODE and for the SDE, and UniPC of order 2."""
SOLVERS: tuple[str, ...] = get_args(Solver)
BRANCHES, VIEWS = 2, 6


def _is_number(value: object) -> bool:
    return isinstance(value, numbers.Real) and math.isfinite(value)


def _is_whole(value: object) -> bool:
    return _is_number(value) and int(value) == value


@dataclass(frozen=True)
class Sampling:
    """Sampling settings.

    Attributes:
        steps: number of solver steps. A step evaluates the UNet on the six views once, or twice if it is guided.
        solver: see :data:`Solver`.
        guided_until: fraction of the steps, in [0, 1], that use guidance. The other steps take half the time.
        reuse: compute the deep blocks of the UNet only every `reuse` steps and reuse their features in between; 1
            computes them in every step.
        agreeing_steps: number of final steps in which the views are made consistent with each other, if the caller
            passes a function for it; see :mod:`~facelift_core.multiview.agreement`.
        max_gaussians: upper limit for a head whose front is made from the photo; see :mod:`~facelift_core.likeness`.
    """

    steps: int = 50
    solver: Solver = "ddim"
    guided_until: float = 1.0
    reuse: int = 1
    agreeing_steps: int = 0
    max_gaussians: int = 400_000

    def __post_init__(self) -> None:
        if not _is_whole(self.steps) or not 1 <= self.steps <= 1000:
            raise FaceLiftError(f"The number of diffusion steps must be from 1 to 1000, not {self.steps!r}.")
        if self.solver not in SOLVERS:
            raise FaceLiftError(f"Unknown solver “{self.solver}”; use one of {', '.join(SOLVERS)}.")
        if not 0 <= self.guided_until <= 1:
            raise FaceLiftError(f"guided_until must be from 0 to 1, not {self.guided_until}.")
        for name, least in (("reuse", 1), ("agreeing_steps", 0), ("max_gaussians", 1)):
            value = getattr(self, name)
            if not _is_whole(value) or value < least:
                raise FaceLiftError(f"{name} must be a whole number of at least {least}, not {value!r}.")

    def guides(self, step: int) -> bool:
        """Return whether step `step` (0-based) uses guidance."""
        return step < math.floor(self.guided_until * self.steps + 0.5)

    def agrees(self, step: int) -> bool:
        """Return whether the views are made consistent in step `step` (0-based)."""
        return step >= self.steps - self.agreeing_steps

    def evaluations(self, guidance_scale: float = 3.0) -> int:
        """Return the number of UNet evaluations, counted per view. Reused deep blocks count as computed."""
        guided = sum(map(self.guides, range(self.steps))) if guidance_scale != 1 else 0
        return VIEWS * (self.steps + (BRANCHES - 1) * guided)


PRESETS = {
    "quality": Sampling(agreeing_steps=1),
    "balanced": Sampling(10, "dpm", agreeing_steps=1, max_gaussians=250_000),
    "fast": Sampling(8, "dpm", reuse=2, agreeing_steps=1, max_gaussians=150_000),
}
"""“quality” samples as the released system does, except for its agreeing steps, which take effect only on request.
The other presets and the numbers of agreeing steps were chosen by measurement; see docs/measurements/performance.md."""


def sampling(preset: str | Sampling = "quality", steps: int | None = None) -> Sampling:
    """Return a preset by name, or the given settings, optionally with another number of steps.

    Raises:
        FaceLiftError: unknown preset, or `steps` is out of range.
    """
    if isinstance(preset, str):
        if preset not in PRESETS:
            raise FaceLiftError(f"Unknown preset “{preset}”; use one of {', '.join(PRESETS)}.")
        preset = PRESETS[preset]
    if not isinstance(preset, Sampling):
        raise FaceLiftError(f"The preset must be one of {', '.join(PRESETS)}, or a Sampling, not {preset!r}.")
    return preset if steps is None else replace(preset, steps=steps)


def check_settings(preset: str | Sampling, steps: int | None, guidance_scale: float | None, seed: int) -> Sampling:
    """Return the sampling settings. Raises FaceLiftError if a setting is out of range."""
    how = sampling(preset, steps)
    if guidance_scale is not None and not (_is_number(guidance_scale) and guidance_scale >= 0):
        raise FaceLiftError(f"The guidance scale must be a number of at least 0, not {guidance_scale!r}.")
    if not _is_whole(seed) or not 0 <= seed < 2**63:
        raise FaceLiftError(f"The seed must be a whole number from 0 to 2^63 − 1, not {seed!r}.")
    return how

"""How the six views are sampled: presets that trade quality for time. Importing this does not need PyTorch."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal, get_args

from .errors import FaceLiftError

Solver = Literal["ddim", "dpm", "dpm-sde", "unipc"]
"""DDIM with eta 1 (the reference's), DPM-Solver++ 2M of the ODE and of the SDE, UniPC of order 2."""
SOLVERS: tuple[str, ...] = get_args(Solver)
BRANCHES, VIEWS = 2, 6


@dataclass(frozen=True)
class Sampling:
    """How the views are sampled.

    Attributes:
        steps: of the solver, one or two evaluations of the UNet on the six views each.
        solver: see :data:`Solver`.
        guided_from, guided_until: the part of the steps, in [0, 1], that is guided; the others take half the time.
        reuse: the deep blocks of the UNet are computed in every so many-th step only; 1 is always.
        agreeing_steps: in so many of the last steps the views are made to agree, where a caller gives what makes them;
            see :mod:`~facelift_core.multiview.agreement`.
        max_gaussians: that a head with the photo for a front has; see :mod:`~facelift_core.likeness`.
    """

    steps: int = 50
    solver: Solver = "ddim"
    guided_from: float = 0.0
    guided_until: float = 1.0
    reuse: int = 1
    agreeing_steps: int = 0
    max_gaussians: int = 400_000

    def __post_init__(self) -> None:
        if not 1 <= self.steps <= 1000 or int(self.steps) != self.steps:
            raise FaceLiftError(f"The number of diffusion steps should be 1 to 1000, not {self.steps}.")
        if self.solver not in SOLVERS:
            raise FaceLiftError(f"“{self.solver}” is not a solver FaceLift knows; use one of {', '.join(SOLVERS)}.")
        if not 0 <= self.guided_from <= self.guided_until <= 1:
            raise FaceLiftError("The guided part of the steps should be a range in 0 to 1.")
        if self.reuse < 1 or int(self.reuse) != self.reuse:
            raise FaceLiftError(f"Deep blocks should be computed every 1 or more steps, not {self.reuse}.")
        if self.agreeing_steps < 0 or int(self.agreeing_steps) != self.agreeing_steps:
            raise FaceLiftError(f"Views should be made to agree in 0 or more steps, not {self.agreeing_steps}.")

    def guides(self, step: int) -> bool:
        """Whether step number `step`, counted from 0, is guided."""
        return (
            math.floor(self.guided_from * self.steps + 0.5) <= step < math.floor(self.guided_until * self.steps + 0.5)
        )

    def agrees(self, step: int) -> bool:
        """Whether the views are made to agree in step number `step`, counted from 0."""
        return step >= self.steps - self.agreeing_steps

    def evaluations(self, guidance_scale: float = 3.0) -> int:
        """Evaluations of the UNet, counted in single views; deep blocks that are reused count as computed."""
        guided = sum(map(self.guides, range(self.steps))) if guidance_scale != 1 else 0
        return VIEWS * (self.steps + (BRANCHES - 1) * guided)


PRESETS = {
    "quality": Sampling(agreeing_steps=1),
    "balanced": Sampling(10, "dpm", agreeing_steps=1, max_gaussians=250_000),
    "fast": Sampling(8, "dpm", reuse=2, agreeing_steps=1, max_gaussians=150_000),
}
"""“quality” samples as the released system does, but for its agreeing steps, which take effect only where asked for.
The others, and how many steps agree, were chosen by measurement: docs/performance.md."""


def sampling(preset: str | Sampling = "quality", steps: int | None = None) -> Sampling:
    """The named preset, or another way of sampling, with its own number of steps or `steps`.

    Raises:
        FaceLiftError: unknown name, or steps out of range.
    """
    if isinstance(preset, str):
        if preset not in PRESETS:
            raise FaceLiftError(f"“{preset}” is not a preset FaceLift knows; use {', '.join(PRESETS)}.")
        preset = PRESETS[preset]
    return preset if steps is None else replace(preset, steps=steps)

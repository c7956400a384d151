"""Solvers for the sampling loop, made from the checkpoint's noise schedule."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, UniPCMultistepScheduler
from torch import Tensor

from ..errors import FaceLiftError
from ..presets import Sampling

SIGNAL_MIN = 2.0**-24
SHARED = (
    "num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "trained_betas", "prediction_type",
    "rescale_betas_zero_snr",
)  # fmt: skip
"""Settings of the noise schedule, which have the same meaning in all schedulers."""


@dataclass(frozen=True)
class Run:
    """One run's solver.

    Attributes:
        scheduler: of diffusers, with state of this run.
        timesteps: (steps,) on the CPU.
        draws_noise: whether every step needs fresh noise.
    """

    scheduler: Any
    timesteps: Tensor
    draws_noise: bool

    def scaled(self, latents: Tensor, t: int) -> Tensor:
        return self.scheduler.scale_model_input(latents, t)

    def step(self, out: Tensor, t: int, latents: Tensor, noise: Tensor | None) -> Tensor:
        """Latents after the step at `t`, float32 like the arguments; `noise` as they, if any is drawn."""
        if isinstance(self.scheduler, DDIMScheduler):
            return self.scheduler.step(out, t, latents, eta=1.0, variance_noise=noise, return_dict=False)[0]
        if noise is not None:
            return self.scheduler.step(out, t, latents, variance_noise=noise, return_dict=False)[0]
        return self.scheduler.step(out, t, latents, return_dict=False)[0]

    def clean(self, out: Tensor, t: int, latents: Tensor) -> Tensor:
        """Return the clean latents that the UNet output `out` for `latents` at timestep `t` implies."""
        signal, noise = self._levels(t)
        match self.scheduler.config.prediction_type:
            case "epsilon":
                return (latents - noise * out) / signal
            case "v_prediction":
                return signal * latents - noise * out
            case _:
                return out

    def shifted(self, out: Tensor, t: int, change: Tensor) -> Tensor:
        """Return the UNet output that implies clean latents changed by `change`; bit-exact `out` where that is 0."""
        signal, noise = self._levels(t)
        match self.scheduler.config.prediction_type:
            case "epsilon":
                return out - signal / noise * change
            case "v_prediction":
                return out - change / noise
            case _:
                return out + change

    def _levels(self, t: int) -> tuple[float, float]:
        """Return the scale of signal and of noise in the latents at timestep `t`."""
        kept = float(self.scheduler.alphas_cumprod[t])
        return kept**0.5, (1 - kept) ** 0.5


def start(template: DDIMScheduler, sampling: Sampling) -> Run:
    """Return a solver for one run.

    Solvers other than DDIM ignore the checkpoint's timestep spacing and use "trailing": with the released "leading"
    spacing, few steps would start far below full noise.

    Raises:
        FaceLiftError: the schedule has too few timesteps.
    """
    if sampling.solver == "ddim":
        return _ddim(template, sampling.steps)
    shared = {name: template.config[name] for name in SHARED if name in template.config}
    if sampling.steps > template.config.num_train_timesteps:
        raise _too_many(sampling.steps)
    settings = {**shared, "solver_order": 2, "timestep_spacing": "trailing", "lower_order_final": True}
    if sampling.solver == "unipc":
        scheduler = UniPCMultistepScheduler(**settings, final_sigmas_type="zero")
    else:
        kind = "sde-dpmsolver++" if sampling.solver == "dpm-sde" else "dpmsolver++"
        scheduler = DPMSolverMultistepScheduler(**settings, algorithm_type=kind, final_sigmas_type="zero")
    scheduler.set_timesteps(sampling.steps)
    return Run(scheduler, scheduler.timesteps, sampling.solver == "dpm-sde")


def _ddim(template: DDIMScheduler, steps: int) -> Run:
    scheduler = DDIMScheduler.from_config(template.config)
    limit = scheduler.config.num_train_timesteps
    if steps <= limit:
        scheduler.set_timesteps(steps)
    if steps > limit or scheduler.timesteps.max() >= limit:
        raise _too_many(steps)
    # Tables in double precision: where the signal vanishes (zero-terminal-SNR schedules), DDIM takes the square
    # root of a difference that float32 rounds below zero.
    scheduler.alphas_cumprod = scheduler.alphas_cumprod.double().clamp(min=SIGNAL_MIN).tolist()
    scheduler.final_alpha_cumprod = float(scheduler.final_alpha_cumprod)
    return Run(scheduler, scheduler.timesteps.to(torch.long), True)


def _too_many(steps: int) -> FaceLiftError:
    return FaceLiftError(f"These weights cannot be sampled in {steps} steps; use fewer.")

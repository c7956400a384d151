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
"""Smallest fraction of the signal's variance; zero terminal SNR schedules end with 0, by which steps would divide."""
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
            return self._ddim_step(out, t, latents, noise)
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
        kept = self._kept(t)
        return kept**0.5, (1 - kept) ** 0.5

    def _kept(self, t: int) -> float:
        """Return the fraction of the signal's variance that is left at timestep `t`; below 0, after the last step."""
        return (
            max(float(self.scheduler.alphas_cumprod[t]), SIGNAL_MIN) if t >= 0 else self.scheduler.final_alpha_cumprod
        )

    def _ddim_step(self, out: Tensor, t: int, latents: Tensor, noise: Tensor) -> Tensor:
        """DDIM with eta = 1, as in diffusers but with coefficients in double precision.

        In float32, the last timestep of a zero terminal SNR schedule takes the square root of a negative number.
        """
        config = self.scheduler.config
        before = t - config.num_train_timesteps // self.scheduler.num_inference_steps
        kept, kept_before = self._kept(t), float(self._kept(before))
        signal, level = self._levels(t)
        clean = self.clean(out, t, latents)
        match config.prediction_type:
            case "epsilon":
                predicted = out
            case "v_prediction":
                predicted = signal * out + level * latents
            case _:
                predicted = (latents - signal * out) / level
        if config.clip_sample:
            clean = clean.clamp(-config.clip_sample_range, config.clip_sample_range)
        deviation = ((1 - kept_before) / (1 - kept) * (1 - kept / kept_before)) ** 0.5
        direction = (1 - kept_before - deviation**2) ** 0.5 * predicted
        return kept_before**0.5 * clean + direction + deviation * noise


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
    if scheduler.config.thresholding:
        raise FaceLiftError("The scheduler of these weights uses thresholding, which is not meant for latents.")
    limit = scheduler.config.num_train_timesteps
    if steps <= limit:
        scheduler.set_timesteps(steps)
    if steps > limit or scheduler.timesteps.max() >= limit:
        raise _too_many(steps)
    return Run(scheduler, scheduler.timesteps.to(torch.long), True)


def _too_many(steps: int) -> FaceLiftError:
    return FaceLiftError(f"These weights cannot be sampled in {steps} steps; use fewer.")

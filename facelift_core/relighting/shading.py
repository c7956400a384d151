"""Show a head under other light."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property

import numpy as np
import torch

from ..errors import FaceLiftError
from ..gaussians.arrays import SH_C0, SplatArrays
from ..gaussians.tensors import Gaussians
from ..photos.colors import linear_to_srgb
from .environment import Environment
from .estimation import estimate
from .reflectance import Reflectance
from .solid import Solid

KNEE = 0.7
"""Linear values above this are compressed toward white, as cameras do."""


def relight(gaussians: Gaussians, environment: Environment, reflectance: Reflectance | None = None) -> Gaussians:
    """Return the head as it looks under `environment`, with the shadows that it casts on itself.

    It reflects diffusely; what the photo shows of highlights stays part of the albedo. For many environments, use
    :class:`Relightable`.

    Args:
        gaussians: a head with Z up, facing −Y.
        environment: the lights.
        reflectance: of these Gaussians, see :func:`.estimation.estimate`; None estimates it.

    Returns:
        The same Gaussians with new colors, which are the same from all sides; on the device of `gaussians`.

    Raises:
        FaceLiftError: `reflectance` is of other Gaussians, or as :func:`.estimation.estimate`.
    """
    return Relightable(gaussians, reflectance).under(environment)


class Relightable:
    """A head ready to be shown under several environments.

    Args:
        gaussians, reflectance: as for :func:`relight`.

    Raises:
        FaceLiftError: as :func:`relight`.
    """

    def __init__(self, gaussians: Gaussians, reflectance: Reflectance | None = None):
        reflectance = estimate(gaussians) if reflectance is None else reflectance
        if len(reflectance) != len(gaussians):
            raise FaceLiftError(
                f"The reflectance is of {len(reflectance):,} Gaussians, but the head has {len(gaussians):,}."
            )
        self.gaussians, self.reflectance = gaussians, reflectance
        splats = SplatArrays.from_gaussians(gaussians)
        self._points, self._solid = splats.positions, Solid.of(splats)

    def under(self, environment: Environment) -> Gaussians:
        """Return the head under `environment`, see :func:`relight`."""
        shown = self.reflectance.albedo * self._arriving(environment)
        bright = (shown - KNEE).clip(0) / (1 - KNEE)
        shown = np.where(bright > 0, KNEE + (1 - KNEE) * (1 - np.exp(-bright)), shown)
        sh = torch.zeros_like(self.gaussians.sh)
        sh[:, 0] = torch.from_numpy((linear_to_srgb(shown) - 0.5) / SH_C0).to(sh)
        return replace(self.gaussians, sh=sh)

    @cached_property
    def _transfer(self) -> np.ndarray:
        return self._solid.transfer(self._points, self.reflectance.normals)

    def _arriving(self, environment: Environment) -> np.ndarray:
        """(N, 3) light at each Gaussian: the linear color that white would have there."""
        total = np.zeros((len(self._points), 3), np.float32)
        if environment.around is not None:
            total += (self._transfer @ np.asarray(environment.around, np.float32)).clip(0)
        for sun in environment.suns:
            toward = np.asarray(sun.direction, np.float64)
            toward = toward / np.linalg.norm(toward)
            facing = (self.reflectance.normals @ toward.astype(np.float32)).clip(0)
            seen = self._solid.visibility(self._points, toward)
            total += (facing * seen)[:, None] * np.asarray(sun.color, np.float32)
        return total

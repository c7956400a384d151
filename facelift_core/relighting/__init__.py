"""Heads under other light: what they reflect, and how they look under lamps and an environment.

solid        the head as a solid: normals, shadows, and how much of its surroundings each point sees
harmonics    light from all directions in nine numbers per color
normals      the normal of each Gaussian
skin         the light of the photo, from the skin in front
reflectance  :class:`~.reflectance.Reflectance`: normals and albedo of all Gaussians, and the light of the photo
estimation   :func:`~.estimation.estimate`, which finds the reflectance of a head
environment  :class:`~.environment.Environment`: suns, and light from all directions
shading      :func:`~.shading.relight`, which shows a head under an environment
"""

from .estimation import estimate
from .reflectance import Reflectance

__all__ = ["Reflectance", "estimate"]

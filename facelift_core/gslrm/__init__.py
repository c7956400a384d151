"""GS-LRM (Zhang et al. 2024): six posed views to 3D Gaussians in one pass of a transformer."""

from .network import GSLRM

__all__ = ["GSLRM"]

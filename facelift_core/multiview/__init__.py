"""Multi-view diffusion: one aligned portrait to six views of the head (docs/model.md, 3)."""

from .diffusion import MultiViewDiffusion

__all__ = ["MultiViewDiffusion"]

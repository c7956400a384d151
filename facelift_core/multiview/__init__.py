"""One aligned portrait to six views of the head: multi-view diffusion (docs/model.md, 3)."""

from .diffusion import MultiViewDiffusion

__all__ = ["MultiViewDiffusion"]

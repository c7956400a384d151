"""Move the face of a reconstructed head: a fitted face mesh with 52 shapes, and Gaussians that follow it."""

from .deform import deform, deformed_vertices
from .rig import SHAPES, Binding, FaceMesh, Rig

__all__ = ["SHAPES", "Binding", "FaceMesh", "Rig", "deform", "deformed_vertices"]

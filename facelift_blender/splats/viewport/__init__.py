"""Viewport drawing: sorted quads, drawn with Blender's ``gpu`` module from the evaluated objects.

Workbench (Solid shading) draws points as large gray diamonds, and EEVEE needs samples to resolve *Any View*. Here, each
Gaussian is a quad in the shape of its projection (3D Gaussian Splatting) in the current view, blended back to front and
occluded by what the engine has drawn. Does not affect renders.

state     whether the engine or we draw: a scene property that the node group reads through a driver
collect   visible point clouds and their transforms, from the dependency graph
arrays    packing and sorting, in NumPy
shader    the shader
drawing   textures and the draw call
outline   of selected splats
handlers  Blender's draw handler and application handlers
rendering images and animations of a viewport, with splats
framing   views that show heads
operators buttons
"""

from __future__ import annotations


def attach() -> None:
    """Draw splats in every 3D viewport from now on. Draws nothing in background mode."""
    from . import framing, handlers, state

    state.register_properties()
    handlers.attach()
    framing.attach()


def detach() -> None:
    from . import framing, handlers, state

    framing.detach()
    handlers.detach()
    state.unregister_properties()

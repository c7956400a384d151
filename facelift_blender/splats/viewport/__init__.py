"""Splats in the viewport: sorted quads drawn with Blender's ``gpu`` module, from the evaluated objects.

Workbench (Solid shading) draws points as large grey diamonds, and EEVEE needs samples to resolve *Any View*. Here each
Gaussian is a quad shaped by the projection of 3D Gaussian Splatting for the region's own view, blended far to near, and
hidden by whatever the engine has drawn in front of it. Renders are not touched.

state     who draws: a property of scenes that the node group reads by a driver
collect   what is visible: evaluated point clouds and where they stand
arrays    packing and sorting, in NumPy
shader    the shader
drawing   textures, and the draw call
handlers  what Blender calls
rendering pictures and films of a viewport, with the splats
"""

from __future__ import annotations


def attach() -> None:
    """Draw in every 3D viewport from now on. In background mode there is none."""
    from . import handlers, state

    state.register_properties()
    handlers.attach()


def detach() -> None:
    from . import handlers, state

    handlers.detach()
    state.unregister_properties()

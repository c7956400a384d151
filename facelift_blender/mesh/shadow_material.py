"""The material of a mesh that stands in for its head where rays test for shadow, and is not seen itself.

Its surface runs through the middle of the splats, half of which lie inside. Rays that leave the mesh are therefore let
through: a splat is in shadow where the ray to the light enters the mesh somewhere, and not where it merely leaves the
splat's own surroundings. Shadow maps, which EEVEE draws as seen from the light, are of the faces that look away from
it, for the same reason.
"""

from __future__ import annotations

import bpy

from ..splats.builder import Builder

NAME = "FaceLift Shadow"
VERSION = 2
VERSION_KEY = "facelift_shadow_version"


def shadow_material() -> bpy.types.Material:
    """The material, made if this file does not have it. What it shows to diffuse rays has the color of the object."""
    for material in bpy.data.materials:
        if material.get(VERSION_KEY) == VERSION and not material.library:
            return material
    material = bpy.data.materials.new(NAME)
    material[VERSION_KEY] = VERSION
    if material.node_tree is None:  # always there from Blender 5.0
        material.use_nodes = True
    material.node_tree.nodes.clear()
    material.surface_render_method = "DITHERED"
    b = Builder(material.node_tree)
    ray = b.node("ShaderNodeLightPath").outputs
    inside = b.node("ShaderNodeNewGeometry").outputs["Backfacing"]
    clear = b.node("ShaderNodeBsdfTransparent").outputs[0]
    color = b.node("ShaderNodeObjectInfo").outputs["Color"]
    solid = b.node("ShaderNodeBsdfDiffuse", {"Color": color}).outputs[0]
    entering = b.math("SUBTRACT", 1.0, inside)
    met = b.math("MAXIMUM", ray["Is Shadow Ray"], ray["Is Diffuse Ray"])
    for target, opaque in (
        ("CYCLES", b.math("MULTIPLY", met, entering)),
        ("EEVEE", b.math("MULTIPLY", ray["Is Shadow Ray"], inside)),
    ):
        surface = b.node("ShaderNodeMixShader", {0: opaque, 1: clear, 2: solid}).outputs[0]
        b.node("ShaderNodeOutputMaterial", {"Surface": surface}, target=target)
    b.arrange()
    return material

"""Shader nodes for splats in the scene's light."""

from __future__ import annotations

from bpy.types import NodeSocket

from .builder import Builder

NORMAL = "splat_normal"
"""FLOAT_VECTOR: unit, outward, in object space."""
ALBEDO = "splat_albedo"
"""FLOAT_COLOR: color without light, and how much the scene's light takes the place of the photo's."""
SPECULAR, ROUGHNESS = 0.03, 0.5
"""Of skin, about; hair and cloth get the same."""


def lit(b: Builder, baked: NodeSocket) -> NodeSocket:
    """A surface in the scene's light, mixed with the `baked` one."""
    with b.frame("In the scene's light"):
        albedo = b.node("ShaderNodeAttribute", attribute_name=ALBEDO).outputs
        normal = b.node("ShaderNodeAttribute", attribute_name=NORMAL).outputs["Vector"]
        in_world = {"vector_type": "NORMAL", "convert_from": "OBJECT", "convert_to": "WORLD"}
        normal = b.node("ShaderNodeVectorTransform", {"Vector": normal}, **in_world).outputs[0]
        diffuse = b.node("ShaderNodeBsdfDiffuse", {"Color": albedo["Color"], "Normal": normal}).outputs[0]
        sheen = {"Color": (1.0, 1.0, 1.0, 1.0), "Roughness": ROUGHNESS, "Normal": normal}
        glossy = b.node("ShaderNodeBsdfAnisotropic", sheen).outputs[0]
        surface = b.node("ShaderNodeMixShader", {0: SPECULAR, 1: diffuse, 2: glossy}).outputs[0]
        return b.node("ShaderNodeMixShader", {0: albedo["Alpha"], 1: baked, 2: surface}).outputs[0]

"""The material of splats, for quads that face the camera and for points that are looked at from anywhere."""

from __future__ import annotations

import bpy

from .builder import Builder

NAME = "FaceLift Splats"
VERSION = 1
VERSION_KEY = "facelift_material_version"
METHOD_KEY = "facelift_material_method"
SORTED, UNSORTED = "BLENDED", "DITHERED"
"""EEVEE's two ways: exact for what the modifier has sorted for the camera, or right from everywhere after some samples.

Against the exact picture, sorted ones reach 52 dB and more, unsorted ones blended 22 dB (they fall apart), and unsorted
ones dithered 34 dB after 16 samples and 37 dB after 64. Cycles makes no difference between them.
"""

COLOR = "splat_color"
"""FLOAT_COLOR: what is emitted, and the opacity."""
QUAD = "splat_quad"
"""FLOAT_VECTOR on quads: position in units of the Gaussian's reach, and 1. Missing, hence 0, on points."""
SIGMA = "splat_sigma"
"""FLOAT_COLOR on points: standard deviations, and the low-pass per unit of depth, in object space."""
ROTATION = "splat_rotation"
"""FLOAT_COLOR on points: quaternion x, y, z, w."""

MAX_ALPHA = 0.99
MIN_ALPHA = 1.0 / 255.0


def splat_material(method: str = SORTED) -> bpy.types.Material:
    """The material for one of EEVEE's ways, made if this file does not have it."""
    for material in bpy.data.materials:
        if material.get(VERSION_KEY) == VERSION and material.get(METHOD_KEY) == method and not material.library:
            return material
    material = bpy.data.materials.new(NAME if method == SORTED else f"{NAME} Unsorted")
    material[VERSION_KEY] = VERSION
    material[METHOD_KEY] = method
    if material.node_tree is None:  # always there from Blender 5.0
        material.use_nodes = True
    material.node_tree.nodes.clear()
    material.surface_render_method = method
    material.use_transparency_overlap = True
    material.use_backface_culling = False
    material.cycles.emission_sampling = "NONE"  # a hundred thousand tiny lamps otherwise
    _build(Builder(material.node_tree))
    return material


def _build(b: Builder) -> None:
    color = b.node("ShaderNodeAttribute", attribute_name=COLOR).outputs
    emission = b.node("ShaderNodeEmission", {"Color": color["Color"], "Strength": 1.0}).outputs[0]
    clear = b.node("ShaderNodeBsdfTransparent").outputs[0]
    quad = b.node("ShaderNodeAttribute", attribute_name=QUAD).outputs["Vector"]
    facing = _mix(b, _quad_alpha(b, quad, color["Alpha"]), clear, emission)
    any_view = _mix(b, _point_alpha(b, color["Alpha"]), clear, emission)
    # Cycles skips the side that is not needed.
    surface = _mix(b, b.split(quad)[2], any_view, facing)
    b.node("ShaderNodeOutputMaterial", {"Surface": surface})


def _mix(b: Builder, factor, first, second):
    return b.node("ShaderNodeMixShader", {0: factor, 1: first, 2: second}).outputs[0]


def _quad_alpha(b: Builder, quad, opacity):
    """At the edge of the reach alpha is 1/255: opacity · (255 · opacity)^(−r²)."""
    with b.frame("Camera facing"):
        u, v, _ = b.split(quad)
        squared = b.math("ADD", b.math("MULTIPLY", u, u), b.math("MULTIPLY", v, v))
        fall = b.math("POWER", b.math("MULTIPLY", opacity, 1.0 / MIN_ALPHA), b.math("MULTIPLY", squared, -1.0))
        alpha = b.math("MINIMUM", b.math("MULTIPLY", opacity, fall), MAX_ALPHA)
        return b.math("MULTIPLY", alpha, b.math("LESS_THAN", squared, 1.0))


def _point_alpha(b: Builder, opacity):
    """The ray's nearest approach to the centre in units of sigma: |u × d|² / |d|², in the Gaussian's own frame."""
    with b.frame("Any view"):
        geometry = b.node("ShaderNodeNewGeometry").outputs
        center = b.node("ShaderNodePointInfo").outputs["Position"]
        turn = b.node("ShaderNodeAttribute", attribute_name=ROTATION).outputs
        stored = b.node("ShaderNodeAttribute", attribute_name=SIGMA).outputs
        depth = b.node("ShaderNodeCameraData").outputs["View Z Depth"]
        blur = b.math("MULTIPLY", stored["Alpha"], depth)
        blur = b.math("MULTIPLY", blur, blur)
        squares = b.vector("MULTIPLY_ADD", stored["Vector"], stored["Vector"], b.join(blur, blur, blur))
        sigma = b.join(*(b.math("SQRT", value) for value in b.split(squares)))

        def to_gaussian(world):
            """World direction to the Gaussian's frame, in units of sigma."""
            local = b.node(
                "ShaderNodeVectorTransform", {0: world}, vector_type="VECTOR", convert_from="WORLD", convert_to="OBJECT"
            ).outputs[0]
            axis, w = turn["Vector"], turn["Alpha"]
            twice = b.vector("SCALE", b.vector("CROSS_PRODUCT", axis, local), scale=2.0)
            back = b.vector("SUBTRACT", local, b.vector("SCALE", twice, scale=w))
            return b.vector("DIVIDE", b.vector("ADD", back, b.vector("CROSS_PRODUCT", axis, twice)), sigma)

        offset = to_gaussian(b.vector("SUBTRACT", geometry["Position"], center))
        ray = to_gaussian(geometry["Incoming"])
        across = b.vector("CROSS_PRODUCT", offset, ray)
        squared = b.math("DIVIDE", b.vector("DOT_PRODUCT", across, across), b.vector("DOT_PRODUCT", ray, ray))
        fall = b.math("EXPONENT", b.math("MULTIPLY", squared, -0.5))
        alpha = b.math("MINIMUM", b.math("MULTIPLY", opacity, fall), MAX_ALPHA)
        alpha = b.math("MULTIPLY", alpha, b.math("GREATER_THAN", alpha, MIN_ALPHA))
        return b.math("MULTIPLY", alpha, b.math("SUBTRACT", 1.0, geometry["Backfacing"]))

"""The material of splats, for quads that face the camera and for points that are looked at from anywhere."""

from __future__ import annotations

import bpy

from . import lighting
from .builder import Builder, Results, Sockets, part

NAME = "FaceLift Splats"
VERSION = 4
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
ARMS = ("splat_arm_1", "splat_arm_2", "splat_arm_3")
"""On points, in object space: the Gaussian's axes, one standard deviation long. The first is a FLOAT_COLOR whose alpha
is the low-pass, as a width per unit of depth or, if negative, for every depth. FLOAT_VECTOR the others.
"""

MAX_ALPHA = 0.99
MIN_ALPHA = 1.0 / 255.0
TIED_ALPHA = 1e-6
"""Of two dithered surfaces at the same depth, EEVEE shows that which its dither has chosen in the other one's colour,
black if the alpha there is 0. Orthographic views, which reach a kilometre before and behind, have many such."""


def splat_material(method: str = SORTED, lit: bool = False) -> bpy.types.Material:
    """The material for one of EEVEE's ways, made if this file does not have it.

    Args:
        method: SORTED or UNSORTED.
        lit: for splats with normals, in the scene's light; what is baked is cheaper without.
    """
    version = f"lit {VERSION}" if lit else VERSION
    for material in bpy.data.materials:
        if material.get(VERSION_KEY) == version and material.get(METHOD_KEY) == method and not material.library:
            return material
    name = f"{NAME} Lit" if lit else NAME
    material = bpy.data.materials.new(name if method == SORTED else f"{name} Unsorted")
    material[VERSION_KEY] = version
    material[METHOD_KEY] = method
    if material.node_tree is None:  # always there from Blender 5.0
        material.use_nodes = True
    material.node_tree.nodes.clear()
    material.surface_render_method = method
    material.use_transparency_overlap = True
    material.use_backface_culling = False
    material.cycles.emission_sampling = "NONE"  # a hundred thousand tiny lamps otherwise
    material.cycles.use_bump_map_correction = not lit  # normals that differ from the quads' are meant
    _build(Builder(material.node_tree), TIED_ALPHA if method == UNSORTED else 0.0, lit)
    return material


def add_to(data: bpy.types.ID) -> None:
    """Give `data` a slot for each of the two materials."""
    for method in (SORTED, UNSORTED):
        surface = splat_material(method)
        if surface.name not in data.materials:
            data.materials.append(surface)


def remove_from(data: bpy.types.ID) -> None:
    """Remove those slots; Blender's own splats would be drawn with the first one."""
    for index in reversed(range(len(data.materials))):
        surface = data.materials[index]
        if surface is not None and VERSION_KEY in surface:
            data.materials.pop(index=index)


def _build(b: Builder, least: float, lit: bool) -> None:
    def at_least(alpha):
        return b.math("MAXIMUM", alpha, least) if least else alpha

    color = b.node("ShaderNodeAttribute", attribute_name=COLOR).outputs
    emission = b.node("ShaderNodeEmission", {"Color": color["Color"], "Strength": 1.0}).outputs[0]
    if lit:
        emission = lighting.lit(b, emission)
    clear = b.node("ShaderNodeBsdfTransparent").outputs[0]
    quad = b.node("ShaderNodeAttribute", attribute_name=QUAD).outputs["Vector"]
    facing = _mix(b, at_least(_quad_alpha(b, quad, color["Alpha"])), clear, emission)
    group = part("FaceLift Any View Alpha", VERSION, {"Opacity": "Float"}, _point_alpha, "ShaderNodeTree")
    any_view = _mix(b, at_least(b.call(group, {0: color["Alpha"]})[0]), clear, emission)
    # Cycles skips the side that is not needed.
    surface = _mix(b, b.split(quad)[2], any_view, facing)
    b.node("ShaderNodeOutputMaterial", {"Surface": surface})
    b.arrange()


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


def _point_alpha(b: Builder, inputs: Sockets) -> Results:
    """What a ray sees of the Gaussian's projection along it, with the low-pass, both in world space.

    With u from the centre to the ray, d the ray's direction and tᵢ = armᵢ × d, the projected covariance has the trace
    Σ |tᵢ|² and the determinant Σ (d · (tᵢ × tⱼ))² over the pairs; the ray is at the squared Mahalanobis distance
    (Σ (u · tᵢ)² + blur² · |u × d|²) / (determinant + blur² · trace + blur⁴).
    """
    with b.frame("Any view"):
        geometry = b.node("ShaderNodeNewGeometry").outputs
        center = b.node("ShaderNodePointInfo").outputs["Position"]
        stored = [b.node("ShaderNodeAttribute", attribute_name=name).outputs for name in ARMS]
        depth = b.math("ABSOLUTE", b.node("ShaderNodeCameraData").outputs["View Z Depth"])
        rate = stored[0]["Alpha"]
        blur = b.math("MAXIMUM", b.math("MULTIPLY", rate, depth), b.math("MULTIPLY", rate, -1.0))
        blur = b.math("MULTIPLY", blur, blur)

        ray = geometry["Incoming"]
        offset = b.vector("SUBTRACT", geometry["Position"], center)
        sides = []
        for arm in stored:
            in_world = {"vector_type": "VECTOR", "convert_from": "OBJECT", "convert_to": "WORLD"}
            arm = b.node("ShaderNodeVectorTransform", {"Vector": arm["Vector"]}, **in_world).outputs[0]
            sides.append(b.vector("CROSS_PRODUCT", arm, ray))
        one, two, three = sides
        pairs = [b.vector("CROSS_PRODUCT", *pair) for pair in ((one, two), (one, three), (two, three))]
        areas = b.join(*(b.vector("DOT_PRODUCT", pair, ray) for pair in pairs))
        across = b.vector("CROSS_PRODUCT", offset, ray)
        along = b.join(*(b.vector("DOT_PRODUCT", side, offset) for side in sides))

        def square(vector):
            return b.vector("DOT_PRODUCT", vector, vector)

        above = b.math("MULTIPLY_ADD", blur, square(across), square(along))
        trace = b.total(*(square(side) for side in sides))
        below = b.math("MULTIPLY_ADD", blur, b.math("ADD", trace, blur), square(areas))
        fall = b.math("EXPONENT", b.math("MULTIPLY", b.math("DIVIDE", above, below), -0.5))
        alpha = b.math("MINIMUM", b.math("MULTIPLY", inputs["Opacity"], fall), MAX_ALPHA)
        alpha = b.math("MULTIPLY", alpha, b.math("GREATER_THAN", alpha, MIN_ALPHA))
        return {"Alpha": ("Float", b.math("MULTIPLY", alpha, b.math("SUBTRACT", 1.0, geometry["Backfacing"])))}

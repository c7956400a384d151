"""Geometry Nodes for splats in the scene's light: what the material needs to know of each, besides how it looks."""

from __future__ import annotations

import bpy
from bpy.types import NodeSocket

from . import attributes, color_nodes, lighting
from .builder import Builder, Results, Sockets, find_input, part

VERSION = 1
"""Of the group in here."""


def in_scene_light(b: Builder, inputs: Sockets, geometry: NodeSocket) -> tuple[NodeSocket, NodeSocket]:
    """Whether any of the splats is in the scene's light, and the points with what the material reads for that.

    Args:
        inputs: of the modifier.
        geometry: points with the attributes ``normal`` and ``albedo``; without them, none is.
    """
    with b.frame("In the scene's light"):
        # What is not asked for is not evaluated: baked splats pay nothing.
        wanted = b.compare("GREATER_THAN", inputs["Scene Light"], 0.0)
        lit = b.compare("GREATER_THAN", b.switch("FLOAT", wanted, 0.0, _longest_normal(b, geometry)), 0.5)
        kinds = {"Geometry": "Geometry", "Scene Light": "Float", **color_nodes.CHANGES}
        group = part("FaceLift Scene Light", VERSION, kinds, _stored)
        values = {name: inputs[name] for name in kinds if name != "Geometry"}
        stored = b.call(group, {"Geometry": geometry, **values})[0]
        return lit, b.switch("GEOMETRY", lit, geometry, stored)


def with_normals(b: Builder, mesh: NodeSocket) -> NodeSocket:
    """Quads whose normals for shading are those of the splats.

    They face the camera. Cycles keeps light from behind a surface off it, however the shader turns the normal; only
    the surface's own normal for shading counts.
    """
    if not hasattr(bpy.types, "GeometryNodeSetMeshNormal"):  # before Blender 4.5
        return mesh
    smooth = b.node("GeometryNodeSetShadeSmooth", {0: mesh}).outputs[0]
    node = b.node("GeometryNodeSetMeshNormal", {"Mesh": smooth}, mode="FREE", domain="POINT")
    b.set(find_input(node, "Custom Normal"), b.named(lighting.NORMAL, "FLOAT_VECTOR"))
    return node.outputs[0]


def _longest_normal(b: Builder, geometry: NodeSocket) -> NodeSocket:
    length = b.vector("LENGTH", b.named(attributes.NORMAL, "FLOAT_VECTOR"))
    return b.statistic("Max", geometry, length)


def _stored(b: Builder, inputs: Sockets) -> Results:
    normal = b.named(attributes.NORMAL, "FLOAT_VECTOR")
    # Splats that were joined from elsewhere have none, and stay as they are.
    known = b.compare("GREATER_THAN", b.vector("LENGTH", normal), 0.5)
    amount = b.math("MULTIPLY", inputs["Scene Light"], known)
    albedo = color_nodes.displayed(b, b.named(attributes.ALBEDO, "FLOAT_COLOR"))
    albedo = color_nodes.linear(b, color_nodes.recolored(b, inputs, albedo))
    albedo = b.vector("MINIMUM", b.vector("MAXIMUM", albedo, (0.0,) * 3), (1.0,) * 3)
    red, green, blue = b.split(albedo)
    albedo = b.node("FunctionNodeCombineColor", {0: red, 1: green, 2: blue, 3: amount}, mode="RGB").outputs[0]
    points, normal, albedo = b.captured(inputs["Geometry"], {"Normal": ("VECTOR", normal), "Albedo": ("RGBA", albedo)})
    points = b.without(points, [attributes.NORMAL, attributes.ALBEDO])
    points = b.stored(points, lighting.NORMAL, "FLOAT_VECTOR", normal)
    return {"Geometry": ("Geometry", b.stored(points, lighting.ALBEDO, "FLOAT_COLOR", albedo))}

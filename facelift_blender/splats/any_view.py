"""Any View: each Gaussian as a point whose sphere encloses it; the material computes what a ray through it sees."""

from __future__ import annotations

import math

from bpy.types import NodeSocket

from . import material
from .builder import Builder, Results, Sockets, part
from .gaussian_nodes import Gaussians, shown_by

VERSION = 2
"""Of the groups in here."""
CUT = 0.7
"""Cycles meets a sphere at its near side, so that large Gaussians come before smaller ones whose centres are nearer.
The spheres of those larger than the median therefore enclose only this share of what can be seen: an opaque one loses
what is fainter than .07, and pictures come nearer to the renderer's: 35.1 dB, 32.4 before, of a head with its photo."""
DIAMOND = math.sqrt(2.0)
"""EEVEE draws points as diamonds inside their radius; Cycles as spheres, which had better not be larger than needed."""


def spheres(inputs: Sockets, gaussians: Gaussians) -> NodeSocket:
    """Points with the radius and the attributes that the material reads, sorted for the camera.

    Args:
        inputs: those of the modifier that this needs, by name.
    """
    kinds = {"Pixel Filter": "Float", "Material": "Material", "Viewport Material": "Material"}
    return shown_by(
        "FaceLift Any View", VERSION, _spheres, gaussians, {name: (kind, inputs[name]) for name, kind in kinds.items()}
    )


def _spheres(b: Builder, inputs: Sockets, gaussians: Gaussians) -> NodeSocket:
    in_viewport = b.node("GeometryNodeIsViewport").outputs[0]
    camera = gaussians.camera
    with b.frame("Any View: points that enclose the Gaussian"):
        z = b.split(gaussians.seen_center)[2]
        filter_width = b.product(b.math("SQRT", inputs["Pixel Filter"]), camera["Pixel Width"])
        # Per unit of depth in perspective, which the material multiplies; negative: the same at every depth.
        blur_rate = b.math("MULTIPLY", filter_width, b.math("MULTIPLY_ADD", camera["Perspective"], 2.0, -1.0))
        distance = b.math("MULTIPLY_ADD", camera["Perspective"], b.math("SUBTRACT", b.math("ABSOLUTE", z), 1.0), 1.0)
        blur = b.math("MULTIPLY", filter_width, distance)
        radius = _radius(b, gaussians, blur, in_viewport)
        first, *others = gaussians.arms
        x, y, z_ = b.split(first)
        first = b.node("FunctionNodeCombineColor", {0: x, 1: y, 2: z_, 3: blur_rate}, mode="RGB").outputs[0]
        # Everything is stored at once, because each node changes what the next would read.
        points, z, radius, first, second, third, color = b.captured(
            gaussians.geometry,
            {
                "Depth": ("FLOAT", z),
                "Radius": ("FLOAT", radius),
                "First": ("RGBA", first),
                "Second": ("VECTOR", others[0]),
                "Third": ("VECTOR", others[1]),
                "Colour": ("RGBA", gaussians.color),
            },
        )
        points = b.stored(points, material.COLOR, "FLOAT_COLOR", color)
        points = b.stored(points, material.ARMS[0], "FLOAT_COLOR", first)
        points = b.stored(points, material.ARMS[1], "FLOAT_VECTOR", second)
        points = b.stored(points, material.ARMS[2], "FLOAT_VECTOR", third)
        points = b.node("GeometryNodeSetPointRadius", {"Points": points, "Radius": radius}).outputs[0]
        points = b.node("GeometryNodeSortElements", {"Geometry": points, "Sort Weight": z}, domain="POINT").outputs[0]
        # One looks around in the viewport, where sorting for the camera is wrong from everywhere else.
        surface = b.switch("MATERIAL", in_viewport, inputs["Material"], inputs["Viewport Material"])
        return b.node("GeometryNodeSetMaterial", {"Geometry": points, "Material": surface}).outputs[0]


def _radius(b: Builder, gaussians: Gaussians, blur: NodeSocket, in_viewport: NodeSocket) -> NodeSocket:
    """Of the point whose sphere, as the engine draws it, encloses what can be seen of the Gaussian.

    The engines transform radii each in their own way: EEVEE by what the object does to the diagonal (1, 1, 1); Cycles
    by the cube root of its volume if it moves the points into the world, and if not, as for instances, the sphere
    becomes an ellipsoid with everything else.
    """
    camera = gaussians.camera
    in_world = b.math("MULTIPLY", gaussians.reach, _blurred(b, _longest_axis(b, gaussians.seen_arms), blur))
    drawn_by_gpu = b.math("MULTIPLY", b.math("DIVIDE", in_world, camera["Point Size"]), DIAMOND)
    moved = b.math("DIVIDE", in_world, b.math("POWER", camera["Volume"], 1.0 / 3.0))
    blur_in_object = b.math("DIVIDE", blur, camera["Shortest"])
    in_object = b.math("MULTIPLY", gaussians.reach, _blurred(b, b.largest(gaussians.sigma), blur_in_object))
    traced = _cut(b, gaussians.geometry, b.math("MAXIMUM", moved, in_object))
    by_gpu = b.math("MAXIMUM", camera["Drawn by GPU"], in_viewport)
    return b.switch("FLOAT", b.compare("GREATER_THAN", by_gpu, 0.5), traced, drawn_by_gpu)


def _cut(b: Builder, geometry: NodeSocket, radius: NodeSocket) -> NodeSocket:
    median = b.statistic("Median", geometry, radius)
    return b.math("MINIMUM", radius, b.math("MAXIMUM", b.math("MULTIPLY", radius, CUT), median))


def _blurred(b: Builder, sigma: NodeSocket, blur: NodeSocket) -> NodeSocket:
    return b.math("SQRT", b.math("MULTIPLY_ADD", sigma, sigma, b.math("MULTIPLY", blur, blur)))


def _longest_axis(b: Builder, arms: list[NodeSocket]) -> NodeSocket:
    """The largest standard deviation of a Gaussian with these arms, which need not be at right angles.

    Its square is the largest eigenvalue of the matrix of the arms' dot products; of a symmetric 3 × 3 matrix that is
    mean + 2 · spread · cos(arccos(determinant of (matrix − mean) / spread / 2) / 3).
    """
    group = part("FaceLift Longest Axis", VERSION, dict.fromkeys(("U", "V", "W"), "Vector"), _longest)
    return b.call(group, dict(enumerate(arms)))[0]


def _longest(b: Builder, arms: Sockets) -> Results:
    u, v, w = arms["U"], arms["V"], arms["W"]
    uu, vv, ww, uv, uw, vw = (
        b.vector("DOT_PRODUCT", *pair) for pair in ((u, u), (v, v), (w, w), (u, v), (u, w), (v, w))
    )
    mean = b.math("MULTIPLY", b.total(uu, vv, ww), 1.0 / 3.0)
    du, dv, dw = (b.math("SUBTRACT", value, mean) for value in (uu, vv, ww))
    diagonal = b.total(*(b.math("MULTIPLY", value, value) for value in (du, dv, dw)))
    beside = b.total(*(b.math("MULTIPLY", value, value) for value in (uv, uw, vw)))
    spread = b.math("SQRT", b.math("MULTIPLY", b.math("MULTIPLY_ADD", beside, 2.0, diagonal), 1.0 / 6.0))
    columns = [b.join(du, uv, uw), b.join(uv, dv, vw), b.join(uw, vw, dw)]
    columns = [b.vector("SCALE", column, scale=b.math("DIVIDE", 1.0, spread)) for column in columns]
    determinant = b.vector("DOT_PRODUCT", b.vector("CROSS_PRODUCT", columns[0], columns[1]), columns[2])
    cosine = b.math("MAXIMUM", b.math("MINIMUM", b.math("MULTIPLY", determinant, 0.5), 1.0), -1.0)
    angle = b.math("MULTIPLY", b.math("ARCCOSINE", cosine), 1.0 / 3.0)
    largest = b.math("MULTIPLY_ADD", b.math("COSINE", angle), b.math("MULTIPLY", spread, 2.0), mean)
    return {"Sigma": ("Float", b.math("SQRT", b.math("MAXIMUM", largest, 0.0)))}

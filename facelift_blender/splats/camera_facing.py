"""Camera Facing: each Gaussian as a quad, shaped by the projection of 3D Gaussian Splatting for the scene's camera."""

from __future__ import annotations

from functools import partial

from bpy.types import NodeSocket

from . import attributes, camera_nodes, lit_nodes, material
from .builder import Builder, Results, Sockets, find_input, part
from .gaussian_nodes import Gaussians, shown_by

VERSION = 3
"""Of the groups in here."""
_ARMS = ("U", "V", "W")
SMALLEST_GAP = 5e-7
"""Between the depths of two quads, relative to the depth. Of several surfaces at what is the same distance in single
precision, Cycles sees one."""
RUN = 64
"""Quads that are kept apart together. Each run begins at its true depth, so that shifts do not add up."""


def quads(inputs: Sockets, gaussians: Gaussians, sh_degree: int) -> NodeSocket:
    """A mesh of one quad per Gaussian in front of the camera, far to near.

    Args:
        inputs: those of the modifier that this needs, by name.
    """
    name = "FaceLift Camera Facing" + (f" SH {sh_degree}" if sh_degree else "")
    # What the points have and the mesh needs no more.
    spent = [attributes.SCALE, attributes.ROTATION, attributes.BASE, attributes.REST, attributes.COLOR, "radius"]
    spent += [attributes.sh_name(k) for k in range((sh_degree + 1) ** 2 - 1)]
    kinds = {"Pixel Filter": "Float", "Material": "Material", "Lit": "Bool"}
    others = {key: (kind, inputs[key]) for key, kind in kinds.items()}
    return shown_by(name, VERSION, partial(_quads, spent=spent), gaussians, others)


def _quads(b: Builder, inputs: Sockets, gaussians: Gaussians, spent: list[str]) -> NodeSocket:
    camera = gaussians.camera
    z = b.split(gaussians.seen_center)[2]
    behind = b.compare("GREATER_THAN", z, b.math("MULTIPLY", camera["Near"], -1.0))
    arms = dict(zip(_ARMS, gaussians.seen_arms, strict=True))
    numbers = {"Reach": gaussians.reach, "Pixel Filter": inputs["Pixel Filter"]}
    kinds = dict.fromkeys(("Center", *_ARMS), "Vector") | dict.fromkeys(numbers, "Float")
    group = part("FaceLift Seen Ellipse", VERSION, kinds, _ellipse)
    matrix = b.call(group, {"Center": gaussians.seen_center, **arms, **numbers})[0]
    with b.frame("Camera Facing: quads, far to near"):
        points, matrix, z, color, behind = b.captured(
            gaussians.geometry,
            {
                "Matrix": ("MATRIX", matrix),
                "Depth": ("FLOAT", z),
                "Colour": ("RGBA", gaussians.color),
                "Behind": ("BOOLEAN", behind),
            },
        )
        points = b.without(points, spent)
        points = b.stored(points, material.COLOR, "FLOAT_COLOR", color)
        points = b.node("GeometryNodeSortElements", {"Geometry": points, "Sort Weight": z}, domain="POINT").outputs[0]
        apart = b.call(part("FaceLift Apart", VERSION, {"Depth": "Float"}, _without_ties), {0: z})[0]
        matrix = b.node("FunctionNodeMatrixMultiply", {0: apart, 1: matrix}).outputs[0]
        matrix = b.node("FunctionNodeMatrixMultiply", {0: camera["From Camera"], 1: matrix}).outputs[0]
        points, matrix = b.captured(points, {"Placed": ("MATRIX", matrix)})
        grid = {"Size X": 2.0, "Size Y": 2.0, "Vertices X": 2, "Vertices Y": 2}
        quad = b.node("GeometryNodeMeshGrid", grid).outputs[0]
        u, v, _ = b.split(b.node("GeometryNodeInputPosition").outputs[0])
        quad = b.stored(quad, material.QUAD, "FLOAT_VECTOR", b.join(u, v, 1.0))
        quad = b.node("GeometryNodeSetMaterial", {"Geometry": quad, "Material": inputs["Material"]}).outputs[0]
        each = {"Points": points, "Instance": quad, "Selection": b.logic("NOT", behind)}
        instances = b.node("GeometryNodeInstanceOnPoints", each).outputs[0]
        placed = b.node("GeometryNodeSetInstanceTransform", {"Instances": instances, "Transform": matrix}).outputs[0]
        mesh = b.node("GeometryNodeRealizeInstances", {"Geometry": placed}).outputs[0]
        return b.switch("GEOMETRY", inputs["Lit"], mesh, lit_nodes.with_normals(b, mesh))


def _ellipse(b: Builder, inputs: Sockets) -> Results:
    """Matrices that place a square of side 2 in camera space as the ellipse that the camera sees of a Gaussian."""
    camera = b.call(camera_nodes.camera_group())
    with b.frame("Camera Facing: covariance in camera space"):
        center = inputs["Center"]
        x, y, z = b.split(center)
        depth = b.math("MULTIPLY", z, -1.0)
        # 1 in perspective, where lines of sight lean; 0 in orthographic pictures.
        lean = b.math("DIVIDE", camera["Perspective"], depth)
        slope_x = b.math("MULTIPLY", x, lean)
        slope_y = b.math("MULTIPLY", y, lean)
        slope_x = b.math("MAXIMUM", b.math("MINIMUM", slope_x, camera["Right"]), camera["Left"])
        slope_y = b.math("MAXIMUM", b.math("MINIMUM", slope_y, camera["Top"]), camera["Bottom"])
        halves = []
        for arm in (inputs[name] for name in _ARMS):
            ax, ay, az = b.split(arm)
            halves.append((b.math("MULTIPLY_ADD", slope_x, az, ax), b.math("MULTIPLY_ADD", slope_y, az, ay)))
        xx = b.total(*(b.math("MULTIPLY", u, u) for u, _ in halves))
        xy = b.total(*(b.math("MULTIPLY", u, v) for u, v in halves))
        yy = b.total(*(b.math("MULTIPLY", v, v) for _, v in halves))
        # A pixel is this wide at that depth.
        distance = b.math("MULTIPLY_ADD", camera["Perspective"], b.math("SUBTRACT", depth, 1.0), 1.0)
        width = b.math("MULTIPLY", distance, camera["Pixel Width"])
        height = b.math("MULTIPLY", distance, camera["Pixel Height"])
        xx = b.math("MULTIPLY_ADD", b.math("MULTIPLY", width, width), inputs["Pixel Filter"], xx)
        yy = b.math("MULTIPLY_ADD", b.math("MULTIPLY", height, height), inputs["Pixel Filter"], yy)
    with b.frame("Camera Facing: the ellipse's axes as a matrix"):
        middle = b.math("MULTIPLY", b.math("ADD", xx, yy), 0.5)
        half = b.math("MULTIPLY", b.math("SUBTRACT", xx, yy), 0.5)
        offset = b.math("SQRT", b.math("MULTIPLY_ADD", half, half, b.math("MULTIPLY", xy, xy)))
        long = b.product(inputs["Reach"], b.math("SQRT", b.math("ADD", middle, offset)))
        short = b.product(inputs["Reach"], b.math("SQRT", b.math("MAXIMUM", b.math("SUBTRACT", middle, offset), 0.0)))
        angle = b.math("MULTIPLY", b.math("ARCTAN2", xy, half), 0.5)
        turn = b.node("FunctionNodeEulerToRotation", {0: b.join(0.0, 0.0, angle)}).outputs[0]
        ellipse = {"Translation": center, "Rotation": turn, "Scale": b.join(long, short, long)}
        return {"Matrix": ("Matrix", b.node("FunctionNodeCombineTransform", ellipse).outputs[0])}


def _without_ties(b: Builder, inputs: Sockets) -> Results:
    """Matrices in camera space for points sorted by their z there: the camera sees the same, with all depths apart."""
    z, camera = inputs["Depth"], b.call(camera_nodes.camera_group())
    with b.frame("Camera Facing: no two quads at the same depth"):
        index = b.node("GeometryNodeInputIndex").outputs[0]
        first = b.compare("LESS_THAN", b.math("MODULO", index, float(RUN)), 0.5)
        before = b.node("GeometryNodeFieldAtIndex", data_type="FLOAT", domain="POINT")
        b.set(find_input(before, "Value"), z)
        b.set(before.inputs["Index"], b.math("SUBTRACT", index, 1.0))
        previous = next(socket for socket in before.outputs if socket.enabled)
        gap = b.math("MAXIMUM", b.math("SUBTRACT", z, previous), b.math("MULTIPLY", z, -SMALLEST_GAP))
        run = b.node("GeometryNodeAccumulateField", data_type="FLOAT", domain="POINT")
        b.set(find_input(run, "Value"), b.switch("FLOAT", first, gap, z))
        b.set(find_input(run, "Group ID"), b.math("FLOOR", b.math("DIVIDE", index, float(RUN))))
        apart = next(socket for socket in run.outputs if socket.enabled)
        # In perspective away from the camera along the line of sight, else along the camera's axis.
        factor = b.math("SUBTRACT", b.math("DIVIDE", apart, z), 1.0)
        factor = b.math("MULTIPLY_ADD", factor, camera["Perspective"], 1.0)
        shift = b.math("MULTIPLY", b.math("SUBTRACT", apart, z), b.math("SUBTRACT", 1.0, camera["Perspective"]))
        moved = {"Translation": b.join(0.0, 0.0, shift), "Scale": b.join(factor, factor, factor)}
        return {"Matrix": ("Matrix", b.node("FunctionNodeCombineTransform", moved).outputs[0])}

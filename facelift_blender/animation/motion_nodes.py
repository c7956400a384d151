"""The Geometry Nodes group by which Gaussians follow a face mesh, as :mod:`facelift_core.animation.deform` has it.

Nothing in it depends on Python once it is built: shape keys, bones, drivers and other modifiers of the mesh move the
Gaussians of a file that is opened without this add-on, too.
"""

from __future__ import annotations

import bpy
from bpy.types import NodeSocket
from facelift_core.animation.deform import SMALLEST, STRETCH_MAX

from ..splats import attributes, nodes
from ..splats.builder import Builder, Results, Sockets, find_input, part
from . import binding
from .names import REST

MODIFIER = "Face Motion"
GROUP = "FaceLift Face Motion"
VERSION = 6
AXES = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
LEAST = 1e-6
"""Of the mesh's displacement, below which the Gaussians stay exactly as they are."""
Vectors = tuple[NodeSocket, NodeSocket, NodeSocket]


def add_modifier(head: bpy.types.Object, face: bpy.types.Object) -> bpy.types.NodesModifier:
    """Let the Gaussians of `head` follow `face`, ahead of all other modifiers."""
    modifier = find_modifier(head) or head.modifiers.new(MODIFIER, "NODES")
    modifier.node_group = motion_group()
    nodes.set_input(modifier, "Face", face)
    head.modifiers.move(head.modifiers.find(modifier.name), 0)
    return modifier


def find_modifier(head: bpy.types.Object) -> bpy.types.NodesModifier | None:
    """The modifier by which the Gaussians of `head` follow a face, or None."""
    for modifier in head.modifiers:
        group = modifier.node_group if modifier.type == "NODES" else None
        if group is not None and group.name.split(".")[0] == GROUP:
            return modifier
    return None


def motion_group() -> bpy.types.GeometryNodeTree:
    """The group, made if this file does not have it."""
    group = part(GROUP, VERSION, {"Geometry": "Geometry", "Face": "Object"}, _motion)
    group.is_modifier = True
    return group


def _motion(b: Builder, inputs: Sockets) -> Results:
    face = b.node("GeometryNodeObjectInfo", {"Object": inputs["Face"]}, transform_space="ORIGINAL").outputs["Geometry"]
    with b.frame("Which way the mesh has moved"):
        mesh, moved, *columns = _maps(b, face)
        most = b.statistic("Max", mesh, b.vector("LENGTH", moved))
    with b.frame("What each Gaussian follows"):
        shift, *linear = _blended(b, mesh, moved, columns)
    with b.frame("Position, rotation and scale"):
        points = _followed(b, inputs["Geometry"], shift, linear)
    moves = b.compare("GREATER_THAN", most, LEAST)
    return {"Geometry": ("Geometry", b.switch("GEOMETRY", moves, inputs["Geometry"], points))}


def _maps(b: Builder, face: NodeSocket) -> tuple[NodeSocket, ...]:
    """The mesh; on its vertices, the displacement from rest, and the columns of the linear map."""
    rest = b.node("GeometryNodeInputNamedAttribute", {"Name": REST}, data_type="FLOAT_VECTOR")
    position = b.node("GeometryNodeInputPosition").outputs[0]
    corners = [_corner(b, k) for k in range(4)]
    first, second, normal = _frame(b, rest.outputs[0], corners)
    area = b.vector("LENGTH", b.vector("CROSS_PRODUCT", first, second))
    # The rows of the inverse of the frame at rest, times its determinant, which is the area.
    rows = (
        b.vector("CROSS_PRODUCT", second, normal),
        b.vector("CROSS_PRODUCT", normal, first),
        b.vector("SCALE", normal, scale=area),
    )
    axes = _frame(b, position, corners)
    columns = [_combined(b, axes, coordinates) for coordinates in zip(*(b.split(row) for row in rows), strict=True)]
    fields = {f"Column {k}": ("VECTOR", column) for k, column in enumerate(columns)}
    mesh, area, *columns = b.captured(face, {"Area": ("FLOAT", area), **fields}, domain="FACE")
    # A mesh without the attribute does not move anything.
    displacement = b.vector("SCALE", b.vector("SUBTRACT", position, rest.outputs[0]), scale=rest.outputs["Exists"])
    # On vertices, fields of faces are the means of those of adjoining faces.
    share, some = b.math("DIVIDE", 1.0, area), b.compare("GREATER_THAN", area, SMALLEST)
    columns = [
        b.switch("VECTOR", some, axis, b.vector("SCALE", column, scale=share))
        for axis, column in zip(AXES, columns, strict=True)
    ]
    fields = {f"Column {k}": ("VECTOR", column) for k, column in enumerate(columns)}
    return b.captured(mesh, {"Moved": ("VECTOR", displacement), **fields})


def _corner(b: Builder, k: int) -> NodeSocket:
    """Index of the vertex at corner `k` of each face."""
    corner = b.node("GeometryNodeCornersOfFace", {"Sort Index": k}).outputs[0]
    return b.node("GeometryNodeVertexOfCorner", {"Corner Index": corner}).outputs[0]


def _frame(b: Builder, place: NodeSocket, corners: list[NodeSocket]) -> Vectors:
    """The diagonals and the unit normal of each face, whose vertices are at `place`."""
    at = []
    for corner in corners:
        node = b.node("GeometryNodeFieldAtIndex", data_type="FLOAT_VECTOR", domain="POINT")
        b.set(find_input(node, "Index"), corner)
        b.set(find_input(node, "Value"), place)
        at.append(node.outputs[0])
    first, second = b.vector("SUBTRACT", at[2], at[0]), b.vector("SUBTRACT", at[3], at[1])
    return first, second, b.vector("NORMALIZE", b.vector("CROSS_PRODUCT", first, second))


def _combined(b: Builder, vectors, factors) -> NodeSocket:
    """The sum of vectors, each times its factor."""
    (vector, *others), (factor, *more) = vectors, factors
    total = b.vector("SCALE", vector, scale=factor)
    for vector, factor in zip(others, more, strict=True):
        total = b.vector("MULTIPLY_ADD", vector, b.join(factor, factor, factor), total)
    return total


def _blended(b: Builder, mesh: NodeSocket, moved: NodeSocket, columns: list[NodeSocket]) -> list[NodeSocket]:
    """On the Gaussians: the weighted means of the vertices' displacements and maps."""
    shares = list(b.split(b.named(binding.SHARES, "FLOAT_VECTOR")))
    shares.append(b.math("SUBTRACT", 1.0, b.total(*shares)))
    indices = [b.named(name, "INT") for name in binding.CORNER_NAMES]
    return [_combined(b, [_sampled(b, mesh, value, index) for index in indices], shares) for value in (moved, *columns)]


def _sampled(b: Builder, mesh: NodeSocket, value: NodeSocket, index: NodeSocket) -> NodeSocket:
    node = b.node("GeometryNodeSampleIndex", {"Geometry": mesh}, data_type="FLOAT_VECTOR", domain="POINT", clamp=True)
    b.set(find_input(node, "Value"), value)
    b.set(find_input(node, "Index"), index)
    return node.outputs[0]


def _followed(b: Builder, points: NodeSocket, shift: NodeSocket, linear: list[NodeSocket]) -> NodeSocket:
    before = b.named(binding.ROTATION, "QUATERNION")
    axes = []
    for axis in AXES:
        own = b.node("FunctionNodeRotateVector", {"Vector": axis, "Rotation": before}).outputs[0]
        axes.append(_combined(b, linear, b.split(own)))
    stretch = b.join(*(b.math("MINIMUM", b.vector("LENGTH", axis), STRETCH_MAX) for axis in axes))
    across = b.vector("CROSS_PRODUCT", axes[0], axes[1])
    inputs = {"Primary Axis": across, "Secondary Axis": axes[0]}
    after = b.node("FunctionNodeAxesToRotation", inputs, primary_axis="Z", secondary_axis="X").outputs[0]
    inverse = b.node("FunctionNodeInvertRotation", {0: before}).outputs[0]
    offset = b.named(binding.OFFSET, "FLOAT_VECTOR")
    turned = b.node("FunctionNodeRotateVector", {0: offset, 1: _turned(b, inverse, after)}).outputs[0]
    change = b.vector("ADD", shift, b.vector("SUBTRACT", turned, offset))
    rotation, scale = (
        b.named(attributes.ROTATION, "QUATERNION"),
        b.named(attributes.SCALE, "FLOAT_VECTOR"),
    )
    # From the space of the mesh to that of the head, which are the same until a transform is applied to the head.
    turn = _turned(b, inverse, rotation)
    size = b.math("DIVIDE", b.vector("DOT_PRODUCT", scale, (1.0, 1.0, 1.0)), b.named(binding.SIZE, "FLOAT"))
    change = b.vector("SCALE", b.node("FunctionNodeRotateVector", {0: change, 1: turn}).outputs[0], scale=size)
    points, change, rotation, scale = b.captured(
        points,
        {
            "Change": ("VECTOR", change),
            "Rotation": ("ROTATION", _turned(b, after, turn)),
            "Scale": ("VECTOR", b.vector("MULTIPLY", scale, stretch)),
        },
    )
    points = _with_normals(b, points, before=b.named(attributes.ROTATION, "QUATERNION"), after=rotation)
    points = b.node("GeometryNodeSetPosition", {"Geometry": points, "Offset": change}).outputs[0]
    points = b.stored(points, attributes.ROTATION, "QUATERNION", rotation)
    return b.stored(points, attributes.SCALE, "FLOAT_VECTOR", scale)


def _with_normals(b: Builder, points: NodeSocket, before: NodeSocket, after: NodeSocket) -> NodeSocket:
    """Normals, where there are any, turn as the Gaussians do."""
    normal = b.node("GeometryNodeInputNamedAttribute", {"Name": attributes.NORMAL}, data_type="FLOAT_VECTOR").outputs
    turn = _turned(b, b.node("FunctionNodeInvertRotation", {0: before}).outputs[0], after)
    turned = b.node("FunctionNodeRotateVector", {0: normal[0], 1: turn}).outputs[0]
    known = b.compare("GREATER_THAN", b.statistic("Max", points, normal["Exists"]), 0.5)
    return b.switch("GEOMETRY", known, points, b.stored(points, attributes.NORMAL, "FLOAT_VECTOR", turned))


def _turned(b: Builder, rotation: NodeSocket, by: NodeSocket) -> NodeSocket:
    """First `rotation`, then `by`."""
    return b.node(
        "FunctionNodeRotateRotation", {"Rotation": rotation, "Rotate By": by}, rotation_space="GLOBAL"
    ).outputs[0]

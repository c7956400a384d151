"""The Geometry Nodes group that draws Gaussians, and its modifier.

One group per spherical-harmonic degree; its panels are what an artist may change, and nothing in it depends on Python
once it is built. Three ways to show the same Gaussians:

*Camera Facing*: each Gaussian is a quad facing the scene's camera, shaped by the projection of 3D Gaussian Splatting
(EWA, with its low-pass), far to near. All of it happens in camera space, so that any object transform is exact. The
camera's focal length and the resolution come from drivers.

*Any View*: each Gaussian is a point, and the material computes what a ray through it sees. For mirrors, several
cameras, instances and looking around.

*Points*: the Gaussians themselves with the edits applied, for other node trees, Blender's own splats and the export.
"""

from __future__ import annotations

import math

import bpy
from bpy.types import NodeSocket

from . import attributes, camera_nodes, material
from .attributes import SH_C0
from .builder import Builder, Value

GROUP = "FaceLift Splats"
VERSION = 1
"""Raised whenever the group changes, so that files keep the group they were made with and new objects get the new."""
VERSION_KEY = "facelift_splats_version"
DEGREE_KEY = "facelift_splats_sh_degree"
MODIFIER = "Splats"

CAMERA_FACING, ANY_VIEW, POINTS = MODES = ("Camera Facing", "Any View", "Points")
SMALLEST_ALPHA = 1.0 / 255.0
"""A Gaussian ends where its alpha falls below this, as in every splat viewer."""
DIAMOND = math.sqrt(2.0)
"""EEVEE draws points as diamonds inside their radius; Cycles as spheres, which had better not be larger than needed."""
_LUMA = (0.2126, 0.7152, 0.0722)


def add_modifier(item: bpy.types.Object) -> bpy.types.NodesModifier:
    """Show the Gaussians of `item`: the modifier with the group for its degree, and the material."""
    degree = math.isqrt(attributes.sh_bases(item.data)) - 1
    modifier = item.modifiers.new(MODIFIER, "NODES")
    modifier.node_group = splat_group(degree)
    for method in (material.SORTED, material.UNSORTED):
        surface = material.splat_material(method)
        if surface.name not in item.data.materials:
            item.data.materials.append(surface)
    return modifier


def find_modifier(item: bpy.types.Object) -> bpy.types.NodesModifier | None:
    """The modifier that shows splats, or None."""
    for modifier in item.modifiers:
        if modifier.type == "NODES" and modifier.node_group and VERSION_KEY in modifier.node_group:
            return modifier
    return None


def splat_group(sh_degree: int) -> bpy.types.GeometryNodeTree:
    """The group for Gaussians of that degree, made if this file does not have it."""
    for group in bpy.data.node_groups:
        if group.get(VERSION_KEY) == VERSION and group.get(DEGREE_KEY) == sh_degree and not group.library:
            return group
    name = GROUP if sh_degree == 0 else f"{GROUP} SH {sh_degree}"
    group = bpy.data.node_groups.new(name, "GeometryNodeTree")
    group.is_modifier = True
    group[VERSION_KEY] = VERSION
    group[DEGREE_KEY] = sh_degree
    _interface(group)
    _build(group, sh_degree)
    return group


# ---------------------------------------------------------------------------------------------------------------------
# Inputs


def _interface(group: bpy.types.GeometryNodeTree) -> None:
    sockets = group.interface
    sockets.new_socket("Geometry", in_out="OUTPUT", socket_type="NodeSocketGeometry")
    sockets.new_socket("Geometry", in_out="INPUT", socket_type="NodeSocketGeometry")
    panel = None

    def add(name, kind, default=None, low=None, high=None, subtype=None, tip=""):
        socket = sockets.new_socket(name, in_out="INPUT", socket_type=f"NodeSocket{kind}", parent=panel)
        socket.description = tip
        if subtype:
            socket.subtype = subtype
        if low is not None:
            socket.min_value, socket.max_value = low, high
        if default is not None:
            socket.default_value = default

    panel = sockets.new_panel("Show")
    add("Render As", "Menu", tip="In renders: quads for the scene's camera, or points that look right from anywhere")
    add("Viewport As", "Menu", tip="The same for the viewport")
    add("Match Viewers", "Bool", False, tip="Blend sRGB values as splat viewers do; needs the Raw view transform")
    add("Material", "Material", material.splat_material(), tip="What draws the splats")
    unsorted = material.splat_material(material.UNSORTED)
    add("Viewport Material", "Material", unsorted, tip="What draws them in the viewport as Any View, without sorting")
    panel = sockets.new_panel("Look")
    add("Size", "Float", 1.0, 0.0, 10.0, tip="Factor for the size of each Gaussian")
    add("Density", "Float", 1.0, 0.0, 10.0, tip="Optical thickness: 2 is as if each Gaussian were there twice")
    add("Opacity", "Float", 1.0, 0.0, 1.0, "FACTOR", tip="Factor for the opacity of each Gaussian")
    add("Tint", "Color", (1.0, 1.0, 1.0, 1.0), tip="Colours are multiplied by this")
    add("Exposure", "Float", 0.0, -10.0, 10.0, tip="In stops")
    add("Hue", "Float", 0.0, -math.pi, math.pi, "ANGLE", tip="Turns all colours around grey")
    add("Saturation", "Float", 1.0, 0.0, 4.0, tip="0 is grey")
    add("Value", "Float", 1.0, 0.0, 4.0, tip="Factor for the brightness as displayed")
    panel = sockets.new_panel("Edit")
    add("Minimum Opacity", "Float", 0.0, 0.0, 1.0, "FACTOR", tip="Fainter Gaussians are left out")
    add("Crop", "Bool", False, tip="Keep what is inside the crop box")
    add("Crop Box", "Object", tip="An empty of display type Cube and size 1; move, rotate and scale it")
    add("Crop Inside", "Bool", False, tip="Leave out what is inside the box instead")
    add("Viewport Amount", "Float", 100.0, 0.0, 100.0, "PERCENTAGE", tip="Share of the Gaussians in the viewport")
    add("Render Amount", "Float", 100.0, 0.0, 100.0, "PERCENTAGE", tip="Share of the Gaussians in renders")
    panel = sockets.new_panel("Projection", default_closed=True)
    add("Pixel Filter", "Float", 0.3, 0.0, 10.0, tip="Low-pass in square pixels; .3 is what splats are trained with")


def input_identifier(group: bpy.types.GeometryNodeTree, name: str) -> str:
    return next(s.identifier for s in group.interface.items_tree if s.item_type == "SOCKET" and s.name == name
                and s.in_out == "INPUT")  # fmt: skip


def set_input(modifier: bpy.types.NodesModifier, name: str, value) -> None:
    """Change an input of the modifier; menus by the name of their item."""
    identifier = input_identifier(modifier.node_group, name)
    if hasattr(modifier, "properties"):  # Blender 5.2
        getattr(modifier.properties.inputs, identifier).value = value
    else:
        modifier[identifier] = MODES.index(value) if value in MODES else value
    modifier.id_data.update_tag()


def get_input(modifier: bpy.types.NodesModifier, name: str):
    identifier = input_identifier(modifier.node_group, name)
    if hasattr(modifier, "properties"):
        return getattr(modifier.properties.inputs, identifier).value
    value = modifier[identifier]
    return MODES[value] if name in ("Render As", "Viewport As") else value


def draw_input(layout: bpy.types.UILayout, modifier: bpy.types.NodesModifier, name: str) -> None:
    """A row for an input that is no menu."""
    identifier = input_identifier(modifier.node_group, name)
    if hasattr(modifier, "properties"):
        layout.prop(getattr(modifier.properties.inputs, identifier), "value", text=name)
    elif name == "Crop Box":
        layout.prop_search(modifier, f'["{identifier}"]', bpy.data, "objects", text=name)
    else:
        layout.prop(modifier, f'["{identifier}"]', text=name)


# ---------------------------------------------------------------------------------------------------------------------
# The group


def _build(group: bpy.types.GeometryNodeTree, sh_degree: int) -> None:
    b = Builder(group)
    inputs = b.node("NodeGroupInput").outputs
    with b.frame("Which way to show"):
        shown = [_menu(b, inputs[name]) for name in ("Render As", "Viewport As")]
        for name in ("Render As", "Viewport As"):  # only now do the sockets know the items
            socket = next(s for s in group.interface.items_tree if s.name == name)
            socket.default_value = CAMERA_FACING if name == "Render As" else ANY_VIEW
        in_viewport = b.node("GeometryNodeIsViewport").outputs[0]
        mode = b.switch("INT", in_viewport, *shown)
    with b.frame("Stored Gaussians"):
        sigma = b.vector("SCALE", b.named(attributes.SCALE, "FLOAT_VECTOR"), scale=inputs["Size"])
        rotation = b.named(attributes.ROTATION, "QUATERNION")
        base = b.named(attributes.BASE, "FLOAT_COLOR")
        opacity = b.node("FunctionNodeSeparateColor", {0: base}, mode="RGB").outputs[3]
        rest = [b.named(attributes.sh_name(k), "FLOAT_VECTOR") for k in range((sh_degree + 1) ** 2 - 1)]
    with b.frame("Opacity: density, then the factor"):
        clear = b.math("POWER", b.math("SUBTRACT", 1.0, opacity), inputs["Density"])
        opacity = b.math("MULTIPLY", b.math("SUBTRACT", 1.0, clear), inputs["Opacity"])
    with b.frame("Left out"):
        percent = b.switch("FLOAT", in_viewport, inputs["Render Amount"], inputs["Viewport Amount"])
        chance = b.math("MULTIPLY", percent, 0.01)
        left_out = _left_out(b, inputs, opacity, chance)
        geometry = b.node(
            "GeometryNodeDeleteGeometry", {"Geometry": inputs["Geometry"], "Selection": left_out}, domain="POINT"
        ).outputs[0]
        # Fewer and larger ones cover the same area.
        sigma = b.vector("SCALE", sigma, scale=b.math("POWER", b.math("MAXIMUM", chance, 1e-4), -0.5))

    recolor = _Recolor(b, inputs)
    camera = b.node("GeometryNodeGroup", node_tree=camera_nodes.camera_group()).outputs
    with b.frame("Colour towards the camera"):
        color = b.vector("MULTIPLY_ADD", base, (SH_C0,) * 3, (0.5,) * 3)
        if rest:
            position = b.node("GeometryNodeInputPosition").outputs[0]
            direction = b.vector("NORMALIZE", b.vector("SUBTRACT", position, camera["Location"]))
            for features, basis in zip(rest, _basis(b, direction), strict=False):
                color = b.vector("ADD", color, b.vector("SCALE", features, scale=basis))
        color = b.vector("MAXIMUM", recolor(color), (0.0, 0.0, 0.0))
        color = b.switch("VECTOR", inputs["Match Viewers"], _linear(b, color), color)
        red, green, blue = b.split(color)
        color = b.node("FunctionNodeCombineColor", {0: red, 1: green, 2: blue, 3: opacity}, mode="RGB").outputs[0]

    spent = [attributes.SCALE, attributes.ROTATION, attributes.BASE, attributes.COLOR, "radius"]
    spent += [attributes.sh_name(k) for k in range(len(rest))]
    facing = _camera_facing(b, inputs, geometry, camera, sigma, rotation, opacity, color, spent)
    any_view = _any_view(b, inputs, geometry, camera, in_viewport, sigma, rotation, opacity, color)
    points = _points(b, geometry, sigma, base, rest, opacity, recolor)
    by_mode = b.node("GeometryNodeIndexSwitch", data_type="GEOMETRY")
    by_mode.index_switch_items.new()
    for key, value in enumerate((mode, facing, any_view, points)):
        b.set(by_mode.inputs[key], value)
    b.node("NodeGroupOutput", {0: by_mode.outputs[0]})


def _menu(b: Builder, menu: NodeSocket) -> NodeSocket:
    """Number of the chosen item of MODES."""
    node = b.node("GeometryNodeMenuSwitch", data_type="INT")
    for item, name in zip(node.enum_items, MODES, strict=False):  # two to begin with
        item.name = name
    node.enum_items.new(MODES[2])
    b.set(node.inputs[0], menu)
    for number in range(len(MODES)):
        node.inputs[number + 1].default_value = number
    return node.outputs[0]


def _left_out(b: Builder, inputs, opacity: NodeSocket, chance: NodeSocket) -> NodeSocket:
    faint = b.compare("LESS_THAN", opacity, b.math("MAXIMUM", inputs["Minimum Opacity"], SMALLEST_ALPHA))
    deleted = b.named(attributes.DELETED, "BOOLEAN")
    thinned_out = b.node("FunctionNodeRandomValue", data_type="BOOLEAN")
    b.set(next(s for s in thinned_out.inputs if s.name == "Probability" and s.enabled), chance)
    kept = next(s for s in thinned_out.outputs if s.enabled)
    box = b.node("GeometryNodeObjectInfo", {"Object": inputs["Crop Box"]}, transform_space="RELATIVE")
    to_box = b.node("FunctionNodeInvertMatrix", {0: box.outputs["Transform"]}).outputs[0]
    position = b.node("GeometryNodeInputPosition").outputs[0]
    inside_box = b.node("FunctionNodeTransformPoint", {"Vector": position, "Transform": to_box}).outputs[0]
    outside = b.compare("GREATER_THAN", b.largest(b.vector("ABSOLUTE", inside_box)), 1.0)
    cropped = b.logic("AND", inputs["Crop"], b.logic("XOR", outside, inputs["Crop Inside"]))
    left_out = b.logic("OR", b.logic("OR", faint, deleted), cropped)
    return b.logic("OR", left_out, b.logic("NOT", kept))


class _Recolor:
    """Hue, saturation, value, tint and exposure: linear in the displayed colour, so that spherical harmonics follow."""

    def __init__(self, b: Builder, inputs):
        self.b = b
        self.inputs = inputs
        with b.frame("Factor for colours as displayed"):
            # One stop of light is a factor 2^(1/2.2) in displayed values.
            exposure = b.math("POWER", 2.0, b.math("DIVIDE", inputs["Exposure"], 2.2))
            gain = b.math("MULTIPLY", exposure, inputs["Value"])
            self.gain = b.vector("SCALE", _displayed(b, inputs["Tint"]), scale=gain)

    def __call__(self, color: NodeSocket) -> NodeSocket:
        b, inputs = self.b, self.inputs
        turned = b.node(
            "ShaderNodeVectorRotate",
            {"Vector": color, "Axis": (1.0, 1.0, 1.0), "Angle": inputs["Hue"]},
            rotation_type="AXIS_ANGLE",
        ).outputs[0]
        luma = b.vector("DOT_PRODUCT", turned, _LUMA)
        grey = b.math("MULTIPLY", luma, b.math("SUBTRACT", 1.0, inputs["Saturation"]))
        saturated = b.vector("ADD", b.vector("SCALE", turned, scale=inputs["Saturation"]), b.join(grey, grey, grey))
        return b.vector("MULTIPLY", saturated, self.gain)


def _linear(b: Builder, color: Value) -> NodeSocket:
    """sRGB to linear light."""
    channels = []
    for value in b.split(color):
        curve = b.math("POWER", b.math("MULTIPLY_ADD", value, 1 / 1.055, 0.055 / 1.055), 2.4)
        straight = b.math("MULTIPLY", value, 1 / 12.92)
        channels.append(b.switch("FLOAT", b.compare("GREATER_THAN", value, 0.04045), straight, curve))
    return b.join(*channels)


def _displayed(b: Builder, color: Value) -> NodeSocket:
    """Linear light to sRGB."""
    channels = []
    for value in b.split(color):
        curve = b.math("MULTIPLY_ADD", b.math("POWER", value, 1 / 2.4), 1.055, -0.055)
        straight = b.math("MULTIPLY", value, 12.92)
        channels.append(b.switch("FLOAT", b.compare("GREATER_THAN", value, 0.0031308), straight, curve))
    return b.join(*channels)


def _basis(b: Builder, direction: NodeSocket) -> list[NodeSocket]:
    """The 15 real spherical harmonics of degrees 1 to 3, in the order and signs of 3D Gaussian Splatting."""
    x, y, z = b.split(direction)
    xx, yy, zz = (b.math("MULTIPLY", v, v) for v in (x, y, z))
    xy, yz, xz = b.math("MULTIPLY", x, y), b.math("MULTIPLY", y, z), b.math("MULTIPLY", x, z)

    def weighted(*terms: tuple[float, NodeSocket]) -> NodeSocket:
        return b.total(*(b.math("MULTIPLY", value, factor) for factor, value in terms))

    c1, c2, c3 = 0.4886025119029199, 1.0925484305920792, 0.31539156525252005
    c4, c5, c6, c7, c8 = (
        0.5900435899266435,
        2.890611442640554,
        0.4570457994644658,
        0.3731763325901154,
        1.445305721320277,
    )
    ring = weighted((4.0, zz), (-1.0, xx), (-1.0, yy))
    return [
        b.math("MULTIPLY", y, -c1),
        b.math("MULTIPLY", z, c1),
        b.math("MULTIPLY", x, -c1),
        b.math("MULTIPLY", xy, c2),
        b.math("MULTIPLY", yz, -c2),
        weighted((2.0 * c3, zz), (-c3, xx), (-c3, yy)),
        b.math("MULTIPLY", xz, -c2),
        weighted((0.5 * c2, xx), (-0.5 * c2, yy)),
        b.math("MULTIPLY", y, weighted((-3.0 * c4, xx), (c4, yy))),
        b.math("MULTIPLY", xy, b.math("MULTIPLY", z, c5)),
        b.math("MULTIPLY", y, b.math("MULTIPLY", ring, -c6)),
        b.math("MULTIPLY", z, weighted((2.0 * c7, zz), (-3.0 * c7, xx), (-3.0 * c7, yy))),
        b.math("MULTIPLY", x, b.math("MULTIPLY", ring, -c6)),
        b.math("MULTIPLY", z, weighted((c8, xx), (-c8, yy))),
        b.math("MULTIPLY", x, weighted((-c4, xx), (3.0 * c4, yy))),
    ]


def _reach(b: Builder, opacity: NodeSocket) -> NodeSocket:
    """Standard deviations from the centre to where alpha is SMALLEST_ALPHA."""
    excess = b.log(b.math("MULTIPLY", opacity, 1.0 / SMALLEST_ALPHA))
    return b.math("SQRT", b.math("MAXIMUM", b.math("MULTIPLY", excess, 2.0), 0.0))


def _camera_facing(b, inputs, geometry, camera, sigma, rotation, opacity, color, spent) -> NodeSocket:
    with b.frame("Camera Facing: covariance in camera space"):
        position = b.node("GeometryNodeInputPosition").outputs[0]
        center = b.node("FunctionNodeTransformPoint", {"Vector": position, "Transform": camera["To Camera"]}).outputs[0]
        x, y, z = b.split(center)
        depth = b.math("MULTIPLY", z, -1.0)
        # 1 in perspective, where lines of sight lean; 0 in orthographic pictures.
        lean = b.math("DIVIDE", camera["Perspective"], depth)
        slope_x = b.math("MULTIPLY", x, lean)
        slope_y = b.math("MULTIPLY", y, lean)
        slope_x = b.math("MAXIMUM", b.math("MINIMUM", slope_x, camera["Right"]), camera["Left"])
        slope_y = b.math("MAXIMUM", b.math("MINIMUM", slope_y, camera["Top"]), camera["Bottom"])
        lengths = b.split(sigma)
        halves = []
        for axis, length in zip(((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)), lengths, strict=True):
            turned = b.node("FunctionNodeRotateVector", {"Vector": axis, "Rotation": rotation}).outputs[0]
            arm = b.vector("SCALE", turned, scale=length)
            seen = b.node("FunctionNodeTransformDirection", {"Direction": arm, "Transform": camera["To Camera"]})
            ax, ay, az = b.split(seen.outputs[0])
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
        reach = _reach(b, opacity)
        long = b.product(reach, b.math("SQRT", b.math("ADD", middle, offset)))
        short = b.product(reach, b.math("SQRT", b.math("MAXIMUM", b.math("SUBTRACT", middle, offset), 0.0)))
        angle = b.math("MULTIPLY", b.math("ARCTAN2", xy, half), 0.5)
        turn = b.node("FunctionNodeEulerToRotation", {0: b.join(0.0, 0.0, angle)}).outputs[0]
        to_ellipse = b.node(
            "FunctionNodeCombineTransform",
            {"Translation": center, "Rotation": turn, "Scale": b.join(long, short, long)},
        ).outputs[0]
        matrix = b.node("FunctionNodeMatrixMultiply", {0: camera["From Camera"], 1: to_ellipse}).outputs[0]
    with b.frame("Camera Facing: quads, far to near"):
        behind = b.compare("LESS_THAN", depth, camera["Near"])
        geometry, matrix, z, color, behind = b.captured(
            geometry,
            {
                "Matrix": ("MATRIX", matrix),
                "Depth": ("FLOAT", z),
                "Colour": ("RGBA", color),
                "Behind": ("BOOLEAN", behind),
            },
        )
        geometry = b.without(geometry, spent)
        geometry = b.stored(geometry, material.COLOR, "FLOAT_COLOR", color)
        geometry = b.node("GeometryNodeSortElements", {"Geometry": geometry, "Sort Weight": z}, domain="POINT").outputs[
            0
        ]
        quad = b.node("GeometryNodeMeshGrid", {"Size X": 2.0, "Size Y": 2.0, "Vertices X": 2, "Vertices Y": 2}).outputs[
            0
        ]
        u, v, _ = b.split(b.node("GeometryNodeInputPosition").outputs[0])
        quad = b.stored(quad, material.QUAD, "FLOAT_VECTOR", b.join(u, v, 1.0))
        quad = b.node("GeometryNodeSetMaterial", {"Geometry": quad, "Material": inputs["Material"]}).outputs[0]
        in_front = b.logic("NOT", behind)
        instances = b.node(
            "GeometryNodeInstanceOnPoints", {"Points": geometry, "Instance": quad, "Selection": in_front}
        ).outputs[0]
        placed = b.node("GeometryNodeSetInstanceTransform", {"Instances": instances, "Transform": matrix}).outputs[0]
        return b.node("GeometryNodeRealizeInstances", {"Geometry": placed}).outputs[0]


def _any_view(b, inputs, geometry, camera, in_viewport, sigma, rotation, opacity, color) -> NodeSocket:
    with b.frame("Any View: points that hold the Gaussian"):
        position = b.node("GeometryNodeInputPosition").outputs[0]
        center = b.node("FunctionNodeTransformPoint", {"Vector": position, "Transform": camera["To Camera"]}).outputs[0]
        z = b.split(center)[2]
        # The low-pass per unit of depth, in object space; an uneven object scale is taken as its mean.
        filter_width = b.product(b.math("SQRT", inputs["Pixel Filter"]), camera["Pixel Width"], camera["Scale"])
        blur = b.product(filter_width, z, camera["Perspective"])
        widest = b.largest(sigma)
        widest = b.math("SQRT", b.math("MULTIPLY_ADD", widest, widest, b.math("MULTIPLY", blur, blur)))
        drawn_by_gpu = b.math("MAXIMUM", camera["Drawn by GPU"], in_viewport)
        margin = b.math("MULTIPLY_ADD", drawn_by_gpu, DIAMOND - 1.0, 1.0)
        radius = b.product(widest, _reach(b, opacity), margin)
        # Shaders read no quaternions.
        turn = b.node("FunctionNodeRotationToQuaternion", {0: rotation}).outputs
        turn = b.node(
            "FunctionNodeCombineColor", {0: turn["X"], 1: turn["Y"], 2: turn["Z"], 3: turn["W"]}, mode="RGB"
        ).outputs[0]
        sx, sy, sz = b.split(sigma)
        packed = b.node("FunctionNodeCombineColor", {0: sx, 1: sy, 2: sz, 3: filter_width}, mode="RGB").outputs[0]
        # Everything is stored at once, because each node changes what the next would read.
        geometry, z, radius, turn, packed, color = b.captured(
            geometry,
            {
                "Depth": ("FLOAT", z),
                "Radius": ("FLOAT", radius),
                "Rotation": ("RGBA", turn),
                "Sigma": ("RGBA", packed),
                "Colour": ("RGBA", color),
            },
        )
        geometry = b.stored(geometry, material.COLOR, "FLOAT_COLOR", color)
        geometry = b.stored(geometry, material.SIGMA, "FLOAT_COLOR", packed)
        geometry = b.stored(geometry, material.ROTATION, "FLOAT_COLOR", turn)
        geometry = b.node("GeometryNodeSetPointRadius", {"Points": geometry, "Radius": radius}).outputs[0]
        geometry = b.node("GeometryNodeSortElements", {"Geometry": geometry, "Sort Weight": z}, domain="POINT").outputs[
            0
        ]
        # One looks around in the viewport, where sorting for the camera is wrong from everywhere else.
        surface = b.switch("MATERIAL", in_viewport, inputs["Material"], inputs["Viewport Material"])
        return b.node("GeometryNodeSetMaterial", {"Geometry": geometry, "Material": surface}).outputs[0]


def _points(b, geometry, sigma, base, rest, opacity, recolor) -> NodeSocket:
    with b.frame("Points: edits written into the Gaussians"):
        color = recolor(b.vector("MULTIPLY_ADD", base, (SH_C0,) * 3, (0.5,) * 3))
        features = b.vector("SCALE", b.vector("SUBTRACT", color, (0.5,) * 3), scale=1.0 / SH_C0)
        red, green, blue = b.split(features)
        combined = b.node("FunctionNodeCombineColor", {0: red, 1: green, 2: blue, 3: opacity}, mode="RGB").outputs[0]
        geometry, combined, sigma = b.captured(geometry, {"Base": ("RGBA", combined), "Sigma": ("VECTOR", sigma)})
        geometry = b.stored(geometry, attributes.SCALE, "FLOAT_VECTOR", sigma)
        # As a colour even where the type is FLOAT4: a colour loses its alpha on the way to a vector.
        geometry = b.stored(geometry, attributes.BASE, "FLOAT_COLOR", combined)
        for k, features in enumerate(rest):
            geometry = b.stored(geometry, attributes.sh_name(k), "FLOAT_VECTOR", recolor(features))
        return geometry

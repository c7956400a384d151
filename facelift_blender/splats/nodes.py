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
from functools import partial

import bpy
from bpy.types import NodeSocket
from facelift_core.gaussians.arrays import SH_C0

from . import any_view, attributes, camera_facing, camera_nodes, color_nodes, lit_nodes, material
from .builder import Builder
from .gaussian_nodes import SMALLEST_ALPHA, Gaussians

GROUP = "FaceLift Splats"
VERSION = 7
"""Raised whenever the group changes, so that files keep the group they were made with and new objects get the new."""
VERSION_KEY = "facelift_splats_version"
DEGREE_KEY = "facelift_splats_sh_degree"
MODIFIER = "Splats"

CAMERA_FACING, ANY_VIEW, POINTS = MODES = ("Camera Facing", "Any View", "Points")
LIGHT = ("Scene Light", "Lit Material", "Lit Viewport Material")
"""Inputs for the scene's light."""
DRAWN_PROPERTY = "facelift_splats_drawn"
"""Of scenes, where the add-on runs in a window: 1 while the viewport's own drawing shows what is Any View there."""
SPECK = 0.1
"""Radius of points that something else draws, in longest standard deviations where opaque: hardly seen, but clicked."""


def add_modifier(item: bpy.types.Object) -> bpy.types.NodesModifier:
    """Show the Gaussians of `item`: the modifier with the group for its degree, and the material."""
    degree = math.isqrt(attributes.sh_bases(item.data)) - 1
    modifier = item.modifiers.new(MODIFIER, "NODES")
    modifier.node_group = splat_group(degree)
    material.add_to(item.data)
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
    add("Tint", "Color", (1.0, 1.0, 1.0, 1.0), tip="Colors are multiplied by this")
    add("Exposure", "Float", 0.0, -10.0, 10.0, tip="In stops")
    add("Hue", "Float", 0.0, -math.pi, math.pi, "ANGLE", tip="Turns all colors around gray")
    add("Saturation", "Float", 1.0, 0.0, 4.0, tip="0 is gray")
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
    # Last, so that the identifiers of the others stay those of earlier versions, and animations of them as well.
    panel = sockets.new_panel("Light")
    add("Scene Light", "Float", 0.0, 0.0, 1.0, "FACTOR", tip="0: the photo's light. 1: the scene's. Needs normals")
    add("Lit Material", "Material", tip="What draws the splats in the scene's light")
    add("Lit Viewport Material", "Material", tip="The same in the viewport as Any View, without sorting")


def current(modifier: bpy.types.NodesModifier) -> bpy.types.NodesModifier:
    """`modifier` with this version's group in place of an earlier one's, and the same values."""
    old = modifier.node_group
    if old[VERSION_KEY] == VERSION:
        return modifier
    names = [s.name for s in old.interface.items_tree if s.item_type == "SOCKET" and s.in_out == "INPUT"]
    values = {name: get_input(modifier, name) for name in names if name != "Geometry"}
    modifier.node_group = splat_group(old[DEGREE_KEY])
    for name, value in values.items():
        if has_input(modifier, name):
            set_input(modifier, name, value)
    return modifier


def add_lit_materials(modifier: bpy.types.NodesModifier) -> None:
    """Give `modifier` what draws splats in the scene's light, unless it has others."""
    for name, method in (("Lit Material", material.SORTED), ("Lit Viewport Material", material.UNSORTED)):
        if get_input(modifier, name) is None:
            set_input(modifier, name, material.splat_material(method, lit=True))


def has_input(modifier: bpy.types.NodesModifier, name: str) -> bool:
    """Whether the group of `modifier`, which may be of an earlier version, has that input."""
    return any(s.item_type == "SOCKET" and s.in_out == "INPUT" and s.name == name
               for s in modifier.node_group.interface.items_tree)  # fmt: skip


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


def draw_input(layout: bpy.types.UILayout, modifier: bpy.types.NodesModifier, name: str, text: str = "") -> None:
    """A row for an input that is no menu, named `text` or as the input."""
    text = text or name
    identifier = input_identifier(modifier.node_group, name)
    if hasattr(modifier, "properties"):
        layout.prop(getattr(modifier.properties.inputs, identifier), "value", text=text)
    elif name == "Crop Box":
        layout.prop_search(modifier, f'["{identifier}"]', bpy.data, "objects", text=text)
    else:
        layout.prop(modifier, f'["{identifier}"]', text=text)


# ---------------------------------------------------------------------------------------------------------------------
# The group. Switches by one value for all compute only the branch that it chooses: what nobody uses costs nothing.


def _build(group: bpy.types.GeometryNodeTree, sh_degree: int) -> None:
    b = Builder(group)
    inputs = b.node("NodeGroupInput").outputs
    with b.frame("Which way to show"):
        ways = [_menu(b, inputs[name]) for name in ("Render As", "Viewport As")]
        for name in ("Render As", "Viewport As"):  # only now do the sockets know the items
            socket = next(s for s in group.interface.items_tree if s.name == name)
            socket.default_value = CAMERA_FACING if name == "Render As" else ANY_VIEW
        in_viewport = b.node("GeometryNodeIsViewport").outputs[0]
        mode = b.switch("INT", in_viewport, *ways)
        drawn = b.driven("Drawn", "drawn", {"drawn": (DRAWN_PROPERTY, 0.0)})
        drawn = b.logic("AND", in_viewport, b.compare("GREATER_THAN", drawn, 0.5))
        any_view_is_drawn = b.math("MULTIPLY", drawn, b.compare("EQUAL", mode, float(MODES.index(ANY_VIEW))))
        mode = b.switch("INT", any_view_is_drawn, mode, len(MODES))
    with b.frame("Stored Gaussians"):
        sigma = b.vector("SCALE", b.named(attributes.SCALE, "FLOAT_VECTOR"), scale=inputs["Size"])
        rotation = b.named(attributes.ROTATION, "QUATERNION")
        base = b.named(attributes.BASE, "FLOAT_COLOR")
        opacity = b.node("FunctionNodeSeparateColor", {0: base}, mode="RGB").outputs[3]
        rest = [b.named(attributes.sh_name(k), "FLOAT_VECTOR") for k in range((sh_degree + 1) ** 2 - 1)]
    with b.frame("Opacity: density, then the factor"):
        clear = b.math("SUBTRACT", 1.0, opacity)
        is_denser = b.compare("NOT_EQUAL", inputs["Density"], 1.0)
        clear = b.switch("FLOAT", is_denser, clear, b.math("POWER", clear, inputs["Density"]))
        opacity = b.math("MULTIPLY", b.math("SUBTRACT", 1.0, clear), inputs["Opacity"])
    with b.frame("Left out"):
        percent = b.switch("FLOAT", in_viewport, inputs["Render Amount"], inputs["Viewport Amount"])
        chance = b.math("MULTIPLY", percent, 0.01)
        # One after the other: of millions, the viewport shows a share, and the rest is to cost little.
        thinned = _without(b, inputs["Geometry"], _thinned_out(b, chance))
        geometry = b.switch("GEOMETRY", b.compare("LESS_THAN", chance, 1.0), inputs["Geometry"], thinned)
        geometry = _without(b, geometry, _left_out(b, inputs, opacity))
        # Fewer and larger ones cover the same area.
        sigma = b.vector("SCALE", sigma, scale=b.math("POWER", b.math("MAXIMUM", chance, 1e-4), -0.5))

    recolor = partial(color_nodes.recolored, b, inputs)
    camera = b.call(camera_nodes.camera_group())
    with b.frame("Colour towards the camera"):
        color = b.vector("MULTIPLY_ADD", base, (SH_C0,) * 3, (0.5,) * 3)
        if rest:
            position = b.node("GeometryNodeInputPosition").outputs[0]
            # A stretched object turns colors as its rotation alone would, which is what an export can store.
            seen = b.vector("MULTIPLY", b.vector("SUBTRACT", position, camera["Location"]), camera["Lengths"])
            direction = b.vector("NORMALIZE", seen)
            for features, basis in zip(rest, color_nodes.spherical_harmonics(b, direction), strict=False):
                color = b.vector("ADD", color, b.vector("SCALE", features, scale=basis))
        color = b.vector("MAXIMUM", recolor(color), (0.0, 0.0, 0.0))
        color = b.switch("VECTOR", inputs["Match Viewers"], color_nodes.linear(b, color), color)
        red, green, blue = b.split(color)
        color = b.node("FunctionNodeCombineColor", {0: red, 1: green, 2: blue, 3: opacity}, mode="RGB").outputs[0]

    lit, in_light = lit_nodes.in_scene_light(b, inputs, geometry)
    shown = {"Pixel Filter": inputs["Pixel Filter"], "Lit": lit}
    for name in ("Material", "Viewport Material"):
        shown[name] = b.switch("MATERIAL", lit, inputs[name], inputs[f"Lit {name}"])
    gaussians = Gaussians(b, in_light, sigma, rotation, opacity, color, camera)
    quads = camera_facing.quads(shown, gaussians, sh_degree)
    spheres = any_view.spheres(shown, gaussians)
    points = _points(b, geometry, sigma, base, rest, opacity, recolor)
    by_mode = b.node("GeometryNodeIndexSwitch", data_type="GEOMETRY")
    for _ in range(2):  # two to begin with
        by_mode.index_switch_items.new()
    for key, value in enumerate((mode, quads, spheres, points, _drawn(b, points))):
        b.set(by_mode.inputs[key], value)
    b.node("NodeGroupOutput", {0: by_mode.outputs[0]})
    b.arrange()


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


def _without(b: Builder, geometry: NodeSocket, selection: NodeSocket) -> NodeSocket:
    inputs = {"Geometry": geometry, "Selection": selection}
    return b.node("GeometryNodeDeleteGeometry", inputs, domain="POINT").outputs[0]


def _thinned_out(b: Builder, chance: NodeSocket) -> NodeSocket:
    node = b.node("FunctionNodeRandomValue", data_type="BOOLEAN")
    b.set(next(s for s in node.inputs if s.name == "Probability" and s.enabled), chance)
    return b.logic("NOT", next(s for s in node.outputs if s.enabled))


def _left_out(b: Builder, inputs, opacity: NodeSocket) -> NodeSocket:
    faint = b.compare("LESS_THAN", opacity, b.math("MAXIMUM", inputs["Minimum Opacity"], SMALLEST_ALPHA))
    deleted = b.named(attributes.DELETED, "BOOLEAN")
    box = b.node("GeometryNodeObjectInfo", {"Object": inputs["Crop Box"]}, transform_space="RELATIVE")
    to_box = b.node("FunctionNodeInvertMatrix", {0: box.outputs["Transform"]}).outputs[0]
    position = b.node("GeometryNodeInputPosition").outputs[0]
    inside_box = b.node("FunctionNodeTransformPoint", {"Vector": position, "Transform": to_box}).outputs[0]
    outside = b.compare("GREATER_THAN", b.largest(b.vector("ABSOLUTE", inside_box)), 1.0)
    cropped = b.switch("BOOLEAN", inputs["Crop"], False, b.logic("XOR", outside, inputs["Crop Inside"]))
    return b.logic("OR", b.logic("OR", faint, deleted), cropped)


def _points(b, geometry, sigma, base, rest, opacity, recolor) -> NodeSocket:
    with b.frame("Points: edits written into the Gaussians"):
        color = recolor(b.vector("MULTIPLY_ADD", base, (SH_C0,) * 3, (0.5,) * 3))
        features = b.vector("SCALE", b.vector("SUBTRACT", color, (0.5,) * 3), scale=1.0 / SH_C0)
        red, green, blue = b.split(features)
        combined = b.node("FunctionNodeCombineColor", {0: red, 1: green, 2: blue, 3: opacity}, mode="RGB").outputs[0]
        geometry, combined, sigma = b.captured(geometry, {"Base": ("RGBA", combined), "Sigma": ("VECTOR", sigma)})
        geometry = b.stored(geometry, attributes.SCALE, "FLOAT_VECTOR", sigma)
        # As a color even where the type is FLOAT4: a color loses its alpha on the way to a vector.
        geometry = b.stored(geometry, attributes.BASE, "FLOAT_COLOR", combined)
        for k, features in enumerate(rest):
            geometry = b.stored(geometry, attributes.sh_name(k), "FLOAT_VECTOR", recolor(features))
        return geometry


def _drawn(b, points) -> NodeSocket:
    with b.frame("Drawn by the viewport: points too small to be seen"):
        base = b.named(attributes.BASE, "FLOAT_COLOR")
        opacity = b.node("FunctionNodeSeparateColor", {0: base}, mode="RGB").outputs[3]
        # Faint ones do not hide their own.
        speck = b.product(b.largest(b.named(attributes.SCALE, "FLOAT_VECTOR")), opacity, opacity, SPECK)
        points = b.node("GeometryNodeSetPointRadius", {"Points": points, "Radius": speck}).outputs[0]
        return b.stored(points, attributes.DRAWN, "BOOLEAN", True)

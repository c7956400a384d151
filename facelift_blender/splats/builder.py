"""Building node trees in Python: a few lines per formula in place of a few per node."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import bpy
from bpy.types import Node, NodeSocket

Value = NodeSocket | float | int | bool | tuple | str | bpy.types.ID
Sockets = Mapping[str, NodeSocket]
Results = Mapping[str, tuple[str, NodeSocket]]
"""Name → (socket type such as "Vector", value)."""
PART_KEY = "facelift_part"
"""Custom property of the groups that :func:`part` makes."""


class Builder:
    """Adds nodes to `tree`. Inputs are sockets of other nodes, or values; inputs go by name, or by index where several
    have the same name."""

    def __init__(self, tree: bpy.types.NodeTree):
        self.tree = tree
        self._frame: Node | None = None

    @contextmanager
    def frame(self, label: str) -> Iterator[None]:
        """Nodes made in this block share a labelled frame."""
        before = self._frame
        self._frame = self.tree.nodes.new("NodeFrame")
        self._frame.label = self._frame.name = label
        self._frame.parent = before
        try:
            yield
        finally:
            self._frame = before

    def arrange(self) -> None:
        """Place the nodes side by side in the order in which they were made."""
        columns = itertools.count()
        places = [0.0 if node.type == "FRAME" else 180.0 * next(columns) for node in self.tree.nodes]
        # All at once: placing a single node updates the whole tree.
        self.tree.nodes.foreach_set("location", [value for x in places for value in (x, 0.0)])

    def node(self, kind: str, inputs: Mapping[str | int, Value] | None = None, **properties) -> Node:
        node = self.tree.nodes.new(kind)
        node.parent = self._frame
        node.hide = True
        for name, value in properties.items():
            # Setting anything updates the whole tree.
            if getattr(node, name) != value:
                setattr(node, name, value)
        for key, value in (inputs or {}).items():
            self.set(find_input(node, key), value)
        return node

    def set(self, socket: NodeSocket, value: Value) -> None:
        if isinstance(value, NodeSocket):
            self.tree.links.new(value, socket)
        else:
            socket.default_value = value

    def math(self, operation: str, *values: Value) -> NodeSocket:
        return self.node("ShaderNodeMath", dict(enumerate(values)), operation=operation).outputs[0]

    def total(self, *values: Value) -> NodeSocket:
        result = values[0]
        for value in values[1:]:
            result = self.math("ADD", result, value)
        return result

    def product(self, *values: Value) -> NodeSocket:
        result = values[0]
        for value in values[1:]:
            result = self.math("MULTIPLY", result, value)
        return result

    def vector(self, operation: str, *values: Value, scale: Value | None = None) -> NodeSocket:
        node = self.node("ShaderNodeVectorMath", dict(enumerate(values)), operation=operation)
        if scale is not None:
            self.set(node.inputs["Scale"], scale)
        return node.outputs["Value" if operation in ("DOT_PRODUCT", "LENGTH", "DISTANCE") else "Vector"]

    def split(self, vector: Value) -> tuple[NodeSocket, NodeSocket, NodeSocket]:
        outputs = self.node("ShaderNodeSeparateXYZ", {0: vector}).outputs
        return outputs[0], outputs[1], outputs[2]

    def join(self, x: Value, y: Value, z: Value) -> NodeSocket:
        return self.node("ShaderNodeCombineXYZ", {0: x, 1: y, 2: z}).outputs[0]

    def largest(self, vector: Value) -> NodeSocket:
        x, y, z = self.split(vector)
        return self.math("MAXIMUM", self.math("MAXIMUM", x, y), z)

    def log(self, value: Value) -> NodeSocket:
        return self.math("LOGARITHM", value, math.e)

    def call(self, group: bpy.types.NodeTree, inputs: Mapping[str | int, Value] | None = None) -> Sockets:
        """Outputs of a node that runs another group of the same kind."""
        kind = self.tree.bl_idname.removesuffix("Tree").removesuffix("Node")
        return self.node(f"{kind}NodeGroup", inputs, node_tree=group).outputs

    # --- Geometry Nodes only -----------------------------------------------------------------------------------------

    def named(self, name: str, kind: str) -> NodeSocket:
        """Values of a named attribute, zeros if it is missing."""
        return self.node("GeometryNodeInputNamedAttribute", {"Name": name}, data_type=kind).outputs[0]

    def stored(self, geometry: Value, name: str, kind: str, value: Value, domain: str = "POINT") -> NodeSocket:
        node = self.node("GeometryNodeStoreNamedAttribute", data_type=kind, domain=domain)
        self.set(node.inputs["Geometry"], geometry)
        self.set(node.inputs["Name"], name)
        self.set(find_input(node, "Value"), value)
        return node.outputs[0]

    def compare(self, operation: str, a: Value, b: Value) -> NodeSocket:
        """Boolean comparison of numbers."""
        return self.node("FunctionNodeCompare", {0: a, 1: b}, data_type="FLOAT", operation=operation).outputs[0]

    def logic(self, operation: str, *values: Value) -> NodeSocket:
        return self.node("FunctionNodeBooleanMath", dict(enumerate(values)), operation=operation).outputs[0]

    def switch(self, kind: str, condition: Value, off: Value, on: Value) -> NodeSocket:
        node = self.node("GeometryNodeSwitch", input_type=kind)
        for name, value in (("Switch", condition), ("False", off), ("True", on)):
            self.set(find_input(node, name), value)
        return next(socket for socket in node.outputs if socket.enabled)

    def captured(
        self, geometry: Value, fields: Mapping[str, tuple[str, NodeSocket]], domain: str = "POINT"
    ) -> tuple[NodeSocket, ...]:
        """Fields evaluated on the points, or on another domain, of `geometry` now: the geometry, then one socket each.

        Args:
            fields: name → (socket type of a capture item such as "MATRIX", value).
        """
        node = self.node("GeometryNodeCaptureAttribute", {"Geometry": geometry}, domain=domain)
        for name, (kind, value) in fields.items():
            node.capture_items.new(kind, name)
            self.set(node.inputs[name], value)
        return node.outputs["Geometry"], *(node.outputs[name] for name in fields)

    def statistic(self, name: str, geometry: Value, value: Value) -> NodeSocket:
        """One number of all points of `geometry`, such as "Max" or "Median" of `value`."""
        node = self.node("GeometryNodeAttributeStatistic", {"Geometry": geometry}, data_type="FLOAT", domain="POINT")
        self.set(find_input(node, "Attribute"), value)
        return next(socket for socket in node.outputs if socket.name == name and socket.enabled)

    def without(self, geometry: Value, names: list[str]) -> NodeSocket:
        for name in names:
            geometry = self.node("GeometryNodeRemoveAttribute", {"Geometry": geometry, "Name": name}).outputs[0]
        return geometry

    # --- drivers -----------------------------------------------------------------------------------------------------

    def driven(self, name: str, expression: str, variables: Mapping[str, tuple[str, float]]) -> NodeSocket:
        """A value that Blender keeps up to date from properties of the scene that is evaluated.

        Only expressions that Blender evaluates without Python, so that they work where scripts may not run.

        Args:
            variables: name → (path from the scene, value if it leads nowhere, as without a camera); those that the
                expression does not name are left out.
        """
        node = self.node("ShaderNodeValue")
        node.name = node.label = name
        driver = node.outputs[0].driver_add("default_value").driver
        driver.type = "SCRIPTED"
        for used in sorted(set(re.findall(r"[a-z_]+", expression)) & variables.keys()):
            path, fallback = variables[used]
            variable = driver.variables.new()
            variable.name = used
            variable.type = "CONTEXT_PROP"
            target = variable.targets[0]
            target.context_property = "ACTIVE_SCENE"
            target.data_path = path
            target.use_fallback_value = True
            target.fallback_value = fallback
        driver.expression = expression
        assert driver.is_simple_expression, expression
        return node.outputs[0]


def part(
    name: str,
    version: int,
    inputs: Mapping[str, str],
    build: Callable[[Builder, Sockets], Results],
    kind: str = "GeometryNodeTree",
) -> bpy.types.NodeTree:
    """A group that others of its kind use, made if this file does not have it.

    To people, a tree of a few parts says more than hundreds of nodes. To Blender, each node and each value costs an
    update of the whole tree: in one piece, the group of a head would take four times as long to build.

    Args:
        name: of the group, and of nothing else.
        version: raised whenever it changes, so that files keep what they were made with.
        inputs: name → socket type such as "Vector".
        build: adds the nodes; takes the inputs, gives the outputs.
        kind: "GeometryNodeTree" or "ShaderNodeTree".
    """
    key = f"{name} {version}"
    for group in bpy.data.node_groups:
        if group.get(PART_KEY) == key and not group.library:
            return group
    group = bpy.data.node_groups.new(name, kind)
    group[PART_KEY] = key
    for socket, kind in inputs.items():
        group.interface.new_socket(socket, in_out="INPUT", socket_type=f"NodeSocket{kind}")
    b = Builder(group)
    results = build(b, b.node("NodeGroupInput").outputs if inputs else {})
    for socket, (kind, _) in results.items():
        group.interface.new_socket(socket, in_out="OUTPUT", socket_type=f"NodeSocket{kind}")
    b.node("NodeGroupOutput", {socket: value for socket, (_, value) in results.items()})
    b.arrange()
    return group


def find_input(node: Node, key: str | int) -> NodeSocket:
    """Input by index, or the enabled one of that name."""
    if isinstance(key, int):
        return node.inputs[key]
    return next(socket for socket in node.inputs if socket.name == key and socket.enabled)
